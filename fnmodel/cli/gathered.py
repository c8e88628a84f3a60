"""Windows of a long time: stored ones, and those of captured rows where none are stored."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fnmodel.capture.line import time_of
from fnmodel.cli import watched
from fnmodel.cli.capture import span
from fnmodel.cli.follow import seconds
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import InputError
from fnmodel.model import Signature
from fnmodel.profile import Profile, reference_digest
from fnmodel.watch.bucket import S3Store
from fnmodel.watch.performance import Evidence, Question
from fnmodel.watch.records import windows_between
from fnmodel.watch.rows import Row
from fnmodel.watch.windows import Windows, from_lines, key_of, windows

_AT_ONCE = 10
"""Reads at once: as many as boto3 keeps connections."""


@dataclass(frozen=True)
class Sources:
    """Where windows, rows and labels come from, and of which time; None is the stage's own."""

    rows: Path | None = None
    windows: Path | None = None
    labels: Path | None = None
    since: str = "28d"
    until: str | None = None
    baseline: str = "28d"
    version: str | None = None
    group: str | None = None
    model: str | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Gathered:
    """All that a trend or a digest is made of; `evidence` is there where rows are."""

    windows: Windows
    reference: Profile
    signature: Signature
    question: Question
    evidence: Evidence | None


def gathered(work: Workspace, asked: Sources) -> Gathered:
    """Read windows and rows. A file of windows alone needs no cloud.

    Raises:
        InputError, UsageError: a file is none, or holds nothing.

    """
    name = work.project.model_name(asked.model)
    folder = watched.model_folder(work, name, asked.folder)
    stored = _of_file(asked, name if work.project.models else None)
    rows: tuple[Row, ...] = ()
    if asked.rows is None and asked.windows is not None:
        begin, end = _of_windows(stored, asked)
    else:
        begin, end, found = watched.rows(
            work, asked.rows, asked.since, asked.until, asked.baseline, asked.version, name
        )
        rows = found.rows
        if asked.rows is None and asked.windows is None:
            back = timedelta(seconds=seconds(asked.baseline))
            stored = _of_stage(work, asked, name, reference_digest(folder), (begin - back, end))
    reference, signature = watched.reference(work, name, folder)
    question = watched.question(
        work, name, (begin, end), signature, reference.features, asked.group
    )
    # A window of few rows is not stored, beside others of its hour that are.
    left = [row for row in rows if key_of(row) not in stored]
    evidence = None
    if rows:
        now = [row for row in rows if row.time >= question.since]
        before = [row for row in rows if row.time < question.since]
        known = watched.labels(work, asked.labels, local=asked.rows is not None)
        evidence = Evidence(now, before, reference, signature, question, known)
    every = {**stored, **windows(left, reference, signature)}
    return Gathered(every, reference, signature, question, evidence)


def _of_stage(
    work: Workspace, asked: Sources, name: str, digest: str, span: tuple[datetime, datetime]
) -> Windows:
    """Return what the stage's watch has stored on this reference's bins; nothing without one."""
    begin, end = (time_of(moment)[:13] for moment in span)
    store = S3Store(work.client("s3"), work.stack.outputs["Bucket"])
    with work.console.step("windows") as step, ThreadPoolExecutor(_AT_ONCE) as pool:
        # `~` has the hour that has begun, too.
        found = windows_between(store, name, digest, begin, f"{end}~", pool.map)
        step.done(f"{len(found):,} stored windows")
    return {key: window for key, window in found.items() if asked.version in (None, key.version)}


def _of_file(asked: Sources, model: str | None) -> Windows:
    if asked.windows is None:
        return {}
    found = from_lines(watched.content(asked.windows).splitlines(keepends=True))
    return {
        key: window
        for key, window in found.items()
        if model in (None, key.model) and asked.version in (None, key.version)
    }


def _of_windows(stored: Windows, asked: Sources) -> tuple[datetime, datetime]:
    """Return the span that is asked for; without an end it is that of the last window."""
    if not stored:
        raise InputError(f"{asked.windows} holds no window", hint="see docs/watch.md")
    last = datetime.fromisoformat(f"{max(key.hour for key in stored)}:00+00:00")
    return span(asked.since, asked.until, last + timedelta(hours=1))
