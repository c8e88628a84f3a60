"""The steps of a deployment, each shown while it runs: slim, pack, push, provision, release."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fnmodel.cli import orders, vouch
from fnmodel.cli.traffic import describe
from fnmodel.cli.workspace import Workspace
from fnmodel.config import FILE, ModelConfig
from fnmodel.errors import ConfigError, UsageError
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
from fnmodel.provision.stack import ChangeSet, ResourceEvent
from fnmodel.release.alias import AliasState
from fnmodel.release.tick import Rollout
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
    memory.require(models, work.function.memory, _scored_by_batch(work, models))
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


def desired(
    work: Workspace,
    image: Image,
    repository_uri: str,
    *,
    serving: bool = True,
    authorizer: str | None = None,
) -> Desired:
    """Return what the stage is to be with this image, open to requests or not yet.

    The authorizer runs this image too, or the one that `authorizer` names.
    """
    project = work.project
    uri = f"{repository_uri}@{image.digest}"
    keyed = serving and work.access.mode == "api_key"
    secret = work.capture_key or secrets.token_hex(32) if project.capture.rate else ""
    parameters = template.parameters(
        project,
        work.stage,
        uri,
        work.function,
        (authorizer or uri) if keyed else None,
        capture_key=secret,
    )
    # The embedded cloud runs on this machine, whatever its processor is.
    parameters["Architecture"] = work.recipe.architecture
    return Desired(
        image=image,
        image_uri=uri,
        body=template.render(
            shipped("template.yaml").read_text("utf-8"), project.batch, capture=project.capture,
            function=work.function, audit=project.audit.retention is not None,
            access=work.access, cors=work.cors, serving=serving, rollout=work.rollout.automatic,
            fanout=project.fanout, requests=project.jobs,
        ),
        parameters=parameters,
        tags=template.tags(project.name, work.stage),
    )  # fmt: skip


def push(work: Workspace, wanted: Desired) -> None:
    """Send what the registry does not have yet.

    Raises:
        RegistryError: the registry refused, or the connection broke too often.

    """
    repository = f"fnmodel/{work.project.name}"
    with work.console.step("push") as step:
        registry = work.registry(wanted.image_uri)
        registry.push(wanted.image, work.store, repository, progress=step.progress)
        step.done(f"{repository}@{wanted.image.digest[:19]}")


def provision(work: Workspace, wanted: Desired, name: str = "provision") -> ChangeSet:
    """Bring the stack to what is wanted; an empty change set says that it already was.

    Raises:
        ProvisionError: CloudFormation refused or a resource failed; it has rolled back.

    """
    with work.console.step(name) as step:

        def show(event: ResourceEvent) -> None:
            step.progress(f"{event.status.lower()} {event.logical_id}")

        step.progress("asking CloudFormation what would change")
        change_set = work.stacks.plan(work.name, wanted.body, wanted.parameters, wanted.tags)
        stack = work.stacks.apply(change_set, show if work.console.live else _quiet)
        work.stack = stack
        count = len(change_set.changes)
        step.done(f"{work.name}: {count} resources changed" if count else f"{work.name}: unchanged")
    return change_set


def _quiet(_event: ResourceEvent) -> None:
    """Say nothing: forty lines of a stack's events help nobody who reads a log."""


@dataclass(frozen=True)
class Planned:
    """What `deploy` would change; `image_before` is the digest that the function runs now."""

    changes: list[dict[str, str]]
    image_before: str | None
    alias: str
    access_before: str | None
    pending: bool


def plan(work: Workspace, wanted: Desired) -> Planned:
    """Ask CloudFormation what would change, and leave everything as it is."""
    with work.console.step("plan") as step:
        step.progress("asking CloudFormation what would change")
        stack = work.stacks.find(work.name)
        access = stack.access if stack is not None else None
        change_set = work.stacks.plan(work.name, wanted.body, wanted.parameters, wanted.tags)
        work.stacks.discard(change_set)
        step.done(f"{work.name}: {len(change_set.changes)} resources would change")
    before, alias = None, "live → version 1, once it has passed its gate"
    pending = True
    if access:
        before = work.publisher.latest().digest
        pending = not (change_set.empty and work.releases.is_current(wanted.image.digest))
        state = work.router.read()
        alias = f"live stays at {describe(state.version, state.weights)}"
        if pending:
            alias += (
                f"; the next version begins a rollout ({work.rollout.strategy})"
                if work.rollout.automatic
                else "; the next version waits as the candidate"
            )
    changes = [asdict(change) for change in change_set.changes]
    return Planned(changes, before, alias, access, pending)


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


