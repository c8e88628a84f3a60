"""A rollout as a person sees it: one line, lines of a live view, and when it may end."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

from fnmodel.cli.console import shortened
from fnmodel.release.findings import Finding, Verdict
from fnmodel.release.tick import Phase, Rollout

_BAR = 20
_LONG = 120
_MARKS = {Verdict.healthy: "ok", Verdict.inconclusive: "..", Verdict.failed: "XX"}


def headline(rollout: Rollout) -> str:
    """Return which version stands where."""
    step = rollout.current
    words = f"version {rollout.candidate} {rollout.phase}".replace("_", " ")
    if rollout.active and rollout.shadows:
        words += " before the first step" if rollout.phase is not Phase.shadow else ""
    elif rollout.active and step is not None:
        words += f" at {step.percent:g} % (step {rollout.step + 1} of {len(rollout.plan.steps)})"
    return f"{words}, paused" if rollout.paused else words


def describe(rollout: Rollout, now: float) -> str:
    """Return where a rollout stands, in one line."""
    words = headline(rollout)
    step, found = rollout.current, rollout.evidence.replayed
    if rollout.active and rollout.shadows and found is not None:
        words += f", {found.asked:,} of {rollout.plan.replays.shadow:,} requests replayed"
    elif rollout.active and step is not None and rollout.since:
        left = max(rollout.since + step.bake - now, 0)
        words += f", {left:.0f} s to bake" if left else ", baked"
    if rollout.why and not rollout.active:
        words += f": {rollout.why}"
    return words


def brief(rollout: Rollout, now: float) -> str:
    """Return where a rollout stands in a line that is never long."""
    if rollout.phase is Phase.completed:
        return headline(rollout)
    return shortened(describe(rollout, now), _LONG)


def earliest(rollout: Rollout, now: float) -> float | None:
    """Return the seconds until it can end well at the earliest; None where nobody can know.

    Steps that wait for a person, or for requests, take as long as these do.
    """
    if not rollout.active or rollout.paused or rollout.phase in {Phase.approval, Phase.returning}:
        return None
    steps = rollout.plan.steps[max(rollout.step, 0) :]
    if any(step.approve for step in steps[0 if rollout.shadows else 1 :]):
        return None
    left = sum(step.bake for step in steps)
    if rollout.current is not None and rollout.since and rollout.phase is not Phase.moving:
        left -= min(now - rollout.since, rollout.current.bake)
    if rollout.shadows and rollout.evidence.replayed is not None:
        missing = rollout.plan.replays.shadow - rollout.evidence.replayed.asked
        left += max(missing, 0) / rollout.plan.replays.rate
    return max(left, 0.0)


def waits_for(rollout: Rollout) -> str:
    """Return what it waits for, in words; empty where it has ended."""
    if not rollout.active:
        return ""
    if rollout.paused:
        return "`fnmodel rollout resume`"
    match rollout.phase:
        case Phase.approval:
            return f"`fnmodel rollout approve`: {rollout.why}"
        case Phase.inconclusive:
            return rollout.why
        case Phase.shadow:
            return "requests to be replayed, before the first step"
        case Phase.baking:
            return "the bake to end"
        case _:
            return "the alias to be moved"


def lines(rollout: Rollout, now: float) -> Iterator[str]:
    """Yield the lines of the live view, without colours."""
    yield describe(rollout, now)
    yield f"  steps     {_steps(rollout)}"
    yield f"  weights   {_weights(rollout)}"
    for found in rollout.findings:
        yield f"  {_MARKS[found.verdict]} {found.check:<15} {_evidence(found)}  {found.text}"
    waits = waits_for(rollout)
    if waits:
        yield f"  waits for {waits}"
    if rollout.active:
        left = earliest(rollout, now)
        soonest = f"in {_span(left)} at the earliest; " if left is not None else ""
        yield f"  ends      {soonest}it goes back in {_span(rollout.deadline - now)} if it has not"


def _steps(rollout: Rollout) -> str:
    shown = ["shadow"] if rollout.plan.replays.shadow else []
    offset = len(shown)
    shown += [f"{step.percent:g} %" for step in rollout.plan.steps]
    if rollout.plan.steps[-1].percent < 100:
        shown.append("100 %")
    at = min(rollout.step + offset, len(shown) - 1)
    if rollout.phase is Phase.completed:
        at = len(shown) - 1
    return " → ".join(f"[{one}]" if place == at else one for place, one in enumerate(shown))


def _weights(rollout: Rollout) -> str:
    share = 0.0
    if rollout.phase is Phase.completed:
        share = 1.0
    elif rollout.phase not in {Phase.rolled_back, Phase.returning, Phase.superseded}:
        before = rollout.phase is Phase.moving
        state = rollout.target(rollout.step - before)
        whole = state.version == rollout.candidate
        share = 1.0 if whole else state.weights.get(rollout.candidate, 0.0)
    full = round(_BAR * share)
    bar = "█" * full + "░" * (_BAR - full)
    return (
        f"{bar} {share:.4g} of the requests to version {rollout.candidate}"
        if share < 1
        else (f"{bar} all requests to version {rollout.candidate}")
    )


def _evidence(found: Finding) -> str:
    """Return an e-value by the one at which the check has failed."""
    if found.log_e is None or found.needed is None:
        return " " * 17
    return f"e {_e(found.log_e):>6} / {_e(found.needed):<6}"


def _e(logarithm: float) -> str:
    if logarithm > math.log(9999):
        return f"1e{logarithm / math.log(10):.0f}"
    return f"{math.exp(logarithm):.3g}"


def _span(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Live:
    """Shows lines in place of those before, on a terminal; elsewhere nothing."""

    def __init__(self, *, live: bool) -> None:
        self._live: Any = None
        if live:
            from rich.console import Console
            from rich.live import Live as RichLive

            self._live = RichLive(console=Console(stderr=True), refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, text: Sequence[str]) -> None:
        """Show these lines from now on."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text("\n".join(text), overflow="fold"))
