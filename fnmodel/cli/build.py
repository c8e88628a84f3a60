"""`init`, `slim`, `pack`: what happens before a cloud is needed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fnmodel.cli.console import Console, Output, pairs, table
from fnmodel.cli.options import LocalOption, OutputOption, ProjectOption, StageOption
from fnmodel.errors import UsageError
from fnmodel.units import milliseconds, size


def init(
    model: Annotated[
        Path, typer.Argument(help="The trained model: a file, or a Hugging Face or MLflow folder.")
    ],
    *,
    sample: Annotated[
        Path | None,
        typer.Option(help="Rows like the training data: .csv, .json, .parquet, .npz, .npy."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Label column of the sample.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in URLs.")] = None,
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
    """Write fnmodel.yaml and a sample request from what is found in the model.

    Example: fnmodel init model.joblib --sample rows.csv --target label
    """
    from fnmodel.cli import scaffold

    if not model.exists():
        raise UsageError(f"there is no model {model}", hint="name an existing file or folder")
    if sample is not None and not sample.is_file():
        raise UsageError(f"there is no file {sample}", hint="name an existing file")
    console = Console(output)
    written = scaffold.write(
        console,
        project,
        model,
        sample=sample,
        target=target,
        name=name,
        trust=tuple(trust or ()),
        force=force,
    )
    text = pairs(
        {
            "wrote": ", ".join(str(path) for path in written.files),
            "framework": written.framework,
            "task": written.signature.task,
            "features": _listed([f.name for f in written.signature.features]),
            "classes": _listed([str(label) for label in written.signature.classes]),
            "next": "fnmodel deploy --local",
        }
    )
    data = {
        "files": [str(path) for path in written.files],
        "framework": written.framework,
        "signature": written.signature.to_json(),
    }
    console.data(data, text)


def slim(
    *,
    project: ProjectOption = Path(),
    output: OutputOption = Output.table,
) -> None:
    """Convert the model to ONNX and prove that its answers are the same.

    Example: fnmodel slim --output json
    """
    from fnmodel.cli import recipe
    from fnmodel.cli.workspace import Workspace

    work = Workspace(project, local=True, output=output)
    slimmed = recipe.slim(work, gate=False)
    report = slimmed.report
    text = table(
        ["", "original", "ONNX"],
        [
            ["file", size(report.size.before), size(report.size.after)],
            *([["weights, mapped", "", size(report.weights)]] if report.weights else []),
            ["load", milliseconds(report.load.before), milliseconds(report.load.after)],
            ["1 row", milliseconds(report.one_row.before), milliseconds(report.one_row.after)],
            [
                "1,000 rows",
                milliseconds(report.thousand_rows.before),
                milliseconds(report.thousand_rows.after),
            ],
        ],
    )
    text += "\n\n" + pairs(
        {
            "parity": "passed" if report.passed else "FAILED",
            "converted": report.how,
            "rows": f"{report.rows:,} ({report.missing_rows} with missing, "
            f"{report.unseen_rows} with unknown values)",
            "difference": f"{report.max_abs:.2e} at most, {report.mean_abs:.2e} on average "
            f"(relative {report.max_rel:.2e})",
            "label flips": f"{report.label_flips} (ties: {report.ties})",
            "edge flips": f"{report.edge_flips} in {report.edge_rows:,} edge rows"
            if report.edge_rows
            else None,
            **{one.name: f"{one.onnx:.4g} (original {one.original:.4g})" for one in report.metrics},
            "gates": "; ".join(gate["reason"] for gate in report.gates) or None,
            "isolation": ", ".join(report.isolation),
            "notes": "; ".join(report.notes) or None,
            "model": slimmed.model.folder,
            "report": report.page,
        }
    )
    data: dict[str, Any] = {
        "model": str(slimmed.model.folder), "digest": slimmed.model.digest,
        "cached": slimmed.cached, "report": report.to_json(),
    }  # fmt: skip
    work.console.data(data, text)
    report.check()


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
    model = recipe.slim(work, hashed=anew if verify else None).model
    image = recipe.pack(work, model)
    if verify:
        recipe.verify(work, model, image)
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

        found = coldstart.measured(work, model, image)
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


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
