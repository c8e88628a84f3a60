"""What a value must be to fit a feature, and in which words it is refused.

The rules are here once, for tensors with and without numpy. Imports no numpy, because a cold
start would pay for it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from fnmodel.errors import InputError
from fnmodel.model import MISSING_TEXT, Datatype, Feature

KINDS: dict[Datatype, Literal["boolean", "integer", "floating", "text"]] = {
    "BOOL": "boolean", "BYTES": "text", "FP16": "floating", "FP32": "floating", "FP64": "floating",
    "UINT8": "integer", "UINT16": "integer", "UINT32": "integer", "UINT64": "integer",
    "INT8": "integer", "INT16": "integer", "INT32": "integer", "INT64": "integer",
}  # fmt: skip

TOO_LARGE: dict[str, int] = {
    "FP16": 2**16 - 2**4,
    "FP32": 2**128 - 2**103,
    "FP64": 2**1024 - 2**970,
}
"""A number of this size or more becomes infinite: the largest one and half of its last digit."""


def limits(datatype: Datatype) -> tuple[int, int]:
    """Return the least and the largest number of an integer datatype."""
    bits = int(datatype.lstrip("UINT"))
    half: int = 2 ** (bits - 1)
    return (0, 2 * half - 1) if datatype.startswith("U") else (-half, half - 1)


def at_once(datatype: Datatype, values: Sequence[Any], *, nullable: bool) -> Sequence[Any] | None:
    """Return values as an array takes them, if each is of the datatype's own JSON type, else None.

    None sends the caller to `one_by_one`, which accepts a little more (3.0 for an integer) and
    otherwise finds the value to name.
    """
    kinds = set(map(type, values))
    match KINDS[datatype]:
        case "floating":
            return _numbers(datatype, values, kinds, nullable=nullable)
        case "integer" if kinds <= {int}:
            least, largest = limits(datatype)
            fit = not values or (least <= min(values) and max(values) <= largest)
            return values if fit else None
        case "boolean" if kinds <= {bool}:
            return values
        case "text" if kinds <= {str} and all(map(_is_text, values)):
            return values
    return None


def _numbers(
    datatype: Datatype, values: Sequence[Any], kinds: set[type], *, nullable: bool
) -> Sequence[Any] | None:
    known = values
    if nullable and type(None) in kinds:
        known = [value for value in values if value is not None]
        values = [math.nan if value is None else value for value in values]
        kinds = kinds - {type(None)}
    if not kinds <= {int, float}:
        return None
    limit = TOO_LARGE[datatype]
    try:
        # A NaN makes the sum one; a sum that overflows only sends the caller on the careful path.
        fit = not known or (
            math.isfinite(sum(known)) and -limit < min(known) and max(known) < limit
        )
    except OverflowError:  # an integer that no float can be
        return None
    return values if fit else None


def one_by_one(
    values: Sequence[Any], feature_at: Callable[[int], Feature], place: Callable[[int], str]
) -> list[Any]:
    """Return values as an array takes them, each judged by its own feature.

    Raises:
        InputError: a value does not fit; the message begins with its place.

    """
    fitted = []
    for index, value in enumerate(values):
        try:
            fitted.append(encode_value(feature_at(index), value))
        except InputError as error:
            raise InputError(f"{place(index)}: {error.message}") from None
    return fitted


def encode_value(feature: Feature, value: Any) -> Any:
    """Return one value as its array holds it.

    Raises:
        InputError: it does not fit; the message is the reason alone.

    """
    fitted = _fit(feature, value)
    if feature.closed and value is not None and fitted not in categories(feature):
        known = _listed(feature.categories)
        raise InputError(f"expected one of {known}, got {short(repr(value))}")
    return fitted


def _fit(feature: Feature, value: Any) -> Any:
    kind = KINDS[feature.datatype]
    if value is None:
        if feature.nullable and kind in ("floating", "text"):
            return math.nan if kind == "floating" else MISSING_TEXT
        raise InputError("a value is required, got null")
    if kind == "text":
        return _fit_text(value)
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        raise InputError(f"expected true or false, got {_kind(value)}")
    if isinstance(value, bool) and (feature.integral or kind == "integer"):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"expected a number, got {_kind(value)}")
    return _fit_number(feature.datatype, value)


def _fit_text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"expected a string, got {_kind(value)}")
    if not _is_text(value):
        raise InputError("not a valid text")
    return value


def _fit_number(datatype: Datatype, value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{value} is not a finite number")
    if KINDS[datatype] == "integer":
        if value != int(value):
            raise InputError(f"expected an integer, got {value}")
        least, largest = limits(datatype)
        if least <= value <= largest:
            return int(value)
    elif -TOO_LARGE[datatype] < value < TOO_LARGE[datatype]:
        return float(value)
    raise InputError(f"{short(value)} is out of range for {datatype}")


@lru_cache(maxsize=256)
def categories(feature: Feature) -> frozenset[Any]:
    """Return what a feature with closed categories can be; a null is judged elsewhere."""
    return frozenset(feature.categories) | {None}


def check_names(row: int, record: Mapping[str, Any], features: Iterable[Feature]) -> None:
    """Compare the names in a record with those of the features.

    Raises:
        InputError: one is unknown, or one is missing whose feature is not nullable.

    """
    names = dict.fromkeys(feature.name for feature in features)
    unknown = next((name for name in record if name not in names), None)
    if unknown is not None:
        import difflib

        shown = str(short(unknown))  # a name of megabytes would be compared for seconds
        near = difflib.get_close_matches(shown, names, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"row {row}: unknown field {shown!r}{guess}")
    missing = [f.name for f in features if f.name not in record and not f.nullable]
    if missing:
        listed = ", ".join(repr(name) for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(f"row {row}: missing field {listed}{more}")


def place(row: int, feature: Feature) -> str:
    """Return how a value of a record is named in a message."""
    return f"row {row}, field {feature.name!r}"


def _is_text(text: str) -> bool:
    if "\x00" in text:  # MISSING_TEXT begins with one, and no caller may send it
        return False
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else "a number")


def _listed(known: Sequence[Any]) -> str:
    shown = ", ".join(short(repr(value)) for value in known[:10])
    return shown + (f" and {len(known) - 10} more" if len(known) > 10 else "")


def short(value: Any) -> str:
    """Return a value as a message may have it, whatever its length."""
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "..."
