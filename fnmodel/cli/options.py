"""Options that many commands share, declared once."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from fnmodel.cli.console import Output

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace

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
PublicOption = Annotated[
    str | None,
    typer.Option(
        "--public",
        metavar="STAGE",
        help="The stage's name once more: its access is public, and everybody may call it.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

# Of commands that write a page.
PageOption = Annotated[Path, typer.Option(help="Page to write; its JSON is put beside it.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]

# Of commands that look at captured rows.
RowsOption = Annotated[
    Path | None,
    typer.Option(help="Captured rows in a file (`fnmodel capture export`); else the stage's."),
]
WindowsOption = Annotated[
    Path | None,
    typer.Option(help="Stored windows in a file, a line of JSON each; alone they need no cloud."),
]
LabelsOption = Annotated[Path | None, typer.Option(help="Late labels in a file; else the stage's.")]
UntilOption = Annotated[
    str | None, typer.Option(help="The same; rows before it. Default: now, or the last row.")
]
RowsVersionOption = Annotated[
    str | None, typer.Option(help="Only rows that this version answered.")
]
GroupOption = Annotated[
    str | None, typer.Option(help="Feature whose groups are compared for fairness.")
]
RowsModelOption = Annotated[
    str | None, typer.Option(help="Rows of this one of several models; else of the first.")
]
ReferenceOption = Annotated[
    Path | None, typer.Option(help="Model directory with reference.json; else the project's.")
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Exit with 4 if there is anything to look at.")
]


@dataclass(frozen=True, slots=True)
class Where:
    """What a command works on (project, stage, account), and the form of what it prints."""

    project: ProjectOption = Path()
    stage: StageOption = None
    local: LocalOption = False
    profile: ProfileOption = None
    region: RegionOption = None
    output: OutputOption = Output.table

    def beside(self, stage: str) -> "Workspace":
        """Make the parts for one of several stages: what it says of its place wins over options."""
        own = replace(self, stage=stage, profile=None, region=None).open()
        settings = own.settings
        if own.local or (self.profile is None and self.region is None):
            return own
        return replace(
            self, stage=stage,
            profile=settings.profile or self.profile, region=settings.region or self.region,
        ).open()  # fmt: skip

    def open(self) -> "Workspace":
        """Read the project, and make the parts that work on this stage of it."""
        from fnmodel.cli.workspace import Workspace

        return Workspace(
            self.project,
            stage=self.stage,
            local=self.local,
            profile=self.profile,
            region=self.region,
            output=self.output,
        )


_WHERE = [
    inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type
    )
    for field in fields(Where)
]


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the parameter `where` of a command into the options that `Where` consists of."""

    @wraps(command)
    def run(**given: Any) -> None:
        where = Where(**{option.name: given.pop(option.name) for option in _WHERE})
        command(**given, where=where)

    own = inspect.signature(command).parameters.values()
    kept = [parameter for parameter in own if parameter.name != "where"]
    taken = {name for parameter in kept for name in _names(parameter)}
    where = [_without(parameter, taken) for parameter in _WHERE]
    run.__signature__ = inspect.Signature([*kept, *where])  # type: ignore[attr-defined]
    return run


def _names(parameter: inspect.Parameter) -> tuple[str, ...]:
    """Return the names that a parameter has on the command line, such as `--output` and `-o`."""
    declared = [one for one in get_args(parameter.annotation) if hasattr(one, "param_decls")]
    return tuple(name for one in declared for name in one.param_decls or ())


def _without(parameter: inspect.Parameter, taken: set[str]) -> inspect.Parameter:
    """Take short names away from a shared option that a command has for one of its own."""
    if not taken.intersection(_names(parameter)):
        return parameter
    kind, option = get_args(parameter.annotation)
    option = copy.copy(option)
    option.param_decls = tuple(name for name in option.param_decls if name not in taken)
    return parameter.replace(annotation=Annotated[kind, option])