def deploy(work: Workspace, *, promote: bool = False, skip_champion: bool = False) -> Deployed:
    """Bring a stage to what the project says; repeated after any break, it goes on where it was.

    With `skip_champion` no gate compares the model with what serves, and the ledger says so.

    Raises:
        FnmodelError: one of the steps failed; what served before still serves.

    """
    _ = work.keys  # a key that cannot be used is told before any work
    if work.local and work.access.jwt and find_spec("cryptography") is None:
        raise UsageError(
            f"stage {work.stage} takes tokens; the embedded cloud needs cryptography to check them",
            hint="pip install 'fnmodel[signing]'",
        )
    slims = slim(work)
    image = pack(work, slims)
    done = _nothing_to_do(work, image)
    if done is None:
        done = _deploy(work, slims, image, skip_champion=skip_champion)
    if not promote:
        return _roll_out(work, slims, done)
    if done.state.version != done.version:
        with work.console.step("promote") as step:
            state = work.releases.promote(done.version)
            step.done(describe(state.version, state.weights))
        done = replace(done, state=state, changed=True)
    return done


def _roll_out(work: Workspace, slims: Slims, done: Deployed) -> Deployed:
    """Begin the rollout that the project asks for; one that was begun before goes on."""
    plan = orders.rollout(work.rollout)
    if plan is None:
        return done
    found = work.rollouts.current()
    if found is not None and found.candidate == done.version:
        return replace(done, rollout=found)
    if done.version == done.state.version:
        return done  # the first version, or one that was promoted by hand
    with work.console.step("rollout") as step:
        rollout = work.rollouts.begin(
            plan,
            work.publisher.ready(done.version),
            work.publisher.ready(done.state.version),
            _bins(work, slims),
        )
        state = work.router.read()
        step.done(describe(state.version, state.weights))
    return replace(done, rollout=rollout, state=state, changed=True)


def _bins(work: Workspace, slims: Slims) -> "Shift | None":
    """Return the bins by which predictions are compared; None where they are not."""
    margin = work.rollout.analysis.max_prediction_shift
    if margin is None:
        return None
    [slimmed] = slims.values()  # the project file allows it with one model only
    model = slimmed.model
    # They load numpy, which no other deploy needs here.
    from fnmodel.distribution import Shift
    from fnmodel.profile import REFERENCE, read_reference

    if not (model.folder / REFERENCE).exists():
        return None
    return Shift.between(read_reference(model.folder).outputs, margin)


def _nothing_to_do(work: Workspace, image: Image) -> Deployed | None:
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


def _deploy(work: Workspace, slims: Slims, image: Image, *, skip_champion: bool) -> Deployed:
    if not work.local and work.recipe.base is None:
        raise ConfigError(
            FILE,
            ["image.base: AWS needs a base image with Python, pinned by digest"],
            hint="set it to NAME@sha256:… of AWS's Lambda image for Python "
            f"{work.recipe.python}; docs/pack.md says how to find the digest",
        )
    stack = work.stacks.find(work.name)
    if stack is not None and work.publisher.exists():
        work.releases.require_idle(image.digest)
        if "RolloutClock" in stack.outputs:
            # A stage that is moved by hand has no controller, which a rollout must not lose.
            work.rollouts.require_idle(image.digest if work.rollout.automatic else "")
    # Nobody may call a stage before its first version has passed its gate.
    opened = stack is not None and "Url" in stack.outputs
    compared: dict[str, Comparison] = {}
    if opened and not skip_champion:
        compared = _compared(work, slims, image)
    repository_uri = work.repositories.ensure(work.project.name).uri
    # The authorizer is renewed last, so that an image that fails its gate keeps nobody out.
    guard = stack.parameters.get("AuthorizerImageUri") if stack is not None else None
    wanted = desired(work, image, repository_uri, serving=opened, authorizer=guard)
    push(work, wanted)
    # Lambda does not check signatures of images, so it is done before Lambda hears of one.
    vouch.attach(work, image, wanted.image_uri)
    provision(work, wanted)
    with work.console.step("release") as step:
        step.progress("publishing a version and replaying its probe")
        evidence = [
            work.words(gate["reason"], name)
            for name, slimmed in slims.items()
            for gate in slimmed.report.gates
        ]
        evidence += [work.words(one.words, name) for name, one in compared.items()]
        if skip_champion:
            evidence.append("the champion was not asked (--skip-champion)")
        released = work.releases.release(
            image.digest, work.gate(_models(slims)), evidence="; ".join(evidence)
        )
        proof = f"{released.gate.checked} values as proven" if released.gate else "proven before"
        step.done(f"version {released.version.number}: {proof}")
    whole = desired(work, image, repository_uri)
    if whole != wanted:
        provision(work, whole, name="authorizer" if opened else "open")
    return Deployed(
        released.version.number, image.digest, released.state, changed=True, champions=compared
    )


def _compared(work: Workspace, slims: Slims, image: Image) -> "dict[str, Comparison]":
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
            judged = champion.judge(work, name, one, slims[name].model, image.digest)
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
        repository = f"fnmodel/{work.project.name}"
        others = work.stacks.tagged("fnmodel:project", work.project.name)
        if not others and work.repositories.find(repository) is not None:
            work.repositories.delete(repository)
            removed["repository"] = repository
        step.done(f"{work.name} is gone" if removed else "there was nothing to delete")
    return removed
