"""FP32 numbers as JSON has them: the shortest decimal that is read as the same FP32.

orjson writes numpy's FP32 so; a Python float of the same value would show the digits of FP64.
"""

from collections.abc import Sequence
from math import inf
from struct import pack
from typing import Any

import orjson

# Below, the decimal nearest to a number is not always the shortest one; above, orjson writes FP32
# with an exponent, and FP64 without.
_LEAST, _TOO_LARGE = 1e-20, 1e13


def singles(values: Sequence[float]) -> list[Any] | None:
    """Return what orjson writes for FP32 values, given as floats; None where some need numpy."""
    written: list[Any] = []
    for value in values:
        if value == 0 or not abs(value) < inf:
            written.append(value)  # orjson writes null for NaN and infinities
            continue
        short = _shortest(value)
        if not _LEAST <= abs(short) < _TOO_LARGE:
            return None
        # Here FP32 is written without an exponent, and FP64 with one.
        tiny = 1e-6 <= abs(short) < 1e-5
        written.append(orjson.Fragment(f"{short:.15f}".rstrip("0")) if tiny else short)
    return written


def _shortest(value: float) -> float:
    """Return the shortest decimal that FP32 reads as this value; 6 to 9 digits tell all apart."""
    packed = pack("f", value)
    short = float(f"{value:.7g}")
    if _same(short, packed):
        shorter = float(f"{value:.6g}")
        return shorter if _same(shorter, packed) else short
    short = float(f"{value:.8g}")
    return short if _same(short, packed) else float(f"{value:.9g}")


def _same(short: float, packed: bytes) -> bool:
    try:
        return pack("f", short) == packed
    except OverflowError:  # rounded up beyond the largest one
        return False
