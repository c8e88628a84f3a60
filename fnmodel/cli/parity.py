"""`parity`: whether two stages run the same image, the same way, with the same answers."""

from typing import Annotated, Any

import typer

from fnmodel.cli.console import listed, pairs, shortened, table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import StagesDifferError, UsageError

_WIDE = 48


@placed
def parity(
    one: Annotated[str, typer.Argument(metavar="STAGE", help="A stage.")],
    two: Annotated[str, typer.Argument(metavar="STAGE", help="Another stage.")],
    *,
    where: Where,
) -> None:
    """Compare what serves in two stages: image, settings, and answers to the image's own proof.

    Settings that differ because fnmodel.yaml says so are listed apart. Exits 4 when anything else
    differs. For stages with keys or tokens, FNMODEL_API_KEY_STAGE and FNMODEL_TOKEN_STAGE go
    before FNMODEL_API_KEY and FNMODEL_TOKEN, with the stage's name in capitals.

    Example: fnmodel parity staging production
    """
    from fnmodel.cli import comparing

    if where.stage is not None:
        raise UsageError("parity takes two stages, not --stage", hint="fnmodel parity ONE TWO")
    if one == two:
        raise UsageError(f"{one} is compared with itself", hint="name two stages")
    first, second = where.beside(one), where.beside(two)
    found = comparing.compare_stages(first, second)
    rows = [
        [
            "on purpose" if each.on_purpose else "UNEXPECTED", each.where,
            _short(each.one), _short(each.two),
        ]
        for each in sorted(found.differences, key=lambda each: (each.on_purpose, each.where))
    ]  # fmt: skip
    same = found.digests[0] == found.digests[1]
    shown = {
        "image": found.digests[0] if same else f"{found.digests[0]} ≠ {found.digests[1]}",
        **{
            f"{asked.stage} answers": asked.reason or f"{asked.checked} values as proven"
            for asked in found.answers
        },
    }
    text = f"{table(['', 'what', one, two], rows)}\n\n" if rows else ""
    first.console.data(found.to_json(), text + pairs(shown))
    if not found.holds:
        wrong = [] if same else ["the image"]
        wrong += [each.where for each in found.unexpected]
        wrong += [f"answers of {asked.stage}" for asked in found.answers if asked.reason]
        raise StagesDifferError(
            f"{one} and {two} differ: {listed(wrong, 5)}",
            hint=f"fnmodel promote --from {one} --to {two}"
            if not same
            else f"fnmodel deploy brings a stage to what fnmodel.yaml says: --stage {two}",
        )


def _short(value: Any) -> str:
    return "-" if value is None else shortened(str(value), _WIDE)
