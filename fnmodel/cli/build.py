"""`init`, `slim`, `pack`: what happens before a cloud is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import Console, Output, listed, pairs, table
from fnmodel.cli.options import LocalOption, OutputOption, ProjectOption, StageOption
from fnmodel.errors import UsageError
from fnmodel.units import size

if TYPE_CHECKING:
    from fnmodel.cli.scaffold import Found

_SHOWN = 8


def init(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="The trained model: a file, or a Hugging Face or MLflow folder; several of them "
            "go into one image.",
        ),
    ],
    *,
    sample: Annotated[
        list[Path] | None,
        typer.Option(
            help="Rows like the training data: .csv, .json, .parquet, .npz, .npy. Of several "
            "models one for all, or one for each, in their order."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Label column of the sample.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The project's name, in URLs that of its one model.")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="A class or function beyond known libraries that the model file may hold, as "
            "package.module.Name; may be repeated. Reading the file runs its code."
        ),
    ] = None,
    project: ProjectOption = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite fnmodel.yaml and request.json.")
    ] = False,
    output: OutputOption = Output.table,
) -> None:
    """Write fnmodel.yaml and sample requests from what is found in the models.

    Example: fnmodel init model.joblib --sample rows.csv --target label
    """
    from fnmodel.cli import scaffold

    told = scaffold.given(models, sample or (), target, tuple(trust or ()))
    console = Console(output)
    written = scaffold.write(console, project, told, name=name, force=force)
    files = [str(path) for path in written.files]
    after = {"next": "fnmodel deploy --local"}
    if len(models) > 1:
        rows = [
            [
                name,
                one.framework,
                one.signature.task,
                listed([f.name for f in one.signature.features], _SHOWN),
            ]
            for name, one in written.found.items()
        ]
        text = table(["model", "framework", "task", "features"], rows)
        text += "\n\n" + pairs({"wrote": ", ".join(files), **after})
        console.data({"files": files, "models": _described(written.found)}, text)
        return
    [one] = written.found.values()
    text = pairs(
        {
            "wrote": ", ".join(files),
            "framework": one.framework,
            "task": one.signature.task,
            "features": listed([f.name for f in one.signature.features], _SHOWN),
            "classes": listed([str(label) for label in one.signature.classes], _SHOWN),
            **after,
        }
    )
    [data] = _described(written.found).values()
    console.data({"files": files, **data}, text)


def _described(found: "Mapping[str, Found]") -> dict[str, dict[str, Any]]:
    return {
        name: {"framework": one.framework, "signature": one.signature.to_json()}
        for name, one in found.items()
    }


def slim(
    *,
    project: ProjectOption = Path(),
    output: OutputOption = Output.table,
) -> None:
    """Convert each model to ONNX and prove that its answers are the same.

    Example: fnmodel slim --output json
    """
    from fnmodel.cli import recipe, slimming
    from fnmodel.cli.workspace import Workspace

    work = Workspace(project, local=True, output=output)
    slims = recipe.slim(work, gate=False)
    shown = {name: slimming.to_text(slimmed) for name, slimmed in slims.items()}
    found = {name: slimming.to_json(slimmed) for name, slimmed in slims.items()}
    if work.project.models:
        text = "\n\n".join(f"{name}\n{'-' * len(name)}\n{one}" for name, one in shown.items())
        work.console.data({"models": found}, text)
    else:
        work.console.data(found[work.project.name], shown[work.project.name])
    for name, slimmed in slims.items():
        with work.naming(name):
            slimmed.report.check()


def pack(
    *,
    project: ProjectOption = Path(),
    stage: StageOption = None,
    local: LocalOption = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="Also write the image there, as an OCI layout.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Build it again from nothing that was kept, and compare."),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Start it several times, and say where the time goes."),
    ] = False,
    output: OutputOption = Output.table,
) -> None:
    """Build the container image without Docker; the same inputs give the same digest.

    Example: fnmodel pack --to image/ && skopeo inspect oci:image:latest
    """
    from fnmodel.cli import recipe
    from fnmodel.cli.workspace import Workspace
    from fnmodel.hashes import anew

    work = Workspace(project, stage=stage, local=local, output=output)
    slims = recipe.slim(work, hashed=anew if verify else None)
    image = recipe.pack(work, slims)
    if verify:
        recipe.verify(work, slims, image)
    if to is not None:
        work.store.export(image, to)
    layers = [
        {
            "created_by": layer.created_by,
            "digest": layer.descriptor.digest,
            "diff_id": layer.diff_id,
            "size": layer.descriptor.size,
        }
        for layer in image.layers
    ]
    rows = [[layer["created_by"], size(layer["size"]), layer["digest"][:19]] for layer in layers]  # type: ignore[arg-type, index]
    text = table(["layer", "compressed", "digest"], rows)
    text += "\n\n" + pairs({"digest": image.digest, "size": size(image.size), "layout": to})
    data = {
        "digest": image.digest,
        "size": image.size,
        "layers": layers,
        "python": work.recipe.python,
        "verified": verify,
    }
    if explain:
        from fnmodel.cli import coldstart

        name, slimmed = next(iter(slims.items()))
        found = coldstart.measured(work, name, slimmed.model, image)
        data["cold_start"] = coldstart.to_json(found)
        text += "\n\n" + coldstart.to_text(found)
    work.console.data(data, text)


def lock(
    *,
    upgrade: Annotated[
        bool,
        typer.Option("--upgrade", help="Choose every version anew."),
    ] = False,
    project: ProjectOption = Path(),
    stage: StageOption = None,
    local: LocalOption = False,
    output: OutputOption = Output.table,
) -> None:
    """Pin the packages of `requirements:` with their hashes, for the image's Python and processor.

    `pack` and `deploy` do it by themselves where the requirements changed.

    Example: fnmodel lock --upgrade
    """
    from fnmodel.cli.workspace import Workspace

    work = Workspace(project, stage=stage, local=local, output=output)
    if work.project.requirements is None:
        raise UsageError(
            "fnmodel.yaml names no requirements",
            hint="write `requirements: requirements.txt` for packages that `processing:` imports",
        )
    with work.console.step("lock") as step:
        step.progress(f"resolving {work.project.requirements.name}")
        found, changes = work.lock(work.project.requirements, renew=upgrade)
        step.done(f"{found.path.name}: {len(changes)} packages changed")
    rows = [[change.name, change.before or "", change.after or ""] for change in changes]
    data = {
        "lock": str(found.path),
        "digest": found.digest,
        "changes": [
            {"package": change.name, "before": change.before, "after": change.after}
            for change in changes
        ],
    }
    text = table(["package", "before", "after"], rows) if rows else "nothing changed"
    work.console.data(data, f"{text}\n\n{pairs({'lock': found.path})}")
