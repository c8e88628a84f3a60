"""The steps of a deployment, each shown while it runs: slim, pack, push, provision, release."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from fnmodel.cli import orders, vouch
from fnmodel.cli.traffic import describe
from fnmodel.cli.workspace import Workspace
from fnmodel.config import FILE, ModelConfig
from fnmodel.errors import ConfigError, PlanError, StackBusyError, UsageError
from fnmodel.hashes import Hashed
from fnmodel.home import folder
from fnmodel.model import OnnxModel
from fnmodel.pack import build as packing
from fnmodel.pack import memory
from fnmodel.pack import verify as comparing
from fnmodel.pack.base import pull_through
from fnmodel.pack.dependencies import Lock
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.provision import template
from fnmodel.provision.bucket import empty
from fnmodel.provision.stack import ChangeSet, ResourceEvent, Stack
from fnmodel.provision.status import stays
from fnmodel.release.alias import AliasState
from fnmodel.release.chain import Head
from fnmodel.release.release import Released
from fnmodel.release.tick import Phase, Rollout
from fnmodel.shipped import shipped
from fnmodel.slim.slim import Slimmed
from fnmodel.slim.slim import slim as slim_model
from fnmodel.units import size

if TYPE_CHECKING:
    from fnmodel.cli.champion import Comparison
    from fnmodel.distribution import Shift


@dataclass(frozen=True)
class Desired:
    """What a stage is to be: the image by digest, and the stack around it."""

    image: Image
    image_uri: str
    body: str
    parameters: dict[str, str]
    tags: dict[str, str]


Slims = Mapping[str, Slimmed]
"""The results of `slim` by the models' names, the first one first."""


def slim(work: Workspace, *, gate: bool = True, hashed: Hashed | None = None) -> Slims:
    """Turn the project's models into verified ONNX model directories, or take them from the cache.

    `hashed` is instead of the remembered hashes of large files.

    Raises:
        ParityError: the answers of one differ beyond the budget, unless `gate` is off.
        SlimError: one cannot be converted.

    """
    made = {}
    for name, one in work.project.served.items():
        with work.naming(name):
            made[name] = _slim(work, name, one, hashed or work.hashes)
            if gate:
                made[name].report.check()
    return made


def _slim(work: Workspace, name: str, one: ModelConfig, hashed: Hashed) -> Slimmed:
    with work.console.step("slim", work.about(name)) as step:
        slimmed = slim_model(
            orders.conversion(one),
            cache=folder("cache", "slim"),
            progress=step.progress,
            full_isolation=one.slim.isolation == "full",
            hashed=hashed,
        )
        report = slimmed.report
        verdict = "answers as the original" if report.passed else "answers DIFFER"
        step.done(
            f"{size(report.size.before)} → {size(report.size.after)} ONNX; {verdict} "
            f"on {report.rows:,} rows (max difference {report.max_abs:.1e})"
            + ("; cached" if slimmed.cached else "")
        )
    return slimmed


def lock(work: Workspace) -> Lock | None:
    """Return the lock of the project's own requirements, made again where they changed.

    Raises:
        LockError: they cannot be read or resolved.

    """
    if work.project.requirements is None:
        return None
    with work.console.step("lock") as step:
        found, changes = work.lock(work.project.requirements)
        if changes:
            step.done(f"{found.path.name}: {len(changes)} packages changed")
    return found


def formats(work: Workspace) -> tuple[str, ...]:
    """Return the layers that the project's batch jobs need."""
    return tuple(sorted({name for job in work.project.batch for name in job.layers}))


def require_memory(work: Workspace, models: Mapping[str, OnnxModel]) -> None:
    """Refuse models that the stage's function cannot hold.

    Raises:
        ImageLimitError: says what each of them has.

    """
    memory.require(models, work.function.memory, _scored_by_batch(work, models))


def _scored_by_batch(work: Workspace, models: Mapping[str, OnnxModel]) -> set[str]:
    """Return the models that batch jobs score; those that come over HTTP may be for any."""
    if work.project.jobs is not None:
        return {*models}
    return {job.model or next(iter(models)) for job in work.project.batch}


