"""Profiles of captured rows by hour, version, alias and model: they add up, and hold no rows.

`merged` is associative and commutative, and exact, since all counts are integers: a month is the
sum of its hours, whichever way it is summed. The rate at which rows were captured is part of the
key, so that weights are applied once, when windows are compared, and never rounded before.

The JSON, one line a window::

    {"version": 1, "hour": "2026-11-27T08", "model": "churn", "deployed": "3", "alias": "live",
     "rate": 0.1, "invalid": {"age": 2}, "profile": {... as reference.json}}
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fnmodel.errors import InputError
from fnmodel.model import Signature
from fnmodel.profile import Profile
from fnmodel.watch.columns import Counted, count
from fnmodel.watch.rows import Row
from fnmodel.watch.sample import Sample, sample

VERSION = 1
LEAST = 5
"""Rows of a window that may be kept on its own: fewer would be some person's values."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What the rows of a window share; `hour` is 2026-11-27T08 in UTC."""

    hour: str
    model: str
    version: str
    alias: str
    rate: float


Windows = Mapping[Key, Counted]


def windows(rows: Iterable[Row], reference: Profile, signature: Signature) -> dict[Key, Counted]:
    """Return the profile of each window that has rows."""
    ordered = sorted(rows, key=key_of)
    return {at: count(list(own), reference, signature) for at, own in groupby(ordered, key=key_of)}


def key_of(row: Row) -> Key:
    """Return the window that a row belongs to."""
    return Key(row.hour, row.model, row.version, row.alias, row.rate)


def between(found: Windows, since: str, until: str) -> dict[Key, Counted]:
    """Return the windows of hours that begin before `until` and end after `since`, ISO 8601."""
    return {
        key: one
        for key, one in found.items()
        if since[:13] <= key.hour and f"{key.hour}:00:00.000Z" < until
    }


def merged(one: Windows, other: Windows) -> dict[Key, Counted]:
    """Return the sum of two sets of windows.

    Raises:
        ValueError: they were counted on different bins.

    """
    total = dict(one)
    for key, window in other.items():
        total[key] = added(total[key], window) if key in total else window
    return dict(sorted(total.items()))


def added(one: Counted, other: Counted) -> Counted:
    """Return the sum of two windows of the same bins."""
    names = sorted({*one.invalid, *other.invalid})
    invalid = {name: one.invalid.get(name, 0) + other.invalid.get(name, 0) for name in names}
    return Counted(one.profile + other.profile, invalid)


def pooled(found: Windows) -> Sample:
    """Return windows of whatever hours, versions and rates as one sample.

    Raises:
        ValueError: there is none.

    """
    return sample((1 / key.rate, window.profile) for key, window in found.items())


def to_lines(found: Windows) -> tuple[list[bytes], int]:
    """Return a line of JSON a window, and the rows of windows too small to be kept.

    What is left out belongs to a window of fewer than LEAST rows; count that hour again later.
    """
    lines = []
    small = 0
    for key, window in sorted(found.items()):
        if window.profile.rows < LEAST:
            small += window.profile.rows
            continue
        data = {
            "version": VERSION,
            "hour": key.hour,
            "model": key.model,
            "deployed": key.version,
            "alias": key.alias,
            "rate": key.rate,
            "invalid": window.invalid,
            "profile": window.profile.to_json(),
        }
        # orjson has no integers over 64 bits, which the squares of far values need.
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        lines.append(f"{text}\n".encode())
    return lines, small


def from_lines(lines: Sequence[bytes]) -> dict[Key, Counted]:
    """Read what `to_lines` returned; a window that is there twice counts twice.

    Raises:
        InputError: a line is of another version, or no window; names the line.

    """
    total: dict[Key, Counted] = {}
    for number, line in enumerate(lines, 1):
        try:
            data = json.loads(line)
            if data["version"] != VERSION:
                raise InputError(f"line {number}: version {data['version']!r}, not {VERSION}")
            key = Key(*(data[name] for name in ("hour", "model", "deployed", "alias", "rate")))
            window = Counted(Profile.from_json(data["profile"]), data["invalid"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"line {number} is no window: {error!r}") from error
        total[key] = added(total[key], window) if key in total else window
    return dict(sorted(total.items()))
