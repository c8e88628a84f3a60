"""`fnmodel card`: one page on a release, from what the project has stored of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fnmodel.cli.console import pairs
from fnmodel.cli.options import OpenOption, PageOption, Where, placed

if TYPE_CHECKING:
    from fnmodel.card.facts import Facts


@placed
def card(
    *,
    version: Annotated[
        str | None, typer.Option("--version", help="A version; else the one that serves.")
    ] = None,
    packed: Annotated[
        bool, typer.Option("--packed", help="What `pack` made last, whatever is deployed.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="This one of several models; else the first.")
    ] = None,
    drift: Annotated[
        Path | None,
        typer.Option(help="JSON of `fnmodel watch report`; else drift.json, if it is here."),
    ] = None,
    to: PageOption = Path("card.html"),
    show: OpenOption = False,
    where: Where,
) -> None:
    """Write a release's model card: data, metrics, gates, groups, parity, image, history.

    Takes everything from what is stored, and says what is missing. `card:` in fnmodel.yaml has the
    words that only people know.

    Example: fnmodel card --open
    """
    from fnmodel.card import document, page
    from fnmodel.cli import released, written

    work = where.open()
    with work.console.step("card") as step:
        facts = released.facts(work, released.Asked(version, packed, model, drift))
        data = document.to_json(facts)
        written.page(to, page.render(facts), data)
        step.done(str(to))
    work.console.data(data, _summary(facts, to))
    if show:
        written.show(to)


def _summary(facts: "Facts", to: Path) -> str:
    image = facts.image
    return pairs(
        {
            "model": f"{facts.name} {facts.digest[:19]}",
            "image": image["digest"] if image else "",
            "traffic": facts.traffic or "not released",
            "missing": "; ".join(f"{part}: {why}" for part, why in facts.missing.items()),
            "page": str(to),
        }
    )
