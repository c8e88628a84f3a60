"""`unlock`: who holds the lock of a stage, and how to break it when its holder is dead."""

from typing import Annotated, Any

import typer

from fnmodel.cli.console import pairs
from fnmodel.cli.options import Where, placed
from fnmodel.errors import UsageError


@placed
def unlock(
    *,
    id_: Annotated[
        str | None, typer.Option("--id", help="Break the lease that has this id, and no other.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "",
    where: Where,
) -> None:
    """Show who holds the lock of a stage since when; with `--id` break that lease.

    A lease ends by itself 15 minutes after its holder's last word, so this is for those who cannot
    wait. The old holder, should it live, can write and move nothing any more.

    Example: fnmodel unlock --id 7-3f2a91c4 --reason "the runner was shut down"
    """
    if reason and id_ is None:
        raise UsageError("--reason without --id breaks nothing", hint="name the lease: --id ID")
    work = where.open()
    if id_ is None:
        found = work.ledger.holder()
        data: dict[str, Any] = {"locked": found is not None, "broken": False}
    else:
        with work.console.step("unlock") as step:
            found = work.releases.unlock(id_, reason)
            step.done(f"the lease of {found.name} is broken")
        data = {"locked": False, "broken": True}
    lease = None
    if found is not None:
        lease = {
            "id": found.id, "who": found.name,
            "since": found.began or None, "until": found.until,
        }  # fmt: skip
    next_ = f"fnmodel unlock --id {found.id}, if it is dead" if found and id_ is None else ""
    shown = {**(lease or {}), "next": next_}
    work.console.data({**data, "lease": lease}, pairs(shown) or "nobody holds the lock")
