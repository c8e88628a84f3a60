"""A column's figures in; what moved and what to do about it out, in words. Pure."""

from fnmodel.watch.drift import ColumnDrift, Verdict
from fnmodel.watch.report import Cells

WORDS = {
    Verdict.STEADY: "as in training",
    Verdict.SMALL: "differs a little",
    Verdict.DRIFT: "drifted",
    Verdict.USUAL: "usual for this hour",
    Verdict.FEW: "too few rows",
    Verdict.UNKEPT: "not captured",
}


def moves(cells: Cells, most: int = 3) -> list[str]:
    """Return the cells whose share changed most: `above 72: 0.0 % → 8.1 %`."""
    changes = [
        (abs(is_now - was), name, was, is_now)
        for name, was, is_now in zip(cells.names, cells.before, cells.now, strict=True)
    ]
    changes.sort(key=lambda change: -change[0])
    return [
        f"{name}: {was:.1%} → {is_now:.1%}" for gap, name, was, is_now in changes[:most] if gap > 0
    ]


_RANGE = "Values lie outside of training's range: look for another unit or a placeholder."
_BY_TEST = {
    "missing": "There are more missing values: ask whoever fills this field what changed.",
    "other": "There are categories that training lacks: map them, or train with them.",
    "below": _RANGE,
    "above": _RANGE,
}


def todo(column: ColumnDrift) -> str:
    """Return what a person should look at first; nothing for a column that is as it was."""
    if column.verdict is Verdict.USUAL:
        return "The training sample lacks such hours. Add some of them when you train again."
    if column.verdict is not Verdict.DRIFT:
        return ""
    if column.role == "prediction":
        return (
            "If no feature drifted, compare versions and look for columns that drifted together; "
            "else mend or retrain for these, and this follows."
        )
    surest = min(column.tests, key=column.tests.__getitem__)
    if surest in _BY_TEST:
        return _BY_TEST[surest]
    return (
        "If its source changed (unit, default, form), mend that. If the world changed, see whether "
        "the performance held, and train again on newer rows if not."
    )
