"""Makes a plan: asks CloudFormation, the registry and the live stack, and changes nothing."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import yaml

from fnmodel.cli import orders, saved
from fnmodel.cli.recipe import Desired
from fnmodel.cli.traffic import describe
from fnmodel.cli.workspace import Workspace
from fnmodel.config import find
from fnmodel.local.differences import FORGOTTEN
from fnmodel.provision import prices
from fnmodel.provision.bodies import IN_REQUEST
from fnmodel.provision.changes import ResourceChange, fate, resource_changes
from fnmodel.provision.cost import Cost, estimate
from fnmodel.provision.drift import Survey, survey, traffic
from fnmodel.provision.permissions import access_changes
from fnmodel.provision.resolve import resolve
from fnmodel.provision.stack import Change, ChangeSet, Stack
from fnmodel.provision.standing import Standing, standing
from fnmodel.release.move import last_move

# Variables of these names are nobody's to read, wherever they come from.
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|HEADERS|CREDENTIAL", re.IGNORECASE)


def plan(work: Workspace, wanted: Desired, *, look: bool = True) -> saved.Plan:
    """Return what `deploy` would do; reads only, but for a change set that is made and discarded.

    `look` is whether the live stack is compared with its template.

    Raises:
        ProvisionError: CloudFormation refuses the template, or the stack needs a person first.
        AwsError: AWS refused a call.

    """
    with work.console.step("plan") as step:
        step.progress("asking CloudFormation what would change")
        change_set = _asked(work, wanted)
        stack = work.standing()
        stands = standing(work.client("cloudformation"), stack) if stack is not None else None
        step.progress("asking the registry what it has")
        push = _push(work, wanted)
        found = Survey((), {})
        if look and stands is not None and stack is not None:
            step.progress("looking for hand edits")
            found = _drift(work, stack, stands)
        made = _plan(work, wanted, change_set, stack, stands, push, found)
        step.done(f"{work.name}: {len(made.changes)} resources would change")
    return made


def _asked(work: Workspace, wanted: Desired) -> ChangeSet:
    """Have CloudFormation plan it, and leave no trace.

    A template too large for a request needs the stage's bucket, which a new stage has not; but
    there all of it is new, whatever CloudFormation would say.
    """
    stack = work.stacks.find(work.name)
    if len(wanted.body.encode()) > IN_REQUEST and (stack is None or "Bucket" not in stack.outputs):
        resources = json.loads(wanted.body)["Resources"].items()
        added = tuple(Change("Add", name, one["Type"], "") for name, one in resources)
        return ChangeSet(work.name, "CREATE", added)
    change_set = work.stacks.plan(work.name, wanted.body, wanted.parameters, wanted.tags)
    work.stacks.discard(change_set)
    return change_set


def world(work: Workspace, wanted: Desired) -> saved.World:
    """Return what a plan is made of, as it is now."""
    stack = work.standing()
    template = json.loads(wanted.body)
    hidden = {name for name, one in template["Parameters"].items() if one.get("NoEcho")}
    shown = {name: value for name, value in wanted.parameters.items() if name not in hidden}
    text = find(work.folder).read_text("utf-8")
    given: dict[str, Any] = {
        "project": work.project.name,
        "stage": work.stage,
        "cloud": work.settings.cloud,
        "account": work.cloud.account(),
        "region": work.cloud.region_name,
        "configuration": saved.sha256(yaml.safe_load(text)),
        "template": saved.sha256(template),
        "parameters": saved.sha256(shown),
        "image": wanted.image.digest,
    }
    if stack is not None:
        given |= {"stack": stack.id, "stack_status": stack.status, "stack_updated": stack.updated}
    if stack is not None and work.publisher.exists():
        state, latest, head = work.router.read(), work.publisher.latest(), work.ledger.head()
        given |= {
            "live": state.version,
            "weights": dict(state.weights),
            "alias_revision": state.revision_id,
            "function": saved.sha256([latest.digest, latest.settings]),
            "entries": head.count,
            "ledger": head.hash,
        }
    return saved.World(**given)


def _plan(
    work: Workspace,
    wanted: Desired,
    change_set: ChangeSet,
    stack: Stack | None,
    stands: Standing | None,
    push: tuple[saved.Blob, ...],
    found: Survey,
) -> saved.Plan:
    before = stands.asked if stands is not None else {}
    template, region = json.loads(wanted.body), work.cloud.region_name
    after = resolve(template, wanted.parameters)
    changes = resource_changes(change_set.changes, before, after)
    access = stack.access if stack is not None else None
    running = work.publisher.latest().digest if access else None
    pending = not (access and change_set.empty and work.releases.is_current(wanted.image.digest))
    return saved.Plan(
        fnmodel=version("fnmodel"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pending=pending,
        world=world(work, wanted),
        image=saved.Before(before=running, after=wanted.image.digest),
        push=push,
        changes=tuple(map(_line, changes)),
        permissions=tuple(saved.AccessLine(**asdict(one)) for one in access_changes(before, after)),
        cost=_cost(
            estimate(before, region, _kept_started(stands.template if stands else {})),
            estimate(after, region, _kept_started(template)),
            region,
            new=not before,
        ),
        access=saved.Before(before=access, after=work.access.mode),
        alias=_alias(work, running is not None, pending=pending),
        rollout=_steps(work) if running and pending else (),
        drift=_drift_lines(found, changes),
        unread=dict(found.unread),
    )


def _line(change: ResourceChange) -> saved.ResourceLine:
    shown = (
        saved.EditLine(path=one.path, before=_shown(one.path, one.before),
                       after=_shown(one.path, one.after))
        for one in change.edits
    )  # fmt: skip
    return saved.ResourceLine(
        action=change.action, logical_id=change.logical_id, type=change.type,
        replacement=change.replacement, edits=tuple(shown), loss=change.loss,
    )  # fmt: skip


def _shown(path: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(f"{path}.{key}", one) for key, one in value.items()}
    hidden = "Variables." in path and _SECRET.search(path.rsplit(".", 1)[1])
    return "not shown" if hidden and value is not None else value


def _push(work: Workspace, wanted: Desired) -> tuple[saved.Blob, ...]:
    image = wanted.image
    made_by = {layer.descriptor.digest: layer.created_by for layer in image.layers}
    missing = [*(layer.descriptor for layer in image.layers), image.config_descriptor]
    if work.repositories.find(work.repository) is not None:
        missing = list(work.registry(wanted.image_uri).missing(image, work.repository))
    return tuple(
        saved.Blob(digest=one.digest, size=one.size, made_by=made_by.get(one.digest, "settings"))
        for one in missing
    )


def _kept_started(template: Mapping[str, Any]) -> int:
    """Return how many environments of each version a stack keeps started, as it says itself."""
    return int(template.get("Outputs", {}).get("Provisioned", {}).get("Value", 0))


def _cost(then: Cost, now: Cost, region: str, *, new: bool) -> saved.CostLine:
    return saved.CostLine(
        region=region,
        prices_as_of=prices.AS_OF,
        sources=prices.SOURCES,
        monthly_before=None if new else then.known,
        monthly_after=now.known,
        million_before=None if new else then.per_million,
        million_after=now.per_million,
        items=_items(now),
        unknown=tuple(dict.fromkeys([*then.unknown, *now.unknown])),
    )


def _items(cost: Cost) -> tuple[saved.CostItem, ...]:
    return tuple(
        saved.CostItem(what=one.what, amount=one.amount) for one in (*cost.monthly, *cost.million)
    )


def _alias(work: Workspace, stands: bool, *, pending: bool) -> str:
    if not stands:
        return "live → version 1, once it has passed its gate"
    state = work.router.read()
    said = f"live stays at {describe(state.version, state.weights)}"
    if not pending:
        return said
    if work.rollout.automatic:
        return f"{said}; the next version begins a rollout ({work.rollout.strategy})"
    return f"{said}; the next version waits as the candidate"


def _steps(work: Workspace) -> tuple[saved.StepLine, ...]:
    asked = orders.rollout(work.rollout)
    return tuple(saved.StepLine(**asdict(step)) for step in asked.steps) if asked else ()


def _drift(work: Workspace, stack: Stack, stands: Standing) -> Survey:
    work.stack = stack
    rolling = work.rollouts.current()
    found = survey(
        stands,
        work.client,
        forgotten=FORGOTTEN if work.local else (),
        rolling=rolling is not None and rolling.active,
    )
    if not work.publisher.exists():
        return found
    last = last_move(work.ledger.records())
    state = work.router.read()
    # A move that did not end says nothing of where the alias is.
    ended = last is not None and last.stable is not None and last.result == "done"
    said = describe(last.stable, last.weights) if ended and last and last.stable else None
    edits = traffic("LiveAlias", said, describe(state.version, state.weights))
    return Survey((*found.drifts, *edits), found.unread)


def _drift_lines(found: Survey, changes: tuple[ResourceChange, ...]) -> tuple[saved.DriftLine, ...]:
    planned = {change.logical_id: change for change in changes}
    return tuple(
        saved.DriftLine(
            logical_id=one.logical_id, type=one.type, kind=one.kind, path=one.path,
            expected=one.expected, found=one.found, deploy=fate(one, planned),
        )
        for one in found.drifts
    )  # fmt: skip