def pack(work: Workspace, slims: Slims) -> Image:
    """Build the image into the store, or find it there.

    Raises:
        ImageLimitError: Lambda would refuse it, or the function has no memory for its models.
        PackError: it cannot be built.

    """
    models = _models(slims)
    require_memory(work, models)
    own = lock(work)
    with work.console.step("pack") as step:
        image = packing.build(
            work.packed(models), work.recipe, work.store, own=own, formats=formats(work),
            progress=step.progress, pull=work.pull,
        )  # fmt: skip
        work.store.add_reference(f"{work.project.name}-{work.recipe.python}", image)
        step.done(f"{image.digest[:19]}, {size(image.size)} in {len(image.layers)} layers")
    return image


def verify(work: Workspace, slims: Slims, image: Image) -> None:
    """Build an image once more, and compare.

    Raises:
        PackError: the second build differs, or fails.

    """
    own = lock(work)
    models = work.packed(_models(slims))
    with work.console.step("verify") as step:

        def again(fresh: Store) -> Image:
            return packing.build(
                models, work.recipe, fresh, own=own, formats=formats(work),
                progress=step.progress, pull=pull_through(work.store, work.pull),
            )  # fmt: skip

        comparing.verify(image, work.store, again)
        step.done(f"a second build gives {image.digest[:19]} too")


def _models(slims: Slims) -> dict[str, OnnxModel]:
    return {name: slimmed.model for name, slimmed in slims.items()}


@dataclass(frozen=True)
class Beside:
    """What is renewed last, once the model's image has passed its gate and is started.

    The images that the functions beside the model's run (the watch has the authorizer's), None
    where there is no such function: they run the model's own, and a bad one neither keeps callers
    out nor drives a rollout. And how many environments are kept started: a deploy that was killed
    before they are is not the same as done.
    """

    authorizer: str | None
    controller: str | None
    provisioned: int


def beside(stack: Stack | None) -> Beside:
    """Return that of a stack as it stands."""
    if stack is None:
        return Beside(None, None, 0)
    given = stack.parameters
    # A stack of an older fnmodel has one image for the model and its controller.
    driven = "RolloutClock" in stack.outputs
    controller = given.get("ControllerImageUri", given.get("ImageUri")) if driven else None
    provisioned = int(stack.outputs.get("Provisioned", "0"))
    return Beside(given.get("AuthorizerImageUri"), controller, provisioned)


def desired(
    work: Workspace,
    image: Image,
    repository_uri: str,
    *,
    serving: bool = True,
    others: Beside | None = None,
) -> Desired:
    """Return what the stage is to be with this image, open to requests or not yet.

    What is renewed last is as the project says, too, or as `others` says.
    """
    uri = f"{repository_uri}@{image.digest}"
    body, parameters = stack_of(work, uri, serving=serving, others=others)
    tags = template.tags(work.project.name, work.stage, work.around.stack.tags)
    return Desired(image, uri, body, parameters, tags)


def stack_of(
    work: Workspace, uri: str, *, serving: bool = True, others: Beside | None = None
) -> tuple[str, dict[str, str]]:
    """Return the template's body and the parameters that the project asks for, for an image."""
    project = work.project
    watch = work.watching
    keyed = serving and (work.access.mode == "api_key" or watch is not None)
    secret = work.capture_key or secrets.token_hex(32) if work.capture.rate else ""
    others = others or Beside(uri, uri, work.provisioned.count)
    driven = serving and work.rollout.automatic and others.controller is not None
    parameters = template.parameters(
        project,
        work.stage,
        uri,
        work.function,
        (others.authorizer or uri) if keyed else None,
        controller_uri=others.controller if driven else None,
        capture_key=secret,
        capture=work.capture,
    )
    # The embedded cloud runs on this machine, whatever its processor is.
    parameters["Architecture"] = work.recipe.architecture
    body = template.render(
        shipped("template.yaml").read_text("utf-8"), project.batch, capture=work.capture,
        function=work.function, audit=project.audit.retention is not None,
        access=work.access, cors=work.cors, serving=serving, rollout=driven,
        fanout=project.fanout, requests=project.jobs, watch=watch,
        replay=driven and work.rollout.replays,
        surroundings=replace(
            work.around, account_concurrency=work.quota, provisioned=others.provisioned
        ),
    )  # fmt: skip
    return body, parameters


def push(work: Workspace, wanted: Desired) -> None:
    """Send what the registry does not have yet.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.

    """
    with work.console.step("push") as step:
        registry = work.registry(wanted.image_uri)
        registry.push(wanted.image, work.store, work.repository, progress=step.progress)
        step.done(f"{work.repository}@{wanted.image.digest[:19]}")


