"""What a batch job is asked to do, and the id of the run that does it."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

from fnmodel.errors import BatchError

Format = Literal["csv", "jsonl", "parquet", "arrow"]
Packing = Literal["auto", "none", "gzip", "zstd"]
Overlap = Literal["queue", "skip"]

PART_ROWS = 1_000_000

_WORDS: dict[str, tuple[str, ...]] = {
    "format": get_args(Format),
    "compression": get_args(Packing),
    "results": ("same", *get_args(Format)),
    "results_compression": get_args(Packing)[1:],
    "overlap": get_args(Overlap),
}
_JOB = r"[a-z][a-z0-9-]{0,30}[a-z0-9]"


@dataclass(frozen=True)
class Fanout:
    """From how many objects or bytes on a run is spread over many invocations.

    An object of more than `slice_bytes` is read by several of them, where its format allows it.
    """

    objects: int
    bytes: int
    slice_bytes: int

    @staticmethod
    def problem(value: Any) -> str:
        """Return what is wrong with its form in an event, or nothing."""
        names = {field.name for field in fields(Fanout)}
        if not isinstance(value, dict) or value.keys() != names:
            return f"must have {', '.join(sorted(names))}"
        whole = all(type(number) is int and number >= 0 for number in value.values())
        return "" if whole else "must hold whole numbers from 0 on"


@dataclass(frozen=True)
class JobRequest:
    """A batch event: every object of `format` under `input` is scored, results go below `output`.

    `error_budget` is the share of rows, 0 to 1, that may be bad. `scheduled_time` names the run
    together with the schedule and the inputs: a second delivery carries the same. `keep` names the
    input's columns that results have; None is all. A part has at most `part_rows` rows.
    `concurrency` is the number of threads that score, 0 one for each processor. `overlap` says
    what happens while another run of the job is under way. `model` may be
    left out, for the first of the image. `fanout` says from what on a run is spread over many
    invocations; results are the same with it and without.
    """

    job: str
    bucket: str
    input: str
    output: str
    error_budget: float
    scheduled_time: datetime
    schedule_arn: str
    model: str = ""
    format: Format = "csv"
    compression: Packing = "auto"
    results: Format | Literal["same"] = "same"
    results_compression: Literal["none", "gzip", "zstd"] = "none"
    keep: tuple[str, ...] | None = None
    probabilities: bool = True
    part_rows: int = PART_ROWS
    concurrency: int = 0
    overlap: Overlap = "queue"
    fanout: Fanout | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """Read a batch event.

        Raises:
            BatchError: lists all problems: keys that are missing or unknown, values that do not
                fit, words that EventBridge Scheduler should have replaced.

        """
        names = {field.name for field in fields(cls)}
        asked = {field.name for field in fields(cls) if field.default is MISSING}
        problems = [f"{name!r} is missing" for name in sorted(asked - event.keys())]
        problems += [f"unknown key {key!r}" for key in event if key not in {*names, "fnmodel"}]
        for name in sorted(names & event.keys()):
            problem = _problem(name, event[name])
            if problem:
                problems.append(f"{name!r} {problem}")
        if not problems:
            source, target = event["input"], event["output"]
            if source.startswith(target) or target.startswith(source):
                problems.append("'input' and 'output' lie inside each other")
        if problems:
            raise BatchError(f"this batch event cannot be run: {'; '.join(problems)}")
        scheduled = datetime.fromisoformat(event["scheduled_time"]).astimezone(UTC)
        given = {name: event[name] for name in names & event.keys()}
        if given.get("keep") is not None:
            given["keep"] = tuple(given["keep"])
        if given.get("fanout") is not None:
            given["fanout"] = Fanout(**given["fanout"])
        return cls(**given | {"scheduled_time": scheduled})

    @property
    def time(self) -> str:
        """The scheduled time in ISO 8601, in UTC."""
        return self.scheduled_time.isoformat().replace("+00:00", "Z")

    def event(self) -> dict[str, Any]:
        """Return the event again: what runs this very run once more."""
        given = asdict(self)
        if self.keep is not None:
            given["keep"] = [*self.keep]
        return {"fnmodel": "batch", **given, "scheduled_time": self.time}

    @property
    def results_format(self) -> Format:
        """What parts are written as."""
        return self.format if self.results == "same" else self.results

    @property
    def home(self) -> str:
        """The prefix of all runs of the job."""
        return f"{self.output}{self.job}/"

    def folder(self, run_id: str) -> str:
        """Return the prefix of a run's results."""
        return f"{self.home}{self.scheduled_time:%Y%m%dT%H%M%SZ}-{run_id}/"

    def run_id(self, inputs: Sequence[tuple[str, str]], model_digest: str) -> str:
        """Return the id of the run on these (key, ETag) pairs: equal work has an equal id."""
        keep = None if self.keep is None else [*self.keep]
        shape = [
            self.format, self.compression, self.results, self.results_compression, keep,
            self.probabilities, self.part_rows,
        ]  # fmt: skip
        given = [list(pair) for pair in inputs]
        parts: list[Any] = [self.schedule_arn, self.time, given, model_digest, shape]
        if self.model:
            # Two models of one image may be equal; an image of one leaves its name out.
            parts.append(self.model)
        text = json.dumps(parts, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _problem(name: str, value: Any) -> str:
    """Return what is wrong with one value of the event, or nothing."""
    if name == "error_budget":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and 0 <= value <= 1 else "must be a number from 0 to 1"
    if name in ("part_rows", "concurrency"):
        whole = isinstance(value, int) and not isinstance(value, bool)
        least = 1 if name == "part_rows" else 0
        return "" if whole and value >= least else f"must be a whole number from {least} on"
    if name == "probabilities":
        return "" if isinstance(value, bool) else "must be true or false"
    if name == "keep":
        names = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return "" if value is None or names else "must be a list of columns"
    if name == "fanout":
        return "" if value is None else Fanout.problem(value)
    if not isinstance(value, str):
        return "must be a string"
    if name in _WORDS:
        return "" if value in _WORDS[name] else f"must be one of {', '.join(_WORDS[name])}"
    if "<aws.scheduler." in value:
        return (
            "still holds a word that EventBridge Scheduler replaces; send the event by a schedule"
        )
    return {"job": _job, "input": _prefix, "output": _prefix, "scheduled_time": _time}.get(
        name, _filled
    )(value)


def _job(value: str) -> str:
    return (
        "" if re.fullmatch(_JOB, value) else "must be 2 to 32 lower-case letters, digits, hyphens"
    )


def _prefix(value: str) -> str:
    fits = value.endswith("/") and not value.startswith("/") and ".." not in value.split("/")
    return "" if fits else "must be a prefix that ends with '/', as incoming/"


def _time(value: str) -> str:
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return "must be a time in ISO 8601, as 2030-01-31T06:00:00Z"
    return "" if when.tzinfo else "must name its offset from UTC, as in 2030-01-31T06:00:00Z"


def _filled(value: str) -> str:
    return "" if value else "must not be empty"
