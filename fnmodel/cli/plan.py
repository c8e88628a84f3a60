"""`plan` and `apply`: what a deploy would do, and doing just that."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import Output
from fnmodel.cli.options import PublicOption, Where, placed
from fnmodel.errors import UsageError

if TYPE_CHECKING:
    from fnmodel.cli import saved

CHANGES_PENDING = 3


@placed
def plan(
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Save the plan, for `fnmodel apply`."),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 3 when there are changes.")
    ] = False,
    drift: Annotated[
        bool,
        typer.Option("--drift/--no-drift", help="Look for what was changed by hand."),
    ] = True,
    where: Where,
) -> None:
    """Show what `deploy` would change: resources, permissions, cost, image, alias.

    It shows what was changed by hand, too, and what a deploy does about it. Nothing is changed.

    Example: fnmodel plan --stage production --out release.fnplan
    """
    from fnmodel.cli import planning, recipe, saved

    if out is not None and str(out) in set(Output):
        raise UsageError(
            f"-o {out}: `-o` of plan is the file that it is saved to",
            hint=f"--output {out} is the form of what is printed",
        )
    work = where.open()
    image = recipe.pack(work, recipe.slim(work))
    made = planning.plan(work, recipe.desired(work, image, work.repository_uri()), look=drift)
    if out is not None:
        saved.save(made, out)
        work.console.note(f"saved      {out}: `fnmodel apply {out}` does this and nothing else")
    _print(work.console, made)
    if made.pending and detailed_exitcode:
        raise typer.Exit(CHANGES_PENDING)


@placed
def apply(
    file: Annotated[Path, typer.Argument(help="What `fnmodel plan --out FILE` saved.")],
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan, and whether it could be applied now."),
    ] = False,
    public: PublicOption = None,
    where: Where,
) -> None:
    """Do what a saved plan says, and nothing else.

    Refused when anything that the plan was made of has changed since: the model, fnmodel.yaml, the
    stack, the alias, the ledger; or when it was applied already.

    Example: fnmodel apply release.fnplan
    """
    from fnmodel.cli import approved, recipe, saved
    from fnmodel.cli.deploy import confirm_public, present

    agreed = saved.load(file)
    world = agreed.world
    where = replace(
        where,
        stage=where.stage or world.stage,
        local=where.local or world.cloud == "local",
        region=where.region or (world.region if world.cloud == "aws" else None),
    )
    work = where.open()
    approval = approved.SavedPlan(agreed)
    if dry_run:
        _print(work.console, agreed)
        image = recipe.pack(work, recipe.slim(work))
        approval.check(work, recipe.desired(work, image, work.repository_uri()))
        work.console.note("this plan can be applied")
        return
    confirm_public(work, public)
    deployed = recipe.deploy(work, approval=approval)
    approval.done(work, deployed.version)
    present(work, deployed)


def _print(console: Any, made: "saved.Plan") -> None:
    from fnmodel.cli import plantext

    console.data(made.to_json(), plantext.show(made))
