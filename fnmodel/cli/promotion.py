"""From stage to stage: the very image that serves in one is released in another, never rebuilt."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fnmodel.cli import recipe, vouch
from fnmodel.cli.workspace import Workspace
from fnmodel.config import FILE
from fnmodel.errors import ConfigError, ReleaseError, UsageError
from fnmodel.model import OnnxModel
from fnmodel.pack import relay, sbom
from fnmodel.pack.build import LAYERS, has_base
from fnmodel.pack.image import Image, oci_architecture
from fnmodel.pack.models import digests, model_layers, unpack
from fnmodel.pack.reference import Reference
from fnmodel.pack.relay import Place
from fnmodel.pack.transfer import in_parallel
from fnmodel.release.publish import Version
from fnmodel.units import size


@dataclass(frozen=True)
class Promoted:
    """What was released in the target, and the version that it was in the source."""

    source: Version
    deployed: recipe.Deployed


def promote(source: Workspace, target: Workspace, version: str | None = None) -> Promoted:
    """Release in `target` the image that serves in `source`, or that of one of its versions.

    It goes through what a deploy to the target goes through: signature, change set, probe,
    champion, rollout. Repeated after any break, it goes on where it was.

    Raises:
        UsageError: both are the same stage.
        StackNotFoundError, ReleaseError: nothing serves in the source, or what does is not clear.
        RegistryError: the image is gone, or cannot be copied.
        ConfigError: the target asks for what is not in the image.
        FnmodelError: as `recipe.deploy`; what served in the target still serves.

    """
    if source.name == target.name:
        raise UsageError(
            f"{source.stage} is promoted to itself", hint="name two stages: --from and --to"
        )
    _ = source.cloud
    recipe.prepare(target)
    serving, proof = chosen(source, version)
    place = place_of(source, serving.digest)
    image = relay.find(serving.digest, place, source.store)
    problems = list(unfit(target, image))
    if problems:
        raise ConfigError(
            FILE, [f"stage {target.stage}: {problem}" for problem in problems],
            hint=f"deploy what {FILE} says to {source.stage} first, and promote that",
        )  # fmt: skip
    with models_of(image, place, source) as models:
        recipe.require_memory(target, models)
        done = recipe.nothing_to_do(target, image)
        if done is None:
            done = recipe.land(
                target, image, models,
                lambda wanted: _bring(image, place, target, wanted),
                [f"promoted from {source.stage}, version {serving.number}", f"there {proof}"],
            )  # fmt: skip
        return Promoted(serving, recipe.roll_out(target, models, done))


def chosen(work: Workspace, version: str | None) -> tuple[Version, str]:
    """Return the version that all requests of a stage go to, or one by name, and its proof.

    Raises:
        StackNotFoundError: the stage is not deployed.
        ReleaseError: nothing serves there, a rollout is under way, or the version passed no gate.

    """
    _ = work.stack
    if version is None:
        if not work.open:
            raise ReleaseError(
                f"nothing serves in {work.stage}: no version has passed its gate",
                hint=f"fnmodel deploy --stage {work.stage}",
            )
        state, rollout = work.router.read(), work.rollouts.current()
        if state.candidate is not None or (rollout is not None and rollout.active):
            candidate = state.candidate or (rollout.candidate if rollout else "")
            raise ReleaseError(
                f"a rollout is under way in {work.stage}: versions {state.version} and {candidate}",
                hint="wait for its end, or say which one you mean: --version N",
            )
        version = state.version
    proof = work.releases.proof(version)
    return work.publisher.ready(version), proof


def place_of(work: Workspace, digest: str) -> Place:
    """Return the repository of a stage."""
    uri = f"{work.repository_uri()}@{digest}"
    return Place(work.registry(uri), Reference.parse(uri).repository)


def unfit(work: Workspace, image: Image) -> Iterator[str]:
    """Yield what a stage asks for that an image has not."""
    wanted, found = oci_architecture(work.recipe.architecture), image.settings["architecture"]
    if found != wanted:
        yield f"its functions are for {wanted}, and the image is for {found}"
    if not work.local and not has_base(image):
        yield "AWS needs an image with a base, and this one was made for the embedded cloud"
    served, packed = list(work.project.served), list(digests(image.labels))
    if served != packed:
        yield f"it serves {', '.join(served)}, and the image holds {', '.join(packed)}"
    held = {layer.created_by for layer in image.layers}
    needed = [*(["tracing"] if work.function.tracing == "otlp" else []), *recipe.formats(work)]
    for name in needed:
        if LAYERS.get(name, f"fnmodel pack: {name}") not in held:
            yield f"the image has no layer for {name}"


@contextmanager
def models_of(image: Image, place: Place, work: Workspace) -> Iterator[Mapping[str, OnnxModel]]:
    """Give the models of an image, out of its own layers, for the length of a block.

    Raises:
        RegistryError, PackError: they cannot be had.

    """
    with tempfile.TemporaryDirectory(prefix=".models-", dir=work.store.root) as name:
        with work.console.step("fetch") as step:
            in_parallel(
                lambda blob, report: place.registry.download(
                    blob, work.store, place.repository, report
                ),
                [layer.descriptor for layer in model_layers(image)],
                step.progress,
            )
            models = unpack(image, work.store, Path(name))
            step.done(f"{image.digest[:19]} holds {', '.join(models)}")
        yield models


def _bring(image: Image, source: Place, work: Workspace, wanted: recipe.Desired) -> None:
    target = place_of(work, image.digest)
    with work.console.step("copy") as step:
        relay.copy(image, source, target, work.store, step.progress)
        bill = sbom.pull(image.digest, target.registry, target.repository, work.store)
        said = vouch.carry(work, image, wanted.image_uri, bill)
        step.done("; ".join(filter(None, [f"{target.repository}, {size(image.size)}", said])))
