"""FP32 numbers as JSON has them: the shortest decimal that is read as the same FP32.

orjson writes numpy's FP32 so; a Python float of the same value would show the digits of FP64.
"""

from array import array
from collections.abc import Sequence
from math import floor, isfinite, log10
from typing import Any

import orjson

# Below, the decimal nearest to a number is not always the shortest one; above, orjson writes FP32
# with an exponent, and FP64 without.
_LEAST, _TOO_LARGE = 1e-20, 1e13

# FP64 holds these powers of ten exactly, so that each step below is rounded once.
_POWERS = [10.0**exponent for exponent in range(23)]
_SMALLEST, _LARGEST = 1e-13, 1e9
# As near to the middle of two whole numbers, rounding may have gone either way.
_TIE = 0.499999


def singles(values: Sequence[float]) -> list[Any] | None:
    """Return what orjson writes for FP32 values, given as floats; None where some need numpy."""
    written = [
        # The exponent of these is written in FP64 alone.
        orjson.Fragment(f"{short:.15f}".rstrip("0")) if 1e-6 <= abs(short) < 1e-5 else short
        for short in shortest(values)
    ]
    fit = all(
        type(short) is not float
        or short == 0
        or _LEAST <= abs(short) < _TOO_LARGE
        or not isfinite(short)  # orjson writes null
        for short in written
    )
    return written if fit else None


def shortest(values: Sequence[float]) -> list[float]:
    """Return the shortest decimal that FP32 reads as each value; 9 digits always do, 6 may."""
    found = [_by_arithmetic(value) for value in values]
    return _by_text(values) if None in found else found  # type: ignore[return-value]


def _by_arithmetic(value: float) -> float | None:
    """Return the shortest decimal, in half the time; None where FP64 is too coarse to tell."""
    size = abs(value)
    if not _SMALLEST <= size < _LARGEST:
        return None if size else value  # zero has a sign
    power = _POWERS[8 - floor(log10(size))]
    found = 0
    for unit in (1, 10, 100, 1000):
        digits = size * power / unit  # nine of them before the point, then eight …
        whole = round(digits)
        if abs(digits - whole) > _TIE:
            return None
        if unit > 1 and array("f", (whole * unit / power,))[0] != size:
            break
        found = whole * unit
    return found / power if value > 0 else -found / power


def _by_text(values: Sequence[float]) -> list[float]:
    wanted = list(values)
    found = _rounded(wanted, 9)
    for digits in (8, 7, 6):
        shorter = _rounded(wanted, digits)
        read = array("f", shorter).tolist()
        if read == wanted:
            found = shorter
        else:
            same = [one == other for one, other in zip(read, wanted, strict=True)]
            if not any(same):
                break
            found = [
                short if fits else longer
                for short, longer, fits in zip(shorter, found, same, strict=True)
            ]
    return found


def _rounded(values: Sequence[float], digits: int) -> list[float]:
    # All in one text: a call for each of them would take three times as long.
    return [*map(float, (f"%.{digits}g " * len(values) % tuple(values)).split())]
