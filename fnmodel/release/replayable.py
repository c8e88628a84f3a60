"""Requests to replay: those that were captured of a version, else the rows of the model's proof.

Captured rows are taken from the newest to the oldest, and after the oldest those that have come
meanwhile. A `Place` says how far that has gone, so that the next driver goes on there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fnmodel.aws import translated
from fnmodel.capture.line import PREFIX, lines_of
from fnmodel.capture.rows import pairs_of
from fnmodel.release.replayed import Place

# What fnmodel/capture puts in the place of what it takes out.
_HASH = re.compile(r"h:[0-9a-f]{32}")
_TAKEN = re.compile(r"<(?:email|card|iban|phone|national-id|jwt|aws-key|\d+ characters)>")

DAYS = 30
"""How many days back captured rows are looked for."""

PROOFS = "rollouts/"
"""Where the rows of a rollout's proof lie in the stage's bucket."""


@dataclass(frozen=True)
class Captured:
    """One row that was asked, by the id of its request; `prediction` is None of a proof's row.

    `redacted` says that something in it stands for what was there; the field that says whom the row
    is about, which no model learns from, may.
    """

    request: str
    model: str
    row: Any
    prediction: Any = None
    redacted: bool = False

    @property
    def replayable(self) -> bool:
        """Whether it can be asked again as it was."""
        return isinstance(self.row, Mapping) and not self.redacted

    @property
    def proof(self) -> bool:
        """Whether it is a row of the model's proof, which nobody asked."""
        return self.prediction is None


class CapturedRequests:
    """The captured requests of a stage's versions, in its bucket."""

    def __init__(self, s3: Any, bucket: str, function: str, alias: str) -> None:
        self._s3, self._bucket = s3, bucket
        self._folder = f"{PREFIX}{function}/{alias}/"

    def take(
        self, version: str, rollout: str, place: Place, now: float
    ) -> Iterator[tuple[Captured, Place]]:
        """Yield requests of a version that were not taken yet, and the place behind each.

        Of a request with many rows the first that was captured is taken: rows of one request are
        not independent. The rows of the proof come where there is no captured request at all.

        Raises:
            AwsError: S3 refused.

        """
        none = not place.key
        for found, place in self._captured(version, place, now):  # noqa: B020
            none = False
            yield found, place
        if none:
            for number, found in enumerate(self._proof(rollout)[place.proof :], place.proof):
                yield found, Place(proof=number + 1)

    def _captured(self, version: str, place: Place, now: float) -> Iterator[tuple[Captured, Place]]:
        if place.older:
            for key in self._older(place, now):
                same = key == place.key
                place = replace(
                    place, newest=place.newest or key, key=key, taken=place.taken if same else 0
                )
                yield from self._rest_of(key, version, place)
            place = replace(place, key=place.newest, older=False, taken=0)
        for key in self._newer(place, now):
            same = key == place.key
            place = replace(place, newest=key, key=key, taken=place.taken if same else 0)
            yield from self._rest_of(key, version, place)

    def _rest_of(self, key: str, version: str, place: Place) -> Iterator[tuple[Captured, Place]]:
        with translated():
            content = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        found = _requests(content, version)
        for number, one in enumerate(found[place.taken :], place.taken):
            yield one, replace(place, taken=number + 1)

    def _older(self, place: Place, now: float) -> Iterator[str]:
        """Yield keys from the newest, or from the one that is read, back in time."""
        end = datetime.fromtimestamp(now, UTC)
        for days in range(DAYS + 1):
            day = f"{self._folder}{end - timedelta(days=days):%Y/%m/%d}/"
            keys = [key for key in self._keys(day, "") if not place.key or key <= place.key]
            yield from reversed(keys)

    def _newer(self, place: Place, now: float) -> Iterator[str]:
        if place.taken:
            yield place.key
        start = datetime.fromtimestamp(now, UTC) - timedelta(days=DAYS)
        after = place.key or f"{self._folder}{start:%Y/%m/%d}/"
        yield from self._keys(self._folder, after)

    def _keys(self, prefix: str, after: str) -> Iterator[str]:
        with translated():
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, StartAfter=after
            )
            for page in pages:
                yield from (item["Key"] for item in page.get("Contents", ()))

    def _proof(self, rollout: str) -> list[Captured]:
        with translated():
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=proof_key(rollout))
            except self._s3.exceptions.NoSuchKey:
                return []
            data = json.loads(answer["Body"].read())
        return [
            Captured(f"proof/{number}", data["model"], row)
            for number, row in enumerate(data["records"])
        ]


def behind(place: Place) -> Place:
    """Return the place where rows go on that come after all of those that were taken."""
    if not place.older:
        return place
    return Place(place.newest, place.newest, 0, older=False, proof=place.proof)


def proof_key(rollout: str) -> str:
    """Return the key of the rows of a rollout's proof."""
    return f"{PROOFS}{rollout}/proof.json"


def proof_rows(probe: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return the rows of a model's probe as records of `/predict`.

    `names` are the features of a model that takes them side by side in one tensor.
    """
    if "records" in probe:
        return list(probe["records"])
    answered = pairs_of(probe["request"], {"outputs": probe["expected"]}, names)
    return list(answered[0]) if answered is not None else []


def _requests(content: bytes, version: str) -> list[Captured]:
    """Return the requests of a version that an object holds, the newest line first."""
    found: dict[str, Captured] = {}
    for line in lines_of(content):
        one = _captured(line, version)
        if one is not None:
            found.setdefault(one.request, one)
    return list(found.values())[::-1]


def _captured(line: bytes, version: str) -> Captured | None:
    """Return what a line holds; a broken one must not stop a rollout."""
    try:
        data = json.loads(line)
        told, sides = data["fnmodel"], data["captureData"]
        if str(told["version"]) != version:
            return None
        row = json.loads(sides["endpointInput"]["data"])
        prediction = json.loads(sides["endpointOutput"]["data"])
    except (KeyError, TypeError, ValueError):
        return None
    if prediction is None:
        return None
    marked = any(map(_is_mark, _texts(row, but=told.get("subject"))))
    return Captured(str(told["request_id"]), str(told["model"]), row, prediction, marked)


def _is_mark(text: str) -> bool:
    """Whether a text is a keyed hash, or has something taken out by a pattern."""
    return _HASH.fullmatch(text) is not None or _TAKEN.search(text) is not None


def _texts(value: Any, but: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value != but:
            yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner, but)
