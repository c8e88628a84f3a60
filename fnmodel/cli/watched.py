"""What the commands of `fnmodel watch` look at: rows, reference, labels, of a stage or of files."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fnmodel.capture.line import lines_of, time_of
from fnmodel.cli import captured, labelled, recipe
from fnmodel.cli.capture import span
from fnmodel.cli.follow import seconds
from fnmodel.cli.workspace import Workspace
from fnmodel.errors import InputError, UsageError
from fnmodel.model import SIGNATURE, Signature
from fnmodel.profile import Profile, read_reference
from fnmodel.watch.labels import Label
from fnmodel.watch.labels import read as read_labels
from fnmodel.watch.rows import Reading, read

if TYPE_CHECKING:
    from fnmodel.watch.performance import Question


def rows(
    work: Workspace,
    file: Path | None,
    since: str,
    until: str | None,
    baseline: str,
    version: str | None,
    model: str | None = None,
) -> tuple[datetime, datetime, Reading]:
    """Return the span of the report, and the rows of it and of the baseline before it.

    `model` leaves out the rows of the others, where there are several.
    """
    now = datetime.now(UTC)
    back = timedelta(seconds=seconds(baseline))
    if file is not None:
        found = read(lines_of(content(file)))
        if not found.rows:
            raise InputError(f"{file} holds no captured row", hint="see `fnmodel capture export`")
        # A file may be old: the spans before now mean before its last row.
        now = datetime.fromisoformat(found.rows[-1].time) + timedelta(milliseconds=1)
        begin, end = span(since, until, now)
    else:
        begin, end = span(since, until, now)
        bucket = work.stack.outputs["Bucket"]
        with work.console.step("rows") as step:
            lines = captured.rows_between(work.client("s3"), bucket, work.name, begin - back, end)
            found = read(lines)
            step.done(f"{len(found.rows):,} captured rows")
    first = time_of(begin - back)
    kept = tuple(
        row
        for row in found.rows
        if row.time >= first
        and version in (None, row.version)
        and (not work.project.models or model in (None, row.model))
    )
    return begin, end, replace(found, rows=kept)


def model_folder(work: Workspace, name: str, folder: Path | None) -> Path:
    """Return a model directory; by default that of a model of the project."""
    return recipe.slim(work, gate=False)[name].model.folder if folder is None else folder


def reference(work: Workspace, name: str, folder: Path | None) -> tuple[Profile, Signature]:
    """Return the reference and the signature of a model directory; by default of a model's own."""
    folder = model_folder(work, name, folder)
    try:
        signature = json.loads((folder / SIGNATURE).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is no model directory: {error}", hint="--folder DIR") from error
    return read_reference(folder), Signature.from_json(signature)


def question(
    work: Workspace,
    name: str,
    span: tuple[datetime, datetime],
    signature: Signature,
    features: Collection[str],
    group: str | None,
) -> "Question":
    """Return what is asked of a model's rows.

    Raises:
        UsageError: there is no such feature as `group`.

    """
    # It loads what `watch labels` and `watch status` do not need.
    from fnmodel.watch.performance import Question

    begin, end = map(time_of, span)
    return Question(
        begin, end, name,
        unkept=_unkept(work, signature, features), group=_known(group, features),
    )  # fmt: skip


def _unkept(work: Workspace, signature: Signature, names: Collection[str]) -> frozenset[str]:
    """Return the features that captured rows cannot tell of."""
    policy = work.capture
    gone = {name for name, treatment in policy.fields.items() if treatment != "keep"}
    asked = {feature.name for feature in signature.asked}
    return frozenset(name for name in names if name in gone | {policy.subject} or name not in asked)


def _known(group: str | None, names: Collection[str]) -> str | None:
    if group is not None and group not in names:
        raise UsageError(
            f"there is no feature {group}", hint=f"--group is one of {', '.join(names)}"
        )
    return group


def labels(work: Workspace, file: Path | None, *, local: bool) -> dict[str, Label]:
    """Return late labels of a file, or else, where rows are the stage's, of the stage."""
    if file is not None:
        return read_labels(content(file), str(file))
    return {} if local else labelled.get(work.client("s3"), work.stack.outputs["Bucket"])


def content(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        UsageError: it cannot be read.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="name an existing file") from error
