"""`deploy`, `destroy`: a project to a stage, and away again."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import pairs
from fnmodel.cli.options import PublicOption, Where, YesOption, placed
from fnmodel.errors import UsageError

if TYPE_CHECKING:
    from fnmodel.cli.recipe import Deployed
    from fnmodel.cli.workspace import Workspace


@placed
def deploy(
    *,
    promote: Annotated[
        bool, typer.Option("--promote", help="Send all requests to the new version at once.")
    ] = False,
    skip_champion: Annotated[
        bool,
        typer.Option(
            "--skip-champion",
            help="Do not compare with the version that serves; the ledger says so.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", "-w", help="Follow the rollout to its end; exit 4 if it went back."
        ),
    ] = False,
    public: PublicOption = None,
    where: Where,
) -> None:
    """Slim, pack, push, provision, publish, prove, release; ends with a URL that answers.

    The first version gets all requests once it has passed its gate. A later one waits as the
    candidate for `shift` or `promote`, or begins the rollout that `rollout:` asks for. Nothing is
    done when nothing changed.

    Example: fnmodel deploy --local
    """
    from fnmodel.cli import recipe, rollout

    work = where.open()
    confirm_public(work, public)
    deployed = recipe.deploy(work, promote=promote, skip_champion=skip_champion)
    rolling = deployed.rollout
    if watch and rolling is not None and rolling.active:
        rolling = rollout.follow(work)
        deployed = replace(deployed, rollout=rolling, state=work.router.read())
    present(work, deployed)
    if rolling is not None:
        rollout.require_not_rolled_back(rolling)


def present(work: "Workspace", deployed: "Deployed") -> None:
    """Print what came of a deploy."""
    from fnmodel.cli import rollout
    from fnmodel.cli.rollout_view import brief
    from fnmodel.cli.traffic import describe

    rolling, weights = deployed.rollout, deployed.state.weights
    serving = {deployed.state.version, *weights}
    following = "" if deployed.version in serving else "fnmodel shift 10, or fnmodel promote"
    if rolling is not None and rolling.active:
        following = "fnmodel rollout status --watch"
    data = {
        "url": work.url,
        "version": deployed.version,
        "digest": deployed.digest,
        "access": work.access.mode,
        "stage": work.stage,
        "changed": deployed.changed,
        "traffic": {"version": deployed.state.version, "weights": dict(weights)},
        "models": list(work.project.served),
        **_champions(work, deployed),
        "rollout": rollout.data(rolling) if rolling else None,
    }
    shown: dict[str, Any] = {
        "url": work.url,
        "access": work.access.mode,
        "version": deployed.version,
        "models": ", ".join(work.project.models),
        "image": deployed.digest,
        "stage": f"{work.stage} ({work.settings.cloud})",
        "traffic": describe(deployed.state.version, weights),
        "rollout": brief(rolling, time.time()) if rolling else "",
        "next": following,
        "keys": "fnmodel keys add NAME makes one" if work.access.mode == "api_key" else "",
    }
    work.console.data(data, pairs(shown))


def _champions(work: "Workspace", deployed: "Deployed") -> dict[str, Any]:
    found = {name: one.to_json() for name, one in deployed.champions.items()}
    if work.project.models:
        return {"champions": found}
    return {"champion": found.get(work.project.name)}


def confirm_public(work: "Workspace", given: str | None) -> None:
    """Let a stage in AWS be opened to everybody only by someone who writes its name.

    Asked when the stage is not public yet, before any work.

    Raises:
        UsageError: the name was not given, or another.

    """
    if given is not None and (work.access.mode != "public" or given != work.stage):
        raise UsageError(
            f"--public {given}: this is stage {work.stage}, its access is {work.access.mode}",
            hint="`access: {public: true}` of the stage in fnmodel.yaml opens it to everybody",
        )
    if work.local or work.access.mode != "public" or given == work.stage:
        return
    stack = work.stacks.find(work.name)
    if stack is not None and stack.access == "public":
        return
    question = f"Everybody may call stage {work.stage}, at your cost. Type its name to open it:"
    if work.console.typed(question) != work.stage:
        raise UsageError(
            f"stage {work.stage} would be public; nothing was done",
            hint=f"--public {work.stage} says that you mean it; or set another `access`",
        )


@placed
def destroy(
    *,
    yes: YesOption = False,
    where: Where,
) -> None:
    """Delete a stage with its data; the image repository too, when no other stage is left.

    Example: fnmodel destroy --stage staging
    """
    from fnmodel.cli import recipe

    work = where.open()
    cloud = "the embedded cloud" if work.local else "AWS"
    question = f"Delete stage {work.stage} of {work.project.name} in {cloud}, with its data?"
    if not work.console.ask(question, yes=yes):
        raise UsageError("nothing was deleted", hint="--yes deletes without asking")
    removed = recipe.destroy(work)
    work.console.data(removed, pairs(removed) or "there was nothing to delete")
