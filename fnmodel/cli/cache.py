"""`prune`: what builds keep on this machine, and how to get the room back."""

from typing import Annotated

import typer

from fnmodel.cli.console import Console, Output, table
from fnmodel.cli.options import OutputOption

_DAY = 86400


def prune(
    *,
    days: Annotated[int, typer.Option(min=0, help="Keep what was used within so many days.")] = 30,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    output: OutputOption = Output.table,
) -> None:
    """Remove layers and converted models from FNMODEL_HOME that nobody has used for a while.

    Each project's latest image stays, and so does what was used within the last hour: it may run
    beside a build. What is gone is made again when it is needed.

    Example: fnmodel prune --days 7
    """
    from fnmodel.hashes import Hashes
    from fnmodel.home import folder
    from fnmodel.pack import cleanup
    from fnmodel.pack.layout import Store
    from fnmodel.slim import slim
    from fnmodel.units import size

    seconds = float(days * _DAY)
    console = Console(output)
    with console.step("prune"):
        layers = cleanup.clean(Store(folder("cache", "oci")), seconds, dry_run=dry_run)
        models = slim.clean(folder("cache", "slim"), seconds, dry_run=dry_run)
        if not dry_run:
            Hashes(folder("cache", "hashes")).clean(seconds)
    removed = {"image blobs": layers, "converted models": models}
    total = layers + models
    rows = [[what, freed.count, size(freed.size)] for what, freed in removed.items()]
    verb = "would be freed" if dry_run else "freed"
    data = {
        "dry_run": dry_run,
        "freed": total.size,
        "removed": {
            what.replace(" ", "_"): {"count": freed.count, "size": freed.size}
            for what, freed in removed.items()
        },
    }
    text = f"{table(['', 'count', verb], rows)}\n\n{size(total.size)} {verb}"
    console.data(data, text if total.count else "nothing to remove")
