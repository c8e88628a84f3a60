"""Judges an answer against the proof that ships with the model; pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fnmodel.errors import GateError
from fnmodel.model import Tolerance


@dataclass(frozen=True)
class Mismatch:
    """One value that is not as proven; `row` is -1 when the whole output is wrong.

    `column` is -1 where rows have no columns. `excess` is by how many times the tolerance is
    exceeded, infinite for labels and shapes.
    """

    output: str
    row: int
    column: int
    expected: Any
    actual: Any
    excess: float

    def __str__(self) -> str:
        """Say where it is and what differs."""
        place = f"output {self.output!r}"
        if self.row >= 0:
            place += f", row {self.row}"
        if self.column >= 0:
            place += f", column {self.column}"
        return f"{place}: expected {self.expected!r}, got {self.actual!r}"


@dataclass(frozen=True)
class GateResult:
    """How many values were compared, and those that differ, the worst first."""

    checked: int
    mismatches: tuple[Mismatch, ...]

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.checked > 0 and not self.mismatches


def compare(probe: Mapping[str, Any], answer: Mapping[str, Any]) -> GateResult:
    """Compare an inference answer with a probe's expected outputs.

    Floating-point values may differ by the probe's tolerance, everything else must be equal; NaN
    counts as null, since JSON has none. Outputs that the probe does not name are not looked at.
    """
    tolerance = Tolerance(**probe["tolerance"])
    outputs = answer.get("outputs")
    found = {
        output["name"]: output
        for output in (outputs if isinstance(outputs, list) else [])
        if isinstance(output, dict) and "name" in output
    }
    checked = 0
    mismatches: list[Mismatch] = []
    for expected in probe["expected"]:
        actual = found.get(expected["name"])
        count, wrong = _compare_output(expected, actual, tolerance)
        checked += count
        mismatches += wrong
    return GateResult(checked, tuple(sorted(mismatches, key=lambda item: -item.excess)))


def compare_answers(probe: Mapping[str, Any], answer: Mapping[str, Any]) -> GateResult:
    """Compare what `/predict` answers to the probe's records, with the project's own code around.

    Keys and texts must be equal; numbers may differ by the probe's tolerance.
    """
    tolerance = Tolerance(**probe["tolerance"])
    return compare_predictions(probe["answers"], answer.get("predictions"), tolerance)


def compare_predictions(wanted: Sequence[Any], found: Any, tolerance: Tolerance) -> GateResult:
    """Compare predictions with those that are wanted; `found` may be no list at all."""
    if not isinstance(found, list) or len(found) != len(wanted):
        count = f"{len(found)} answers" if isinstance(found, list) else found
        mismatch = Mismatch("predictions", -1, -1, f"{len(wanted)} answers", count, math.inf)
        return GateResult(len(wanted), (mismatch,))
    checked, mismatches = 0, []
    for row, pair in enumerate(zip(wanted, found, strict=True)):
        for where, one, other in _leaves("predictions", *pair):
            checked += 1
            excess = _excess(one, other, tolerance if isinstance(one, float) else None)
            if excess > 1:
                mismatches.append(Mismatch(where, row, -1, one, other, excess))
    return GateResult(checked, tuple(sorted(mismatches, key=lambda item: -item.excess)))


def both(first: GateResult, second: GateResult) -> GateResult:
    """Return what two comparisons found together, the worst first."""
    mismatches = sorted((*first.mismatches, *second.mismatches), key=lambda item: -item.excess)
    return GateResult(first.checked + second.checked, tuple(mismatches))


def require(result: GateResult, where: str) -> None:
    """Refuse a version whose answers are not as proven.

    Raises:
        GateError: names the worst value.

    """
    if result.passed:
        return
    if not result.mismatches:
        raise GateError(f"{where}: the probe compares nothing", hint="run `fnmodel slim` again")
    count = len(result.mismatches)
    raise GateError(
        f"{where} answers differently from the model that was proven, in {count} of "
        f"{result.checked} values; the worst: {result.mismatches[0]}",
        hint="it got no traffic. Compare library versions and architecture of image and laptop, "
        "then deploy again",
    )


def _compare_output(
    expected: Mapping[str, Any], actual: Mapping[str, Any] | None, tolerance: Tolerance
) -> tuple[int, list[Mismatch]]:
    name = expected["name"]
    wanted = list(_flat(expected["data"]))
    if actual is None:
        return len(wanted), [Mismatch(name, -1, -1, "this output", None, math.inf)]
    for key in ("datatype", "shape"):
        if actual.get(key) != expected[key]:
            mismatch = Mismatch(name, -1, -1, expected[key], actual.get(key), math.inf)
            return len(wanted), [mismatch]
    got = list(_flat(actual.get("data")))
    if len(got) != len(wanted):
        sizes = f"{len(wanted)} values", f"{len(got)} values"
        return len(wanted), [Mismatch(name, -1, -1, *sizes, math.inf)]
    floating = str(expected["datatype"]).startswith(("FP", "BF"))
    width = _width(expected["shape"])
    mismatches = []
    for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
        excess = _excess(one, other, tolerance if floating else None)
        if excess > 1:
            row, column = divmod(index, width)
            mismatches.append(Mismatch(name, row, column, one, other, excess))
    return len(wanted), mismatches


def _leaves(where: str, expected: Any, actual: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield each plain value of an answer beside the other's; a part of another form as a whole."""
    if isinstance(expected, dict) and isinstance(actual, dict) and expected.keys() == actual.keys():
        for key in expected:
            yield from _leaves(f"{where}.{key}", expected[key], actual[key])
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, pair in enumerate(zip(expected, actual, strict=True)):
            yield from _leaves(f"{where}[{index}]", *pair)
    else:
        yield where, expected, actual


def _excess(expected: Any, actual: Any, tolerance: Tolerance | None) -> float:
    """Return the distance in tolerances: at most 1 is near enough."""
    if _missing(expected) or _missing(actual):
        return 0.0 if _missing(expected) and _missing(actual) else math.inf
    if tolerance is None or not (_number(expected) and _number(actual)):
        return 0.0 if expected == actual and type(expected) is type(actual) else math.inf
    if expected == actual:
        return 0.0
    distance = abs(expected - actual)
    allowed = tolerance.absolute + tolerance.relative * abs(expected)
    if not math.isfinite(distance) or allowed == 0:
        return math.inf
    return float(distance / allowed)


def _flat(data: Any) -> Iterator[Any]:
    """Yield tensor contents in row-major order; the protocol allows nested and flat lists."""
    if isinstance(data, list):
        for item in data:
            yield from _flat(item)
    else:
        yield data


def _width(shape: Sequence[int]) -> int:
    return max(1, math.prod(shape[1:]))


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
