"""Captured lines in, rows out: each once, as plain values, with what it stands for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from fnmodel.capture.line import SCHEMA


@dataclass(frozen=True, slots=True)
class Row:
    """One captured row and its prediction; it stands for 1 / `rate` rows.

    `id` is what late labels are joined on, `time` ISO 8601 in UTC.
    """

    id: str
    time: str
    model: str
    version: str
    alias: str
    rate: float
    features: Mapping[str, Any]
    prediction: Mapping[str, Any]

    @property
    def hour(self) -> str:
        """The hour in which it was asked: 2026-11-27T08."""
        return self.time[:13]


@dataclass(frozen=True, slots=True)
class Reading:
    """What lines hold: rows in order of time; how many came twice, or could not be read."""

    rows: tuple[Row, ...]
    repeated: int = 0
    unreadable: int = 0


def read(lines: Iterable[bytes]) -> Reading:
    """Read captured lines.

    A delivery may bring a row twice, which its id tells. What is no captured row, or of a newer
    form, is counted and passed over: one broken line must not hide a month.
    """
    rows: dict[str, Row] = {}
    repeated = unreadable = 0
    for line in lines:
        row = parse(line)
        if row is None:
            unreadable += 1
        elif row.id in rows:
            repeated += 1
        else:
            rows[row.id] = row
    ordered = sorted(rows.values(), key=lambda row: (row.time, row.id))
    return Reading(tuple(ordered), repeated, unreadable)


def parse(line: bytes) -> Row | None:
    """Return the row of a line, or None where it holds none that this version can read."""
    try:
        data = orjson.loads(line)
        ours, meta, sides = data["fnmodel"], data["eventMetadata"], data["captureData"]
        if ours["schema"] != SCHEMA:
            return None
        row = Row(
            meta["inferenceId"],
            meta["inferenceTime"],
            str(ours["model"]),
            str(ours["version"]),
            str(ours["alias"]),
            float(ours["rate"]),
            _mapping(sides["endpointInput"]["data"]),
            _mapping(sides["endpointOutput"]["data"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return row if 0 < row.rate <= 1 and len(row.time) >= len("2026-11-27T08") else None


def _mapping(text: str) -> dict[str, Any]:
    """Return a side's object; rows without names (a list, a number) have no columns."""
    value = orjson.loads(text)
    return value if isinstance(value, dict) else {}
