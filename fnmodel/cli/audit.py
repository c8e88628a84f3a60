"""`fnmodel audit`: whether the release ledger still is what was written."""

import typer

from fnmodel.cli.console import pairs
from fnmodel.cli.options import Where, placed
from fnmodel.errors import AuditError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The record of releases: each entry holds the hash of the one before; `audit.retention` "
    "of fnmodel.yaml keeps locked copies.",
)

_SHOWN = 5


@app.command()
@placed
def verify(*, where: Where) -> None:
    """Check the ledger's chain, and each entry against its locked copy; exit 1 if one differs.

    Example: fnmodel audit verify --stage production
    """
    from fnmodel.release.chain import differences, faults

    work = where.open()
    with work.console.step("audit") as step:
        step.progress("reading the ledger")
        entries, head = work.ledger.chain()
        found = list(faults(entries, head))
        copies = None
        if work.copies is not None:
            step.progress("reading the copies")
            copies = work.copies.all()
            found += differences(entries, copies)
        step.done(f"{len(entries):,} entries, " + (f"{len(found):,} faults" if found else "whole"))
    data = {
        "stage": work.stage,
        "entries": len(entries),
        "head": head.hash if head.count else None,
        "copies": None if copies is None else len(copies),
        "faults": found,
    }
    shown = {
        "entries": f"{len(entries):,}",
        "copies": "none; `audit.retention` keeps them" if copies is None else f"{len(copies):,}",
        "head": head.hash if head.count else "",
        "verdict": f"{len(found):,} faults" if found else "whole",
    }
    work.console.data(data, pairs(shown))
    if found:
        more = f"; and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        raise AuditError(
            f"the ledger of {work.name}: {'; '.join(found[:_SHOWN])}{more}",
            hint="`--output json` lists all; the locked copies say what was written",
        )
