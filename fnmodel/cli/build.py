"""`init`, `slim`, `pack`: what happens before a cloud is needed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fnmodel.cli.console import Console, Output, pairs, size, table
from fnmodel.cli.options import LocalOption, OutputOption, ProjectOption, StageOption
from fnmodel.errors import UsageError


def init(
    model: Annotated[Path, typer.Argument(help="The trained model file.")],
    *,
    sample: Annotated[
        Path | None,
        typer.Option(help="Rows like the training data: .csv, .json, .parquet, .npz, .npy."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Label column of the sample.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in URLs.")] = None,
    project: ProjectOption = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite fnmodel.yaml.")] = False,
    output: OutputOption = Output.table,
) -> None:
    """Write fnmodel.yaml and a sample request from what is found in the model.

    Example: fnmodel init model.joblib --sample rows.csv --target label
    """
    from fnmodel.cli import scaffold

    for path in (model, sample):
        if path is not None and not path.is_file():
            raise UsageError(f"there is no file {path}", hint="name an existing file")
    console = Console(output)
    written = scaffold.write(
        console, project, model, sample=sample, target=target, name=name, force=force
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
            ["load", _ms(report.load.before), _ms(report.load.after)],
            ["1 row", _ms(report.one_row.before), _ms(report.one_row.after)],
            ["1,000 rows", _ms(report.thousand_rows.before), _ms(report.thousand_rows.after)],
        ],
    )
    text += "\n\n" + pairs(
        {
            "parity": "passed" if report.passed else "FAILED",
            "rows": report.rows,
            "max difference": f"{report.max_abs:.2e} (relative {report.max_rel:.2e})",
            "label flips": f"{report.label_flips} (ties: {report.ties})",
            "isolation": ", ".join(report.isolation),
            "notes": "; ".join(report.notes),
            "model": slimmed.model.folder,
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
    output: OutputOption = Output.table,
) -> None:
    """Build the container image without Docker; the same inputs give the same digest.

    Example: fnmodel pack --to image/ && skopeo inspect oci:image:latest
    """
    from fnmodel.cli import recipe
    from fnmodel.cli.workspace import Workspace

    work = Workspace(project, stage=stage, local=local, output=output)
    image = recipe.pack(work, recipe.slim(work).model)
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
    }
    work.console.data(data, text)


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:,.0f} ms"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
