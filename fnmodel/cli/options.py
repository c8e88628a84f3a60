"""Options that many commands share, declared once."""

from pathlib import Path
from typing import Annotated

import typer

from fnmodel.cli.console import Output

ProjectOption = Annotated[
    Path,
    typer.Option(
        "--project", "-p", envvar="FNMODEL_PROJECT", help="Folder of fnmodel.yaml.",
        show_default="this folder", rich_help_panel="Where",
    ),
]  # fmt: skip
StageOption = Annotated[
    str | None,
    typer.Option(
        "--stage", "-s", help="Stage; else FNMODEL_STAGE, else `stage:` of fnmodel.yaml.",
        rich_help_panel="Where",
    ),
]  # fmt: skip
LocalOption = Annotated[
    bool,
    typer.Option(
        "--local", envvar="FNMODEL_LOCAL", rich_help_panel="Where",
        help="Use the embedded cloud on this machine: no AWS account, no Docker.",
    ),
]  # fmt: skip
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="AWS profile.", rich_help_panel="Where"),
]
RegionOption = Annotated[
    str | None,
    typer.Option("--region", help="AWS region.", rich_help_panel="Where"),
]
OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", envvar="FNMODEL_OUTPUT", help="Form of the data on stdout."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
