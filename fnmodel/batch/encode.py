"""A column of one feature in; its array, and the reasons of values that do not fit, out."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson

from fnmodel.arrays import DTYPES, Array
from fnmodel.errors import InputError
from fnmodel.fields import parser
from fnmodel.inference import encode_column
from fnmodel.model import Feature
from fnmodel.values import KINDS, TOO_LARGE, encode_value, limits

try:
    from simdjson import Parser
except ImportError:  # there is no wheel for this Python
    Parser = None  # type: ignore[assignment, misc]

Encoded = tuple[Array, dict[int, str]]
"""An array of shape (rows,), and why values at some rows do not fit; those mean nothing."""

_NEGATIVE_ZERO = re.compile(r"-0(?![.0-9eE])")


def encode_texts(feature: Feature, texts: Sequence[str]) -> Encoded:
    """Encode fields of CSV; an empty one is a missing value."""
    numbers = _parsed(feature, texts)
    if numbers is not None:
        return encode_numbers(feature, *numbers)
    parse = parser(feature)
    try:
        return encode_column(feature, _at_once(feature, texts) or [*map(parse, texts)]), {}
    except (InputError, ValueError):
        return _one_by_one(feature, texts, parse)


def encode_values(feature: Feature, values: Sequence[Any]) -> Encoded:
    """Encode values as JSON has them."""
    try:
        return encode_column(feature, values), {}
    except InputError:
        return _one_by_one(feature, values, lambda value: value)


def encode_numbers(feature: Feature, numbers: Array, missing: Array | None) -> Encoded:
    """Encode an array of numbers, shape (rows,); NaN is missing, as is what is marked."""
    kind = KINDS[feature.datatype]
    if kind not in ("floating", "integer") or feature.closed:
        return encode_values(feature, _plain(numbers, missing))
    gone = np.zeros(len(numbers), bool) if missing is None else missing
    if numbers.dtype.kind == "f":
        gone = gone | np.isnan(numbers)
    with np.errstate(invalid="ignore", over="ignore"):
        unfit = _unfit(feature, numbers)
        unfit[gone] = kind == "integer" or not feature.nullable
        column = numbers.astype(DTYPES[feature.datatype])
    if kind == "floating" and gone.any():
        column = np.where(gone, np.nan, column).astype(DTYPES[feature.datatype], copy=False)
    reasons: dict[int, str] = {}
    for row in np.flatnonzero(unfit).tolist():
        try:
            column[row] = encode_value(feature, None if gone[row] else numbers[row].item())
        except InputError as error:
            reasons[row] = error.message
    return column, reasons


def _unfit(feature: Feature, numbers: Array) -> Array:
    """Mark the numbers that a feature's datatype cannot hold."""
    if KINDS[feature.datatype] == "floating":
        if feature.datatype == "FP64" or (
            feature.datatype == "FP32" and numbers.dtype == np.float32
        ):
            return ~np.isfinite(numbers)
        return ~(np.abs(numbers.astype(np.float64)) < float(TOO_LARGE[feature.datatype]))
    least, largest = limits(feature.datatype)
    if numbers.dtype.kind == "f":
        # Of a float, the least integer is exact and the largest may be rounded up to its limit.
        fits: Array = (numbers >= least) & (numbers < largest + 1) & (numbers == np.trunc(numbers))
        return ~fits
    info = np.iinfo(numbers.dtype)
    unfit = np.zeros(len(numbers), bool)
    if info.min < least:
        unfit |= numbers < least
    if info.max > largest:
        unfit |= numbers > largest
    return unfit


def _plain(numbers: Array, missing: Array | None) -> list[Any]:
    gone = [False] * len(numbers) if missing is None else missing.tolist()
    values = numbers.tolist()
    return [
        None if none or value != value else value for value, none in zip(values, gone, strict=True)
    ]


def _one_by_one(feature: Feature, given: Sequence[Any], parse: Callable[[Any], Any]) -> Encoded:
    column = np.zeros(len(given), dtype=DTYPES[feature.datatype])
    reasons: dict[int, str] = {}
    for row, value in enumerate(given):
        try:
            column[row] = encode_value(feature, parse(value))
        except InputError as error:
            reasons[row] = error.message
        except ValueError as error:
            reasons[row] = str(error)
    return column, reasons


def _parsed(feature: Feature, texts: Sequence[str]) -> tuple[Array, Array | None] | None:
    """Return plain numbers, and which fields are empty; None sends the caller on another path.

    simdjson reads JSON's numbers, which are a part of Python's and mean the same, without a Python
    object for each.
    """
    kind = KINDS[feature.datatype]
    if Parser is None or kind not in ("floating", "integer") or feature.closed:
        return None
    missing = None
    if "" in texts:
        missing = np.array([not text for text in texts])
        texts = [text or "0" for text in texts]
    joined = ",".join(texts)
    # What is nested would be flattened, and an integer loses the sign of -0.
    if "[" in joined or "{" in joined or _NEGATIVE_ZERO.search(joined):
        return None
    floating = kind == "floating"
    try:
        found: Any = Parser().parse(f"[{joined}]".encode())
        block = found.as_buffer(of_type="d" if floating else "i")
    except (ValueError, TypeError, RuntimeError):  # no number of JSON, or one of over 64 bits
        return None
    numbers = np.frombuffer(block, np.float64 if floating else np.int64)
    return (numbers, missing) if len(numbers) == len(texts) else None


def _at_once(feature: Feature, texts: Sequence[str]) -> list[Any] | None:
    """Parse plain numbers as fast as Python can; None sends the caller on the careful path.

    Raises:
        ValueError: one is no number.

    """
    kind = KINDS[feature.datatype]
    if kind not in ("floating", "integer") or "_" in "".join(texts):  # Python would read 1_000
        return None
    number: Callable[[str], float] = float if kind == "floating" else int
    # JSON's numbers are a part of Python's, and orjson reads them three times as fast.
    joined = ",".join(texts)
    try:
        found: list[Any] = orjson.loads(f"[{joined}]")
    except orjson.JSONDecodeError:
        found = []
    whole = len(found) == len(texts) and set(map(type, found)) <= {number, int}
    if whole and not _NEGATIVE_ZERO.search(joined):
        return found
    try:
        if "" in texts:
            return [number(text) if text else None for text in texts]
        return [*map(number, texts)]
    except ValueError:
        return None