class Approval(Protocol):
    """What was agreed to before a deploy, and holds it to that: a saved plan."""

    evidence: str
    """For the ledger."""

    @property
    def head(self) -> Head:
        """Where the ledger ended when it was agreed."""

    def check(self, work: Workspace, wanted: Desired) -> None:
        """Raise an error when the world is not the one that was agreed on."""

    def admit(self, change_set: ChangeSet) -> None:
        """Raise an error when a change set does what was not agreed on."""


def provision(
    work: Workspace,
    wanted: Desired,
    name: str = "provision",
    *,
    approval: Approval | None = None,
    stands: bool = False,
) -> ChangeSet:
    """Bring the stack to what is wanted; an empty change set says that it already was.

    With `stands` the stack is one that was there before: it is changed, and never made anew.

    Raises:
        ProvisionError: CloudFormation refused or a resource failed; it has rolled back.
        StackBusyError: the stack was deleted meanwhile.

    """
    with work.console.step(name) as step:

        def show(event: ResourceEvent) -> None:
            step.progress(f"{event.status.lower()} {event.logical_id}")

        step.progress("asking CloudFormation what would change")
        change_set = work.stacks.plan(work.name, wanted.body, wanted.parameters, wanted.tags)
        if stands and change_set.type == "CREATE":
            work.stacks.discard(change_set)
            raise StackBusyError(
                f"someone else deleted the stack {work.name} just now",
                hint="run the same command again: it makes the stage anew",
            )
        if approval is not None:
            try:
                approval.admit(change_set)
            except PlanError:
                work.stacks.discard(change_set)
                raise
        stack = work.stacks.apply(change_set, show if work.console.live else _quiet)
        work.stack = stack
        count = len(change_set.changes)
        step.done(f"{work.name}: {count} resources changed" if count else f"{work.name}: unchanged")
    return change_set


def _quiet(_event: ResourceEvent) -> None:
    """Say nothing: forty lines of a stack's events help nobody who reads a log."""


@dataclass(frozen=True)
class Deployed:
    """A finished deploy; `changed` is False when there was nothing to do.

    `champions` is how models stood to the version that served, by name, where a gate asked.
    """

    version: str
    digest: str
    state: AliasState
    changed: bool
    champions: "Mapping[str, Comparison]" = field(default_factory=dict)
    rollout: Rollout | None = None


def deploy(
    work: Workspace,
    *,
    promote: bool = False,
    skip_champion: bool = False,
    approval: Approval | None = None,
) -> Deployed:
    """Bring a stage to what the project says; repeated after any break, it goes on where it was.

    With `skip_champion` no gate compares the model with what serves, and the ledger says so. With
    an `approval` nothing is done but what it admits.

    Raises:
        FnmodelError: one of the steps failed; what served before still serves.

    """
    prepare(work)
    slims = slim(work)
    return bring(
        work, slims, pack(work, slims),
        promote=promote, skip_champion=skip_champion, approval=approval,
    )  # fmt: skip


def prepare(work: Workspace) -> None:
    """Say what the stage's cloud leaves out, and refuse before any work what cannot end well.

    Raises:
        SigningError, UsageError: a key cannot be used, or a package is missing.
        WrongAccountError: the credentials are of another account.

    """
    _ = work.keys
    _ = work.cloud
    left_out = work.around.left_out
    if work.local and work.function.provisioned_concurrency:
        left_out += ("function.provisioned_concurrency",)
    if left_out:
        work.console.note(f"not in the embedded cloud: {', '.join(left_out)}")
    if work.local and work.access.jwt and find_spec("cryptography") is None:
        raise UsageError(
            f"stage {work.stage} takes tokens; the embedded cloud needs cryptography to check them",
            hint="pip install 'fnmodel[signing]'",
        )


def bring(
    work: Workspace,
    slims: Slims,
    image: Image,
    *,
    promote: bool = False,
    skip_champion: bool = False,
    approval: Approval | None = None,
) -> Deployed:
    """Bring a stage to a packed image: all of `deploy` that AWS hears of.

    Raises:
        FnmodelError: one of the steps failed; what served before still serves.

    """
    if approval is not None:
        approval.check(work, desired(work, image, work.repository_uri()))
    done = nothing_to_do(work, image)
    if done is None:
        done = _deploy(work, slims, image, skip_champion=skip_champion, approval=approval)
    if not promote:
        return roll_out(work, _models(slims), done)
    if done.state.version != done.version or work.releases.is_unsaid():
        with work.console.step("promote") as step:
            state = work.releases.promote(done.version)
            step.done(describe(state.version, state.weights))
        done = replace(done, state=state, changed=True)
    return done


