"""Columns of CSV and JSON Lines become the arrays that each field alone would give."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnmodel.arrays import DTYPES
from fnmodel.batch.chunk import RecordChunk
from fnmodel.batch.encode import encode_texts
from fnmodel.errors import InputError
from fnmodel.fields import parser
from fnmodel.model import Datatype, Feature
from fnmodel.values import encode_value

ODD = (
    "", "0", "-0", "-0.0", "-0e0", " -0 ", "+1", "1_0", ".5", "5.", "1e400", "-1e400", "4e-324",
    "NaN", "inf", "null", "true", "[1", "2]", "[1]", "{}", "1 2", "1,2", '"5"', "9007199254740993",
    "18446744073709551615", "18446744073709551616", "-9223372036854775809", "3.4028236e38", "0x1",
    "1e3", "01", "\uff12",
)  # fmt: skip
FEATURES = [
    Feature("f", datatype, nullable=nullable)
    for datatype in ("FP64", "FP32", "INT64", "INT8", "UINT64")
    for nullable in ((True, False) if datatype.startswith("FP") else (False,))
]
texts = st.one_of(
    st.sampled_from(ODD),
    st.floats(width=32).map(repr),
    st.floats().map(repr),
    st.integers(-300, 300).map(str),
    st.integers(-(2**65), 2**65).map(str),
)


def alone(feature: Feature, text: str) -> tuple[Any, str]:
    """Return what a field by itself gives: its number, or why it does not fit."""
    try:
        return encode_value(feature, parser(feature)(text)), ""
    except InputError as error:
        return None, error.message
    except ValueError as error:
        return None, str(error)


def same(found: Any, expected: Any, datatype: Datatype) -> bool:
    one = np.array(expected, DTYPES[datatype])
    return found.dtype == one.dtype and (found.tobytes() == one.tobytes() or found != found != one)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda f: f"{f.datatype}-{f.nullable}")
@given(column=st.lists(texts, min_size=1, max_size=40))
def test_a_column_is_its_fields(feature: Feature, column: list[str]) -> None:
    """All fields at once give the same bits, and are refused in the same words, as each alone."""
    found, reasons = encode_texts(feature, column)
    expected = [alone(feature, text) for text in column]

    assert reasons == {row: why for row, (_, why) in enumerate(expected) if why}
    for row, (value, why) in enumerate(expected):
        assert why or same(found[row], math.nan if value is None else value, feature.datatype)


def test_an_object_may_lack_a_field() -> None:
    """A column has None where an object lacks the field, and what only some objects have."""
    names = ("a", "b", "c")
    whole = [{"a": 1, "b": 2, "c": 3}, {"c": 6, "b": 5, "a": 4}]
    lines = [1, 2]

    one = RecordChunk(names, lines, [b"", b""], whole)
    assert [[*one.values(name)] for name in names] == [[1, 4], [2, 5], [3, 6]]
    other = RecordChunk(names, lines, [b"", b""], [whole[0], {"a": 4, "d": 0}])
    assert [[*other.values(name)] for name in (*names, "d")] == [
        [1, 4],
        [2, None],
        [3, None],
        [None, 0],
    ]
    none = RecordChunk(names, [], [], [])
    assert [*none.values("a")] == []


def test_many_plain_numbers_are_not_made_into_objects() -> None:
    """The quick way is taken where it should be: the array lies on what simdjson wrote."""
    pytest.importorskip("simdjson")
    found, reasons = encode_texts(FEATURES[0], ["1.5", "-2", ""])

    assert (found.tolist()[:2], reasons) == ([1.5, -2.0], {})
    assert np.isnan(found[2])
