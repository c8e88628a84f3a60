"""A column's figures in; what moved and what to do about it out, in words. Pure."""

from fnmodel.watch.drift import ColumnDrift, Verdict
from fnmodel.watch.report import Cells
from fnmodel.watch.trend import Course, Trend

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


def next_steps(trend: Trend) -> list[str]:
    """Return what a person does about a trend, the most pressing first; nothing for a quiet one."""
    lines = _groups(trend)
    if trend.worse:
        lines.insert(0, f"Realised figures fell: {'; '.join(trend.worse)}. {_RETRAIN}")
    elif lines and trend.steps[-1].realised is not None:
        lines.append("Predictions came true as often as before: there is time to look first.")
    elif lines:
        lines.append(
            "Without labels nobody knows what it costs: `fnmodel watch labels` takes them."
        )
    usual = [one.name for one in trend.courses if one.state is Verdict.USUAL]
    if usual:
        lines.append(f"Add such hours to the training sample, which lacks them: {_some(usual)}.")
    return lines


_RETRAIN = "Train again on rows that have labels."


def _groups(trend: Trend) -> list[str]:
    """Return a line for all columns for which the same is to be done."""
    features = [one for one in trend.drifted if one.role == "feature"]
    groups: dict[str, list[Course]] = {}
    for one in features or trend.drifted:
        groups.setdefault(todo(one.latest), []).append(one)
    lines = [
        f"{_some([_about(trend, one) for one in group])}. {words}{_version(trend, group)}"
        for words, group in groups.items()
    ]
    followed = [one.name for one in trend.drifted if one.role == "prediction"]
    if features and followed:
        lines.append(f"Predictions moved along: {_some(followed)}.")
    return lines


def _about(trend: Trend, one: Course) -> str:
    since = one.since if one.since is not None else one.judged[-1]
    last = one.judged[-1]
    reach = f"{one.reach[last]:.2g} times its limit, {one.by[last]}"
    return f"{one.name} has drifted since {trend.steps[since].time} ({reach})"


def _version(trend: Trend, group: list[Course]) -> str:
    """Say which version came in the step in which columns began to drift."""
    starts = {one.since for one in group if one.since is not None}
    new = sorted({name for at in starts for name in trend.began.get(at, ())})
    return (
        f" It began with version {', '.join(new)}: compare it with the one before." if new else ""
    )


def _some(items: list[str], most: int = 5) -> str:
    left = len(items) - most
    return ", ".join(items[:most]) + (f" and {left} more" if left > 0 else "")
