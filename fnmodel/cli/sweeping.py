"""What nothing can reach in a project's stages and repositories, and deleting it."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fnmodel.cli.workspace import Workspace
from fnmodel.errors import FnmodelError
from fnmodel.provision.images import Images, Sweep, sweep
from fnmodel.provision.pins import Pins, Sweeping
from fnmodel.provision.status import Step, next_step
from fnmodel.release.garbage import Decision
from fnmodel.release.publish import Publisher


@dataclass(frozen=True)
class SweptImages:
    """What became of a repository's images; `busy` says why all of them stay, if they do."""

    repository: str
    kept: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    freed: int = 0
    busy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `--output json`."""
        return {
            "repository": self.repository,
            "kept": dict(self.kept),
            "removed": list(self.removed),
            "freed": self.freed,
            "busy": self.busy or None,
        }


def versions(work: Workspace, keep: int, *, dry_run: bool) -> Decision | None:
    """Delete the versions of a stage that nothing can reach; None where nothing is deployed.

    Raises:
        LockHeldError: someone is releasing there.

    """
    stack = work.standing()
    if stack is None or not work.publisher.exists():
        return None
    work.stack = stack
    with work.console.step("versions", work.stage) as step:
        if dry_run:
            decision = work.releases.garbage(work.rollouts.current(), keep)
        else:
            decision = work.releases.clean(work.rollouts.current, keep)
        verb = "would go" if dry_run else "deleted"
        step.done(f"{len(decision.kept)} kept, {len(decision.removed)} {verb}")
    return decision


def images(
    work: Workspace, going: Mapping[str, Iterable[str]], young: float, *, dry_run: bool
) -> SweptImages | None:
    """Delete the images of the project's repository that nothing can reach; None without one.

    `going` are versions that a dry run has not deleted, by the name of their function. What was
    pushed within `young` seconds stays.

    Raises:
        LockHeldError: another one deletes images.
        ProvisionError: ECR refused to delete one.

    """
    name = work.repository
    repository = work.repositories.find(name)
    if repository is None:
        return None
    there, pins = Images(work.client("ecr"), name), Pins(work.client("ecr"), repository.arn)
    with work.console.step("images") as step, _turn(pins, dry_run=dry_run) as turn:
        busy = next(_unsettled(work), "")
        if busy:
            step.done(f"all kept: {busy}")
            return SweptImages(name, busy=busy)
        step.progress("looking for what can be reached")
        roots = dict(_roots(work, going))
        roots |= dict.fromkeys(turn.pinned, "is being deployed")
        found: Sweep = sweep(there.all(), roots, time.time(), young)
        gone = found.removed
        if not dry_run:
            gone = there.delete(found.removed, turn.may_go_on)
            pins.forget()
        step.done(f"{len(found.kept)} kept, {len(gone)} {'would go' if dry_run else 'deleted'}")
    freed = found.freed if gone == found.removed else 0
    return SweptImages(name, found.kept, gone, freed)


@contextmanager
def _turn(pins: Pins, *, dry_run: bool) -> Iterator[Sweeping]:
    if dry_run:
        yield Sweeping(pins.pinned(), lambda: True)
        return
    with pins.sweeping() as turn:
        yield turn


def _stacks(work: Workspace) -> list[str]:
    project = work.project.name
    return work.stacks.tagged("fnmodel:project", project, prefix=f"fnmodel-{project}-")


def _unsettled(work: Workspace) -> Iterator[str]:
    """Yield why nobody can say what a stack will run: it is on its way, perhaps back."""
    for name in _stacks(work):
        stack = work.stacks.find(name)
        if stack is not None and next_step(stack.status) is Step.WAIT:
            yield f"stack {name} is {stack.status}"


def _roots(work: Workspace, going: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Yield each digest that a stage of the project can reach, and why.

    Of one that many reach the last reason is kept: the most telling ones come last.
    """
    for name in _stacks(work):
        stack = work.stacks.find(name)
        if stack is None:
            continue
        for parameters in work.stacks.parameters_ahead(stack):
            for digest in _digests(parameters):
                yield digest, f"a change set of {name}"
        for function in work.stacks.physical_ids(stack.id, "AWS::Lambda::Function"):
            yield from _of_function(work, function, frozenset(going.get(function, ())))
        for digest in _digests(stack.parameters):
            yield digest, f"stack {name}"


def _of_function(
    work: Workspace, function: str, going: frozenset[str]
) -> Iterator[tuple[str, str]]:
    publisher = Publisher(work.client("lambda"), function)
    if not publisher.exists():
        return
    yield publisher.latest().digest, function
    for version in publisher.versions():
        if version.number not in going:
            yield version.digest, f"{function}:{version.number}"


def _digests(parameters: Mapping[str, str]) -> list[str]:
    return [value.partition("@")[2] for value in parameters.values() if "@sha256:" in value]


def stages(work: Workspace) -> list[str]:
    """Return the stages of a project that are in the same cloud as this one, this one first."""
    names = [work.stage, *sorted({*work.project.stages, work.project.stage})]
    found: dict[str, None] = {}
    for name in names:
        try:
            _, settings = work.project.stage_of(name, local=work.local and name == work.stage)
        except FnmodelError:
            continue  # the default stage, where the project has renamed it
        if settings.cloud == work.settings.cloud:
            found.setdefault(name)
    return list(found)
