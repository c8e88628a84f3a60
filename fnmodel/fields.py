"""Fields of CSV in, values as JSON would have them out; an empty field is a missing value."""

import re
from collections.abc import Callable
from typing import Any

from fnmodel.model import Feature
from fnmodel.values import KINDS

_DIGITS = re.compile(r"-?[0-9]{1,30}")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def parser(feature: Feature) -> Callable[[str], Any]:
    """Return the function from a field to a value of a feature, or None.

    The function raises ValueError, with the reason alone, where the field is no number or boolean.
    """
    kind = KINDS[feature.datatype]
    if kind == "text":
        return lambda text: text or None
    if kind == "boolean":
        return _boolean
    number = _whole if kind == "integer" else _number
    # Booleans of the training data are integral numbers here; CSV writes them as words.
    return (lambda text: _flag(text, number)) if feature.integral else number


def _flag(text: str, number: Callable[[str], float | None]) -> float | None:
    known = _BOOLEANS.get(text.strip().lower()) if text[:1].isalpha() else None
    return number(text) if known is None else float(known)


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        if "_" not in text:  # Python would read 1_000
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text[:60]!r} is not a number")


def _whole(text: str) -> float | None:
    # A float would lose digits of a large integer.
    return int(text) if _DIGITS.fullmatch(text) else _number(text)


def _boolean(text: str) -> bool | None:
    if not text:
        return None
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text[:60]!r} is not true or false") from None