def roll_out(work: Workspace, models: Mapping[str, OnnxModel], done: Deployed) -> Deployed:
    """Begin the rollout that the project asks for; one that was begun before goes on."""
    plan = orders.rollout(work.rollout)
    if plan is None:
        return done
    found = work.rollouts.current()
    if found is not None and found.candidate == done.version:
        if found.phase not in {Phase.moving, Phase.returning}:
            return replace(done, rollout=found)
        # Whoever wrote that was killed before the alias was moved.
    elif done.version == done.state.version:
        return done  # the first version, or one that was promoted by hand
    candidate = work.publisher.ready(done.version)
    stable = work.publisher.ready(done.state.version)
    with work.console.step("rollout") as step:
        held_to = None
        if plan.replays.any:
            from fnmodel.cli import replays

            step.progress("preparing what is replayed")
            replays.prepare(work, models, candidate)
            held_to = replays.tolerance(work, models, stable)
        rollout = work.rollouts.begin(plan, candidate, stable, _bins(work, models), held_to)
        state = work.router.read()
        step.done(describe(state.version, state.weights))
    return replace(done, rollout=rollout, state=state, changed=True)


def _bins(work: Workspace, models: Mapping[str, OnnxModel]) -> "Shift | None":
    """Return the bins by which predictions are compared; None where they are not."""
    margin = work.rollout.analysis.max_prediction_shift
    if margin is None:
        return None
    [model] = models.values()  # the project file allows it with one model only
    # They load numpy, which no other deploy needs here.
    from fnmodel.distribution import Shift
    from fnmodel.profile import REFERENCE, read_reference

    if not (model.folder / REFERENCE).exists():
        return None
    return Shift.between(read_reference(model.folder).outputs, margin)


def nothing_to_do(work: Workspace, image: Image) -> Deployed | None:
    """Return the deploy that stands already, or None; makes no call that changes anything."""
    stack = work.stacks.find(work.name)
    if stack is None or "Url" not in stack.outputs:
        return None
    wanted = desired(work, image, work.repository_uri())
    if not work.stacks.is_unchanged(stack, wanted.body, wanted.parameters, wanted.tags):
        return None
    work.stack = stack
    if not work.releases.is_current(image.digest):
        return None
    if not vouch.is_signed(work, image, wanted.image_uri):
        return None  # the key is newer than the deploy
    version = work.publisher.published()
    assert version is not None, "is_current() has found it"
    work.console.note(f"unchanged  version {version.number} is deployed already")
    return Deployed(version.number, image.digest, work.router.read(), changed=False)


def _deploy(
    work: Workspace,
    slims: Slims,
    image: Image,
    *,
    skip_champion: bool,
    approval: Approval | None,
) -> Deployed:
    if not work.local and work.recipe.base is None:
        raise ConfigError(
            FILE,
            ["image.base: AWS needs a base image with Python, pinned by digest"],
            hint="set it to NAME@sha256:… of AWS's Lambda image for Python "
            f"{work.recipe.python}; docs/pack.md says how to find the digest",
        )
    evidence = [
        work.words(gate["reason"], name)
        for name, slimmed in slims.items()
        for gate in slimmed.report.gates
    ]

    def carry(wanted: Desired) -> None:
        push(work, wanted)
        vouch.attach(work, image, wanted.image_uri)

    return land(
        work, image, _models(slims), carry, evidence,
        skip_champion=skip_champion, approval=approval,
    )  # fmt: skip


def land(
    work: Workspace,
    image: Image,
    models: Mapping[str, OnnxModel],
    carry: Callable[[Desired], None],
    evidence: Sequence[str],
    *,
    skip_champion: bool = False,
    approval: Approval | None = None,
) -> Deployed:
    """Make an image with these models a version of the stage that has passed its gates.

    `carry` puts the image, signed, into the stage's repository: Lambda does not check signatures,
    so that is done before it hears of one. `evidence` is what is known of it, for the ledger.

    Raises:
        FnmodelError: one of the steps failed; what served before still serves.

    """
    stack = work.stacks.find(work.name)
    if stack is not None and work.publisher.exists():
        work.releases.require_idle(image.digest)
        if "RolloutClock" in stack.outputs:
            # A stage that is moved by hand has no controller, which a rollout must not lose.
            work.rollouts.require_idle(image.digest if work.rollout.automatic else "")
    # Nobody may call a stage before its first version has passed its gate.
    # A stack that is made anew has proven nothing, whatever its outputs still say.
    opened = stack is not None and "Url" in stack.outputs and stays(stack.status)
    compared: dict[str, Comparison] = {}
    if opened and not skip_champion:
        compared = _compared(work, models, image)
    with work.pins.held(image.digest, work.console.note):
        return _landed(
            work, image, models, carry, _Known(stack, opened, compared, tuple(evidence)),
            skip_champion=skip_champion, approval=approval,
        )  # fmt: skip


