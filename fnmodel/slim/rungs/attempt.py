"""Builds one form of a model, proves it, and times it against the model as converted."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fnmodel.engine import open_session
from fnmodel.errors import InputError
from fnmodel.slim import external
from fnmodel.slim.rungs.base import SLOWER, Base, finite, race_on
from fnmodel.slim.rungs.measured import Judgement, Measured
from fnmodel.slim.rungs.rung import Goal, NotApplicableError, Rung
from fnmodel.slim.rungs.stopwatch import Pace, race

_GAIN = 0.05
_IMPERCEPTIBLE_MS = 0.02
_LARGE = 20 << 20


@dataclass(frozen=True)
class Form:
    """A form of the model, and what was found; `speed` is its time for one row over the base's."""

    measured: Measured
    onnx: bytes
    speed: float = 1.0

    def ends(self, **found: Any) -> "Form":
        """Return the form with more found about it."""
        return replace(self, measured=replace(self.measured, **found))


def attempt(rung: Rung, ground: bytes, base: Base, goal: Goal) -> Form:
    """Build a form on `ground`, then prove and time it as far as it holds."""
    form = Form(Measured(rung.name, None, None, None, None, None, None, "broken", ""), b"")
    if rung.widens and goal != "size" and len(ground) >= _LARGE:
        return form.ends(verdict="slower", reason="weights that are widened open slowly")
    try:
        onnx = rung.build(ground, base.feeds)
    except NotApplicableError as reason:
        return form.ends(verdict="not applicable", reason=str(reason))
    except Exception as error:
        # Quantizers and graph tools raise whatever comes.
        return form.ends(reason=_first_line(error))
    form = replace(form, onnx=onnx).ends(bytes=len(onnx))
    if onnx == ground or (len(onnx) > (1 - _GAIN) * len(ground) and not rung.cleans):
        return form.ends(verdict="not smaller")
    with external.saved(onnx) as path:
        try:
            session = open_session(path, threads=1)
            misfit = base.misfit(onnx, session)
            judgement = None if misfit else base.judge(onnx)
        except InputError as error:
            return form.ends(reason=_first_line(error))
        if judgement is None:
            return form.ends(reason=misfit)
        form = form.ends(max_abs=finite(judgement.max_abs), metric=judgement.metric)
        objection = _objection(rung, judgement, base.judgement)
        if objection:
            return form.ends(verdict="failed parity", reason=objection)
        return _timed(form, path, session, rung, base, goal)


def _timed(form: Form, path: Path, session: Any, rung: Rung, base: Base, goal: Goal) -> Form:
    one = race_on(session, base.session, base.one)
    many = race_on(session, base.session, base.many) if base.many_ms is not None else None
    if one is None or (many is None and base.many_ms is not None):
        return form.ends(reason="does not take as many rows as the model as converted")
    with external.saved(base.onnx) as other:
        load = race(
            lambda: open_session(path, threads=1),
            lambda: open_session(other, threads=1),
            slow=SLOWER,
        )
    form = replace(form, speed=one.ratio).ends(
        load_ms=base.load_ms * load.ratio,
        one_row_ms=base.one_ms * one.ratio,
        verdict="passed",
    )
    if many is not None and base.many_ms is not None:
        form = form.ends(thousand_rows_ms=base.many_ms * base.thousand * many.ratio)
    if goal != "size" and not rung.cleans and _slower(one, many, goal):
        return form.ends(verdict="slower", reason=f"one row takes {one.ratio:.2f} times as long")
    return form


def _objection(rung: Rung, judgement: Judgement, base: Judgement) -> str:
    """Return why a form's answers do not do, or nothing."""
    if rung.by_metric is not None:
        if judgement.metric is None or base.metric is None:
            return "needs labels in the sample, to see what the metric loses"
        loss = base.metric - judgement.metric
        return "" if loss <= rung.by_metric else f"the metric loses {loss:.4f}"
    if judgement.label_changes > base.label_changes:
        return f"{judgement.label_changes - base.label_changes} labels change"
    return "" if judgement.passed else "differs by more than the budget"


def _slower(one: Pace, many: Pace | None, goal: Goal) -> bool:
    both = math.sqrt(one.ratio * many.ratio) if many else one.ratio
    noticed = one.ratio > 1 + SLOWER and one.ms - one.other_ms > _IMPERCEPTIBLE_MS
    return noticed and (goal == "latency" or both > 1 + SLOWER)


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, InputError) else str(error)
    lines = text.strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
