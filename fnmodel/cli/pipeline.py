"""`fnmodel run`: the steps that fnmodel.yaml declares, one after another."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.aws import Cloud
from fnmodel.cli.console import table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import FnmodelError, PipelineError, UsageError

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace
    from fnmodel.config import PipelineStep

RETRAIN, LEDGER = "FNMODEL_RETRAIN", "FNMODEL_RETRAIN_LEDGER"
"""Set where a watch has asked for this run: the decision's id, and the table that it stands in."""


@placed
def run(
    steps: Annotated[
        list[str] | None, typer.Argument(help="Steps of `pipeline:`; all of them by default.")
    ] = None,
    *,
    where: Where,
) -> None:
    """Run the steps of `pipeline:` in their order, up to the first one that fails.

    Example: fnmodel run train validate
    """
    work = where.open()
    chosen = _chosen(work.project.pipeline, steps or [])
    done: list[dict[str, Any]] = []
    with _turn(work) as mine:
        for step in chosen if mine else ():
            with work.console.step(step.name) as shown:
                begun = time.monotonic()
                shown.progress(step.run or f"deploy to {step.deploy}")
                _run(work, step)
                seconds = round(time.monotonic() - begun, 1)
                done.append({"step": step.name, "seconds": seconds})
                shown.done(f"{seconds:g} s")
    rows = [[one["step"], one["seconds"]] for one in done]
    work.console.data({"steps": done}, table(["step", "seconds"], rows))


def _chosen(declared: "Sequence[PipelineStep]", names: Sequence[str]) -> "list[PipelineStep]":
    known = [step.name for step in declared]
    if not declared:
        raise UsageError(
            "fnmodel.yaml declares no `pipeline`",
            hint="write `pipeline: [{name: train, run: python train.py}, …]`",
        )
    if wrong := [name for name in names if name not in known]:
        raise UsageError(
            f"there is no step {wrong[0]!r} in `pipeline`", hint=f"use: {', '.join(known)}"
        )
    return [step for step in declared if not names or step.name in names]


def _run(work: "Workspace", step: "PipelineStep") -> None:
    folder = work.file.parent
    if step.deploy is not None:
        command = [sys.executable, "-m", "fnmodel", "deploy", "--stage", step.deploy]
        command += ["--local"] if work.local else []
    else:
        command = shlex.split(step.run or "")
    try:
        # What a step prints is for people: data on standard output is this command's own.
        ended = subprocess.run(
            command, cwd=folder, env={**os.environ, **step.env}, stdin=subprocess.DEVNULL,
            stdout=sys.stderr, check=False,
        ).returncode  # fmt: skip
    except OSError as error:
        raise PipelineError(
            f"step {step.name}: {command[0]}: {error.strerror}", hint="see `run:` of that step"
        ) from error
    if ended:
        raise PipelineError(
            f"step {step.name} ended with {ended}",
            hint=f"mend it, then `fnmodel run {step.name} …` goes on with the steps you name",
        )


def ledgers(work: "Workspace") -> Cloud:
    """Return where the ledger is: where the build runs, whatever stage the project's first is.

    In AWS the build's own role may write it, in its own account and region.
    """
    return work.cloud if work.local else Cloud()


@contextmanager
def _turn(work: "Workspace") -> Iterator[bool]:
    """Say in the ledger that a run that a watch has asked for begins, and how it ends.

    Gives False where the same request has begun before: an event may come twice.
    """
    identity, ledger = os.environ.get(RETRAIN), os.environ.get(LEDGER)
    if not identity or not ledger:
        yield True
        return
    from fnmodel.watch.book import Book

    book = Book(ledgers(work).client("dynamodb"), ledger)
    if not book.begin(identity):
        work.console.note(f"unchanged  retraining {identity} has begun before")
        yield False
        return
    failed = True
    try:
        yield True
        failed = False
    finally:
        try:
            book.end(identity, failed=failed)
        except FnmodelError as error:
            work.console.note(f"the ledger does not know how it ended: {error.message}")
