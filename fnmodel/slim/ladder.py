"""The ladder of smaller forms of one ONNX model: each is built, proven and timed; one is kept.

A form is kept for its size, which is a fact, and dropped for its speed only when that is plainly
worse, so that a noisy machine chooses as a quiet one does:

- sizes within 15 % of the smallest count as the same, and the form that stands first on the
  ladder wins among them (2 % when `goal` is "size");
- a form is slower than the model as converted when one row takes 10 % and 0.02 ms longer, and
  the geometric mean over one and 1,000 rows is 10 % longer, too. Both alternate with the model as
  converted, and near the limit they are timed three times as long;
- of a model of 20 MB or more, forms whose weights are widened whenever they are opened are not
  tried unless `goal` is "size": they take twice the time and the memory of mapped weights;
- with `goal` "latency", forms within 15 % of the fastest count as the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fnmodel.slim.rungs import base as model
from fnmodel.slim.rungs.attempt import Form, attempt
from fnmodel.slim.rungs.catalogue import rungs
from fnmodel.slim.rungs.measured import Judgement, Measured, Verdict
from fnmodel.slim.rungs.rung import Feeds, Goal, NotApplicableError, Options, Rung
from fnmodel.units import milliseconds, size

__all__ = [
    "HEADS", "Judgement", "Ladder", "Measured", "NotApplicableError", "Options", "Rung", "Verdict",
    "climb", "rungs", "table",
]  # fmt: skip

HEADS = ("form", "size", "load", "1 row", "1,000 rows", "difference", "metric", "verdict")

_SMALL = 64 * 1024
_SAME_SIZE: dict[Goal, float] = {"balanced": 0.15, "latency": 0.15, "size": 0.02}
_SAME_SPEED = 0.15


@dataclass(frozen=True)
class Ladder:
    """All forms in the order they were tried, the model as converted first, and the kept one."""

    rows: tuple[Measured, ...]
    kept: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"rows": [asdict(row) for row in self.rows], "kept": self.kept}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Ladder":
        """Read what `to_json` returned."""
        return Ladder(tuple(Measured(**row) for row in data["rows"]), data["kept"])


def table(ladder: Ladder) -> list[list[str]]:
    """Return the ladder's rows as text under `HEADS`."""
    return [
        [
            row.name,
            size(row.bytes) if row.bytes is not None else "",
            milliseconds(row.load_ms),
            milliseconds(row.one_row_ms),
            milliseconds(row.thousand_rows_ms),
            f"{row.max_abs:.1e}" if row.max_abs is not None else "",
            f"{row.metric:.4g}" if row.metric is not None else "",
            f"{row.verdict}: {row.reason}" if row.reason else row.verdict,
        ]
        for row in ladder.rows
    ]


def climb(
    onnx: bytes,
    ladder: Sequence[Rung],
    *,
    judge: Callable[[bytes], Judgement],
    feeds: Feeds,
    options: Options,
    progress: Callable[[str], None],
) -> tuple[bytes, Ladder]:
    """Return the form that is kept, and what was found about each.

    `feeds` holds input tensors by name with at least one row along axis 0: latency is taken on
    them, repeated, and scales are calibrated on them. A model under 64 kB is only tidied. `judge`
    may raise InputError for a form that does not run; the form then counts as broken.

    Raises:
        InputError: the model as converted does not open, or does not take the feeds.

    """
    base = model.prepare(onnx, feeds, judge)
    if not base.judgement.passed:
        return onnx, Ladder((base.row("kept", "differs from the original itself"),), model.NAME)
    if not ladder:
        return onnx, Ladder((base.row("kept", "the ladder is switched off"),), model.NAME)
    if len(onnx) < _SMALL:
        return _only_tidied(base, ladder, options)
    ground, forms = onnx, [Form(base.row("passed", ""), onnx)]
    for rung in ladder:
        progress(f"making it smaller ({rung.name})")
        form = attempt(rung, ground, base, options.goal)
        forms.append(form)
        if rung.foundation and form.measured.verdict == "passed":
            ground = form.onnx
    kept = _choose(forms, ladder, options.goal)
    found = (form.ends(verdict="kept") if form is kept else form for form in forms)
    return kept.onnx, Ladder(tuple(form.measured for form in found), kept.measured.name)


def _only_tidied(
    base: model.Base, ladder: Sequence[Rung], options: Options
) -> tuple[bytes, Ladder]:
    """Leave a small model as it is but for its metadata, which may tell of the user's machine."""
    reason = "under 64 kB, nothing to gain"
    for rung in (rung for rung in ladder if rung.cleans):
        form = attempt(rung, base.onnx, base, options.goal)
        if form.measured.verdict == "passed":
            row = replace(form.measured, verdict="kept", reason=reason)
            return form.onnx, Ladder((row,), row.name)
    return base.onnx, Ladder((base.row("kept", reason),), model.NAME)


def _choose(forms: Sequence[Form], ladder: Sequence[Rung], goal: Goal) -> Form:
    """Return the form to keep; see the module's first lines for the rule."""
    passed = [form for form in forms if form.measured.verdict == "passed"]
    # A foundation replaces all that came before it, whatever it gained: tidying mends leaks.
    grounds = {model.NAME, *(rung.name for rung in ladder if rung.foundation)}
    *_, ground = (form for form in passed if form.measured.name in grounds)
    order = [ground, *(form for form in passed if form.measured.name not in grounds)]
    if goal == "latency":
        fastest = min(form.speed for form in order)
        order = [form for form in order if form.speed <= fastest * (1 + _SAME_SPEED)]
    smallest = min(len(form.onnx) for form in order)
    limit = smallest / (1 - _SAME_SIZE[goal])
    return next(form for form in order if len(form.onnx) <= limit)
