"""`fnmodel rollout`: where a rollout stands, and the words of people to it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fnmodel.cli.console import pairs, table
from fnmodel.cli.options import Where, placed
from fnmodel.errors import ConflictError, LockHeldError, ReleaseError, RolledBackError

if TYPE_CHECKING:
    from fnmodel.cli.workspace import Workspace
    from fnmodel.release.rollouts import Rollouts
    from fnmodel.release.tick import Rollout

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Rollouts that go up, or back, by themselves: `rollout:` in fnmodel.yaml makes `deploy` "
    "begin one.",
)

_LOCAL_LOOKS = 1.0
_LOOKS = 15.0
"""Seconds between two looks of `--watch`; CloudWatch's figures are a minute old at best."""


@app.command()
@placed
def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Drive it and follow it to its end.")
    ] = False,
    where: Where,
) -> None:
    """Say where the newest rollout stands; exits 4 when it was rolled back.

    `--watch` looks every few seconds as the controller does every minute; Ctrl-C leaves the rollout
    to the controller.

    Example: fnmodel rollout status --watch
    """
    work = where.open()
    rollout = follow(work) if watch else work.rollouts.current()
    if rollout is None:
        raise ReleaseError(
            "there was no rollout in this stage",
            hint="set `rollout.strategy` in fnmodel.yaml; the next deploy begins one",
        )
    _show(work, rollout)
    require_not_rolled_back(rollout)


@app.command()
@placed
def pause(*, where: Where) -> None:
    """Take no further step; a failed check and the deadline still roll back.

    Example: fnmodel rollout pause
    """
    _steer(where, "pause", lambda rollouts: rollouts.pause())


@app.command()
@placed
def resume(*, where: Where) -> None:
    """Go on with a paused rollout.

    Example: fnmodel rollout resume
    """
    _steer(where, "resume", lambda rollouts: rollouts.resume())


@app.command()
@placed
def approve(*, where: Where) -> None:
    """Agree to the next step, where the rollout waits for approval or is inconclusive.

    Example: fnmodel rollout approve
    """
    _steer(where, "approve", lambda rollouts: rollouts.approve())


@app.command()
@placed
def abort(*, where: Where) -> None:
    """Take the candidate's requests away and end the rollout.

    Example: fnmodel rollout abort
    """
    _steer(where, "abort", lambda rollouts: rollouts.abort())


def follow(work: "Workspace") -> "Rollout | None":
    """Drive the rollout to its end and show how it goes; None where there was never one.

    On a terminal a view is redrawn at each look; elsewhere there is a line for each turn.
    """
    from fnmodel.cli import rollout_view as view

    pause = _LOCAL_LOOKS if work.local else _LOOKS
    said = ""
    with (
        work.console.step("rollout", spinner=False) as step,
        view.Live(live=work.console.live) as live,
    ):
        while True:
            why = ""
            try:
                rollout = work.rollouts.tick()
            except (LockHeldError, ConflictError) as error:
                rollout, why = work.rollouts.current(), error.message
            now = time.time()
            if rollout is None or not rollout.active:
                if rollout is not None:
                    step.done(view.describe(rollout, now))
                return rollout
            live.show([*view.lines(rollout, now), *([f"  {why}"] if why else [])])
            if not work.console.live and view.headline(rollout) != said:
                said = view.headline(rollout)
                step.progress(why or view.describe(rollout, now))
            time.sleep(pause)


def require_not_rolled_back(rollout: "Rollout") -> None:
    """Let a command fail whose rollout was rolled back.

    Raises:
        RolledBackError: says why.

    """
    from fnmodel.release.tick import Phase

    if rollout.phase is Phase.rolled_back:
        raise RolledBackError(
            f"version {rollout.candidate} was rolled back: {rollout.why}",
            hint=f"version {rollout.stable} serves; `fnmodel rollout status` shows every check",
        )


def data(rollout: "Rollout") -> dict[str, Any]:
    """Return a rollout as the JSON that commands print."""
    from fnmodel.cli import rollout_view as view

    now, step = time.time(), rollout.current
    return {
        "id": rollout.id,
        "phase": rollout.phase,
        "active": rollout.active,
        "paused": rollout.paused,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "step": rollout.step + 1 if step else None,
        "steps": len(rollout.plan.steps),
        "percent": 0.0 if rollout.shadows else step.percent if step else 100.0,
        "started": _time(rollout.started),
        "since": _time(rollout.since),
        "deadline": _time(rollout.deadline),
        "ended": _time(rollout.ended),
        "why": rollout.why,
        "waits_for": view.waits_for(rollout) or None,
        "earliest_end_seconds": view.earliest(rollout, now),
        "replayed": _replayed(rollout),
        "checks": [
            {
                "check": f.check, "verdict": f.verdict, "text": f.text, "certainty": f.certainty,
                "log_e": f.log_e, "needed": f.needed,
            }
            for f in rollout.findings
        ],
    }  # fmt: skip


def _replayed(rollout: "Rollout") -> dict[str, Any] | None:
    """Return what was replayed as JSON; `billed_ms` is what Lambda charges for both versions."""
    found = rollout.evidence.replayed
    if found is None:
        return None
    return {
        "mode": rollout.plan.replays.mode,
        "shadow": rollout.plan.replays.shadow,
        "pairs": found.pairs,
        "invocations": 2 * found.asked,
        "unusable": found.unusable,
        "proof": found.proof,
        "exhausted": found.exhausted,
        "billed_ms": found.billed_ms,
        "differing": list(found.differing),
    }


def _show(work: "Workspace", rollout: "Rollout") -> None:
    from fnmodel.cli.rollout_view import describe, waits_for

    said = data(rollout)
    rows = [[f.check, str(f.verdict), f.text] for f in rollout.findings]
    shown = {
        "rollout": describe(rollout, time.time()),
        "started": said["started"],
        "deadline": said["deadline"] if rollout.active else None,
        "ended": said["ended"],
        "waits for": waits_for(rollout),
    }
    text = f"{pairs(shown)}\n\n{table(['check', 'verdict', 'why'], rows)}"
    work.console.data(said, text)


def _steer(where: Where, name: str, word: Callable[["Rollouts"], "Rollout"]) -> None:
    work = where.open()
    with work.console.step(name) as step:
        rollout = word(work.rollouts)
        from fnmodel.cli.rollout_view import describe

        step.done(describe(rollout, time.time()))
    _show(work, rollout)


def _time(epoch: float) -> str | None:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="seconds") if epoch else None
