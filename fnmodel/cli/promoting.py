"""What `promote --from` asks and prints."""

import time
from dataclasses import replace

from fnmodel.cli import deploy, promotion, rollout
from fnmodel.cli.console import pairs
from fnmodel.cli.options import Where
from fnmodel.cli.rollout_view import brief
from fnmodel.cli.traffic import describe
from fnmodel.errors import UsageError


def run(where: Where, source: str, to: str | None, version: str | None, public: str | None) -> None:
    """Promote from stage to stage, and say what came of it.

    Raises:
        FnmodelError: as `promotion.promote`.

    """
    if to is not None and where.stage not in {None, to}:
        raise UsageError(
            f"--to {to} and --stage {where.stage} name two stages", hint="leave one of them out"
        )
    target = replace(where, stage=to or where.stage).open()
    given = where.beside(source)
    deploy.confirm_public(target, public)
    promoted = promotion.promote(given, target, version)
    done, rolling = promoted.deployed, promoted.deployed.rollout
    weights = done.state.weights
    waits = done.version not in {done.state.version, *weights}
    next_ = f"fnmodel promote --stage {target.stage}" if waits else ""
    if rolling is not None and rolling.active:
        next_ = f"fnmodel rollout status --watch --stage {target.stage}"
    data = {
        "from": {"stage": given.stage, "version": promoted.source.number},
        "stage": target.stage,
        "url": target.url,
        "version": done.version,
        "digest": done.digest,
        "changed": done.changed,
        "traffic": {"version": done.state.version, "weights": dict(weights)},
        "champions": {name: one.to_json() for name, one in done.champions.items()},
        "rollout": rollout.data(rolling) if rolling else None,
    }
    shown = {
        "from": f"{given.stage}, version {promoted.source.number}",
        "stage": f"{target.stage} ({target.settings.cloud})",
        "url": target.url,
        "version": done.version,
        "image": done.digest,
        "traffic": describe(done.state.version, weights),
        "rollout": brief(rolling, time.time()) if rolling else "",
        "next": next_,
    }
    target.console.data(data, pairs(shown))
    if rolling is not None:
        rollout.require_not_rolled_back(rolling)
