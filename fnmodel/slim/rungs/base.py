"""The model as converted: what each smaller form is measured against."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.engine import open_session
from fnmodel.errors import InputError
from fnmodel.slim import external
from fnmodel.slim.rungs.measured import Judgement, Measured, Verdict
from fnmodel.slim.rungs.rung import Array, Feeds, rows
from fnmodel.slim.rungs.stopwatch import Pace, race
from fnmodel.slim.rungs.weights import graphs, parse

NAME = "as converted"
SLOWER = 0.1
"""The share by which a form must be slower to be called so."""

_MANY = 1000
_MANY_ROWS_MS = 100.0
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


@dataclass(frozen=True)
class Base:
    """The model as converted: open, judged, timed.

    `one` and `many` are its input tensors for one row and for as many as 0.1 s allows, at most
    1,000; `thousand` is how often the latter makes 1,000 rows. `many_ms` is None where the model
    takes one row at a time only.
    """

    onnx: bytes
    feeds: Feeds
    judge: Callable[[bytes], Judgement]
    judgement: Judgement
    session: Any
    one: Mapping[str, Array]
    many: Mapping[str, Array]
    thousand: float
    load_ms: float
    one_ms: float
    many_ms: float | None

    def row(self, verdict: Verdict, reason: str) -> Measured:
        """Return the first row of the ladder."""
        return Measured(
            name=NAME,
            bytes=len(self.onnx),
            load_ms=self.load_ms,
            one_row_ms=self.one_ms,
            thousand_rows_ms=None if self.many_ms is None else self.many_ms * self.thousand,
            max_abs=finite(self.judgement.max_abs),
            metric=self.judgement.metric,
            verdict=verdict,
            reason=reason,
        )

    def misfit(self, onnx: bytes, session: Any) -> str:
        """Return how a form's operators, inputs or outputs differ from these, or nothing."""
        strange = _domains(onnx) - _domains(self.onnx) - set(_DOMAINS)
        if strange:
            return f"uses operators of {min(strange)}"
        for kind in ("get_inputs", "get_outputs"):
            before, after = getattr(self.session, kind)(), getattr(session, kind)()
            if [(v.name, v.type) for v in before] != [(v.name, v.type) for v in after]:
                return f"has other {kind.removeprefix('get_')}"
            for old, new in zip(before, after, strict=True):
                if not _fits(old.shape, new.shape):
                    return f"{old.name!r} has the shape {new.shape} instead of {old.shape}"
        return ""


def prepare(onnx: bytes, feeds: Feeds, judge: Callable[[bytes], Judgement]) -> Base:
    """Open, judge and time the model as converted.

    Raises:
        InputError: it does not open, or does not take a row of the feeds.

    """
    with external.saved(onnx) as path:
        session = open_session(path, threads=1)
        load = race(lambda: open_session(path, threads=1), lambda: None, slow=SLOWER)
    one = rows(feeds, 1)
    itself = race_on(session, session, one)
    if itself is None:
        raise InputError("the model does not take one row of its own sample")
    count = max(2, min(_MANY, int(_MANY_ROWS_MS / max(itself.ms, 1e-6))))
    many = rows(feeds, count)
    several = race_on(session, session, many)
    return Base(
        onnx=onnx,
        feeds=feeds,
        judge=judge,
        judgement=judge(onnx),
        session=session,
        one=one,
        many=many,
        thousand=_MANY / count,
        load_ms=load.ms,
        one_ms=itself.ms,
        many_ms=several.ms if several else None,
    )


def race_on(session: Any, other: Any, feeds: Mapping[str, Array]) -> Pace | None:
    """Race two sessions on the same tensors; None where the first one does not take them."""
    try:
        session.run(None, dict(feeds))
    except Exception:
        # onnxruntime's errors share no base class; a model of a fixed batch size refuses here.
        return None
    return race(
        lambda: session.run(None, dict(feeds)), lambda: other.run(None, dict(feeds)), slow=SLOWER
    )


def finite(value: float) -> float:
    """Return a number that JSON has; NaN and infinity become the largest one."""
    return min(float(value), sys.float_info.max) if value == value else sys.float_info.max


def _fits(before: list[Any] | None, after: list[Any] | None) -> bool:
    if not before or not after:  # a shape that was left out may be any
        return True
    return len(before) == len(after) and all(
        not isinstance(a, int) or not isinstance(b, int) or a == b
        for a, b in zip(before, after, strict=True)
    )


def _domains(onnx: bytes) -> set[str]:
    model = parse(onnx)
    own = {function.domain for function in model.functions}
    return {str(n.domain) for g in graphs(model.graph) for n in g.node} - own
