"""What a batch run would take: rows, time, attempts, quotas and dollars, before it starts.

A pure calculation. What it is told comes from the listing and from an earlier run of the job, or is
assumed; an estimate says which. Dollars are of one region, wherever the stage is, and
without free tiers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fnmodel.provision.prices import AS_OF, GB_SECOND, INVOCATION, READ, REGION, TRANSITION, WRITE

_BYTES_A_ROW = {"csv": 150.0, "jsonl": 400.0, "parquet": 60.0, "arrow": 120.0}
_ROWS_A_SECOND = 100_000.0
# An event that fails is tried twice more by Lambda.
_ATTEMPTS = 3
_SECONDS_LOST = 10.0  # of an attempt: its start, and the part that it does not finish
_LISTED = 1000
_BYTES_AN_OBJECT = 600  # of memory, for the listing and its line of the manifest
# Of a run that fans out. A part's receipt is read by the last step, in one invocation.
_TRANSITIONS_AN_ITEM = 3
_TRANSITIONS_A_RUN = 12
_SECONDS_AN_ITEM = 3.0  # to start, and to read what is needed of an object
_RECEIPTS_A_SECOND = 300
_BYTES_A_PART = 1200  # of memory, for its receipt and its lines of the manifest
_MARKING = 0.5  # of the time that scoring takes: CSV and JSON Lines are read once more
_MOST_AT_ONCE = 1_000  # invocations, in an account that has asked for no more
_LONGEST = 24 * 3600.0


@dataclass(frozen=True)
class Known:
    """What an earlier run has shown; without one, what is assumed."""

    bytes_a_row: float
    rows_a_second: float
    assumed: bool

    @staticmethod
    def of(kind: str, rows: int = 0, size: int = 0, seconds: float = 0) -> "Known":
        """Take it from a run of so many rows, bytes and seconds, if there was one."""
        if rows and size and seconds > 0:
            return Known(size / rows, rows / seconds, assumed=False)
        return Known(_BYTES_A_ROW[kind], _ROWS_A_SECOND, assumed=True)


@dataclass(frozen=True)
class Function:
    """The Lambda function that would run the job; memory in MB, timeout in seconds."""

    memory: int
    timeout: int
    architecture: str = "x86_64"


@dataclass(frozen=True)
class Spread:
    """From how many objects or bytes on a run fans out, to how many invocations at once."""

    objects: int
    bytes: int
    slice_bytes: int
    concurrency: int


@dataclass(frozen=True)
class Estimate:
    """What a run would take; `problems` are the limits that it does not fit into.

    `invocations` are of slices, 0 where one function does all, in so many `attempts`.
    """

    rows: int
    objects: int
    size: int
    parts: int
    seconds: float
    attempts: int
    requests: int
    dollars: float
    assumed: bool
    problems: Sequence[str]
    invocations: int = 0


def estimate(
    objects: int,
    size: int,
    known: Known,
    function: Function,
    *,
    part_rows: int,
    spread: Spread | None = None,
) -> Estimate:
    """Estimate a run over so many objects of `size` bytes together, up to 10^12 rows and beyond."""
    if spread is not None and (objects > spread.objects or size > spread.bytes):
        return _fanned(objects, size, known, function, part_rows, spread)
    rows = math.ceil(size / known.bytes_a_row)
    parts = max(objects, math.ceil(rows / part_rows)) if objects else 0
    seconds = rows / known.rows_a_second
    useful = max(function.timeout - _SECONDS_LOST, 0.1)
    attempts = max(1, math.ceil(seconds / useful))
    # Listing; of each part its rows, its errors at most, and its receipt; lease, request, manifest.
    writes = math.ceil(objects / _LISTED) * attempts + 3 * parts + 5 * attempts
    # Each attempt reads the receipts of the parts before it.
    reads = objects + attempts * parts // 2
    billed = seconds + attempts * _SECONDS_LOST
    dollars = (
        billed * function.memory / 1024 * GB_SECOND[function.architecture]
        + attempts * INVOCATION
        + writes * WRITE
        + reads * READ
    )
    problems = []
    one_part = min(rows, part_rows) / known.rows_a_second
    if one_part > useful:
        problems.append(
            f"one part takes {one_part:,.0f} s, the function has {function.timeout} s: "
            "raise `function.timeout` or lower `part_rows`"
        )
    if attempts > _ATTEMPTS:
        problems.append(
            f"{attempts:,} attempts; a schedule makes {_ATTEMPTS}: set `fanout`, or let `fnmodel "
            "batch run` make as many as it takes, one after the other"
        )
    problems += _listing(objects, function)
    return Estimate(
        rows, objects, size, parts, seconds, attempts, writes + reads, dollars, known.assumed,
        problems,
    )  # fmt: skip


def _fanned(
    objects: int, size: int, known: Known, function: Function, part_rows: int, spread: Spread
) -> Estimate:
    """Estimate a run that fans out: as many invocations as slices, and the steps around them."""
    rows = math.ceil(size / known.bytes_a_row)
    parts = max(objects, math.ceil(rows / part_rows))
    # Large objects are cut where parts end; small ones share an invocation.
    together = max(math.ceil(size / spread.slice_bytes), math.ceil(objects / 100), 1)
    items = parts if size > objects * spread.slice_bytes else together
    at_once = min(spread.concurrency, items)
    scored = rows / known.rows_a_second
    finish = parts / _RECEIPTS_A_SECOND
    listed = math.ceil(objects / _LISTED) / 10
    worked = scored * (1 + _MARKING) + items * _SECONDS_AN_ITEM
    seconds = worked / at_once + finish + listed
    invocations = 2 * items + 4
    # Listing by the start; rows, errors at most and receipt of a part; the listing of a slice.
    writes = math.ceil(objects / _LISTED) + 3 * parts + items + 20
    reads = 3 * objects + 2 * items + 2 * parts
    transitions = _TRANSITIONS_A_RUN + _TRANSITIONS_AN_ITEM * 2 * items
    dollars = (
        (worked + finish + listed) * function.memory / 1024 * GB_SECOND[function.architecture]
        + invocations * INVOCATION
        + writes * WRITE
        + reads * READ
        + transitions * TRANSITION
    )
    problems = []
    if spread.concurrency > _MOST_AT_ONCE:
        problems.append(
            f"{spread.concurrency:,} invocations at once; an account has {_MOST_AT_ONCE:,} until "
            "it asks for more"
        )
    if worked / at_once > _LONGEST:
        problems.append(
            f"it takes {span(worked / at_once)}; an execution has 24 h: raise `fanout.concurrency`"
        )
    if finish > function.timeout:
        problems.append(
            f"the last step reads {parts:,} receipts in {finish:,.0f} s, the function has "
            f"{function.timeout} s: raise `function.timeout` or `part_rows`"
        )
    held = parts * _BYTES_A_PART / (1 << 20)
    if held > function.memory / 2:
        problems.append(
            f"the manifest of {parts:,} parts takes {held:,.0f} MB of the function's "
            f"{function.memory} MB: raise `function.memory` or `part_rows`, or split the prefix"
        )
    problems += _listing(objects, function)
    return Estimate(
        rows, objects, size, parts, seconds, 1, writes + reads, dollars, known.assumed,
        problems, invocations,
    )  # fmt: skip


def _listing(objects: int, function: Function) -> list[str]:
    listing = objects * _BYTES_AN_OBJECT / (1 << 20)
    problem = (
        f"the listing of {objects:,} objects takes {listing:,.0f} MB of the function's "
        f"{function.memory} MB: put the rows into fewer, larger objects"
    )
    return [problem] if listing > function.memory / 4 else []


def shown(found: Estimate) -> str:
    """Return an estimate in one line and its problems."""
    sure = "assumed, no run yet to learn from" if found.assumed else "by the last run"
    line = (
        f"about {found.rows:,} rows in {found.objects:,} objects ({found.size / 1e6:,.1f} MB), "
        f"{span(found.seconds)}, {_how(found)}, {found.parts:,} parts, "
        f"${found.dollars:,.4f} at list prices of {REGION}, {AS_OF} ({sure})"
    )
    return "\n".join([line, *found.problems])


def _how(found: Estimate) -> str:
    if found.invocations:
        return f"{found.invocations:,} invocations"
    return f"{found.attempts:,} attempts"


def span(seconds: float) -> str:
    """Return a time as a person says it."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} s"