@dataclass(frozen=True)
class _Known:
    """What was found before anything is changed."""

    stack: Stack | None
    opened: bool
    compared: "Mapping[str, Comparison]"
    evidence: tuple[str, ...]


def _landed(
    work: Workspace,
    image: Image,
    models: Mapping[str, OnnxModel],
    carry: Callable[[Desired], None],
    known: _Known,
    *,
    skip_champion: bool,
    approval: Approval | None,
) -> Deployed:
    stack, opened, compared = known.stack, known.opened, known.compared
    repository_uri = work.repository_uri()
    wanted = desired(work, image, repository_uri, serving=opened, others=beside(stack))
    carry(wanted)
    if approval is not None:
        # The push may have taken minutes.
        approval.check(work, desired(work, image, repository_uri))
    provision(work, wanted, approval=approval, stands=opened)
    with work.console.step("release") as step:
        step.progress("publishing a version and replaying its probe")
        found = [*known.evidence, *(work.words(one.words, name) for name, one in compared.items())]
        if skip_champion:
            found.append("the champion was not asked (--skip-champion)")
        if approval is not None:
            found.append(approval.evidence)
        released = work.releases.release(
            image.digest,
            work.gate(models),
            evidence="; ".join(found),
            after=approval.head if approval is not None else None,
        )
        proof = f"{released.gate.checked} values as proven" if released.gate else "proven before"
        step.done(f"version {released.version.number}: {proof}")
    _keep_started(work, stack, released)
    whole = desired(work, image, repository_uri)
    if whole != wanted:
        provision(work, whole, "beside" if opened else "open", approval=approval, stands=True)
    return Deployed(
        released.version.number, image.digest, released.state, changed=True, champions=compared
    )


def _keep_started(work: Workspace, before: Stack | None, released: Released) -> None:
    """Start what is to be kept started of a version, before it gets its first request."""
    count = work.provisioned.count
    if not count and (before is None or "Provisioned" not in before.outputs):
        return
    state, number = released.state, released.version.number
    with work.console.step("start") as step:
        work.provisioned.keep({state.version, *state.weights, number})
        if count:
            step.progress(f"starting {count} environments of version {number}")
            work.provisioned.started(number)
        step.done(f"version {number}: {count} environments are kept started")


def _compared(
    work: Workspace, models: Mapping[str, OnnxModel], image: Image
) -> "dict[str, Comparison]":
    asked = {
        name: one
        for name, one in work.project.served.items()
        if any(gate.champion for gate in one.gates.metrics)
    }
    if not asked:
        return {}
    # Metrics load what no other deploy needs.
    from fnmodel.cli import champion

    found = {}
    for name, one in asked.items():
        with work.naming(name):
            judged = champion.judge(work, name, one, models[name], image.digest)
        if judged is not None:
            found[name] = judged
    return found


def destroy(work: Workspace) -> dict[str, Any]:
    """Delete the stage's stack with its data, and the repository after the last stage.

    Repeated after a break, it goes on.
    """
    removed: dict[str, Any] = {}
    stack = work.stacks.find(work.name)
    with work.console.step("destroy") as step:
        if stack is not None:
            bucket = stack.outputs.get("Bucket")
            if bucket:
                step.progress(f"emptying s3://{bucket}")
                removed["objects"] = empty(work.client("s3"), bucket)
            step.progress(f"deleting {work.name}")
            work.stacks.delete(work.name)
            removed["stack"] = work.name
            if "AuditBucket" in stack.outputs:
                removed["kept"] = f"s3://{stack.outputs['AuditBucket']}"
        others = work.stacks.tagged("fnmodel:project", work.project.name)
        if not others and work.repositories.find(work.repository) is not None:
            work.repositories.delete(work.repository)
            removed["repository"] = work.repository
        step.done(f"{work.name} is gone" if removed else "there was nothing to delete")
    return removed
