"""`gc`: versions and images that nothing can reach any more."""

from typing import TYPE_CHECKING, Annotated

import typer

from fnmodel.cli.console import table
from fnmodel.cli.options import Where, placed
from fnmodel.units import size

if TYPE_CHECKING:
    from fnmodel.cli.sweeping import SweptImages
    from fnmodel.release.garbage import Decision

_MONTH = 30 * 86400.0


@placed
def gc(
    *,
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="Ways back: versions that were stable before.")
    ] = 3,
    age: Annotated[
        str, typer.Option("--age", help="Images that were pushed within this time stay.")
    ] = "1h",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    where: Where,
) -> None:
    """Delete versions, with their snapshots, and images that nothing can reach.

    What serves stays, as do a rollout's versions, the ways back, which are kept from falling
    asleep, and every image that a stage, a change set or a deploy under way can reach. Without
    --stage it looks at all stages of the project. Of this machine's image store it removes what
    `prune` does.

    Example: fnmodel gc --dry-run
    """
    from fnmodel.cli import sweeping
    from fnmodel.cli.follow import seconds
    from fnmodel.pack import cleanup

    young = seconds(age)
    work = where.open()
    names = [work.stage] if where.stage is not None else sweeping.stages(work)
    decisions: dict[str, Decision] = {}
    repositories: dict[str, SweptImages] = {}
    works = [work, *(where.beside(name) for name in names if name != work.stage)]
    for one in works:
        decision = sweeping.versions(one, keep, dry_run=dry_run)
        if decision is not None:
            decisions[one.stage] = decision
    going = {
        one.name: decisions[one.stage].removed
        for one in works
        if dry_run and one.stage in decisions
    }
    for one in works:
        if one.stage in decisions and (uri := one.repository_uri()) not in repositories:
            swept = sweeping.images(one, going, young, dry_run=dry_run)
            if swept is not None:
                repositories[uri] = swept
    here = cleanup.clean(work.store, _MONTH, dry_run=dry_run)
    freed = sum(one.freed for one in repositories.values())
    data = {
        "dry_run": dry_run,
        "stages": {
            stage: {"kept": dict(one.kept), "removed": list(one.removed)}
            for stage, one in decisions.items()
        },
        "repositories": {uri: one.to_json() for uri, one in repositories.items()},
        "machine": {"count": here.count, "freed": here.size},
        "freed": freed,
    }
    verb = "would be freed" if dry_run else "freed"
    text = table(["what", "", "why"], _rows(decisions, repositories, dry_run=dry_run))
    work.console.data(
        data, f"{text}\n\n{size(freed)} {verb} in ECR, {size(here.size)} on this machine"
    )


def _rows(
    decisions: "dict[str, Decision]", repositories: "dict[str, SweptImages]", *, dry_run: bool
) -> list[list[str]]:
    gone = "would go" if dry_run else "deleted"
    rows = []
    for stage, one in decisions.items():
        rows += [[f"{stage} version {number}", "kept", why] for number, why in one.kept.items()]
        rows += [[f"{stage} version {number}", gone, ""] for number in one.removed]
    for swept in repositories.values():
        if swept.busy:
            rows.append([swept.repository, "kept", swept.busy])
        rows += [[digest[:19], "kept", why] for digest, why in swept.kept.items()]
        rows += [[digest[:19], gone, "nothing reaches it"] for digest in swept.removed]
    return rows
