"""Profiles add up exactly, count fast, stay small, and hold no row of the sample."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnmodel.errors import InputError, SlimError
from fnmodel.histogram import Categories, Numbers
from fnmodel.model import Feature, Signature, Tensor
from fnmodel.profile import REFERENCE, VERSION, Profile, answer_columns, read_reference
from fnmodel.slim.quality import reference
from fnmodel.slim.quality.reference import LEAST, number_bins

Array = np.ndarray[Any, np.dtype[Any]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def signature(*features: Feature, classes: int = 2) -> Signature:
    return Signature(
        "classification",
        (Tensor("x", "FP64", (-1, len(features))),),
        (Tensor("label", "BYTES", (-1,)), Tensor("scores", "FP32", (-1, classes))),
        features,
        tuple("abcdefghijklmnop"[:classes]),
        "label",
        "scores",
    )


def answered(rows: int, classes: int = 2, seed: int = 0) -> dict[str, Array]:
    scores = rng(seed).dirichlet(np.ones(classes), rows).astype(np.float32)
    labels = np.array(list("abcdefghijklmnop"[:classes]), dtype=object)[scores.argmax(axis=1)]
    return {"label": labels, "scores": scores}


AGE = Feature("age", "FP64", integral=True)
PAY = Feature("pay", "FP64", nullable=True)
CITY = Feature("city", "BYTES", nullable=True)
PEOPLE = signature(AGE, PAY, CITY)


def people(rows: int, seed: int = 0) -> dict[str, Array]:
    random = rng(seed)
    pay = random.lognormal(8, 1, rows)
    pay[::9] = np.nan
    city = random.choice(np.array(["Bonn", "Köln", "", "東京"], dtype=object), rows)
    return {"age": random.integers(18, 90, rows).astype(float), "pay": pay, "city": city}


@pytest.fixture(scope="module")
def made() -> Profile:
    return reference.build(people(3000), answered(3000), PEOPLE)


# Numbers and their bins


NASTY = st.one_of(
    st.floats(width=64),
    st.floats(-5, 5),
    st.integers(-3, 3).map(float),
    st.sampled_from(
        [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.1, 0.30000000000000004]
    ),
)
COLUMN = st.lists(NASTY, max_size=60).map(lambda values: np.array(values, dtype=np.float64))


@settings(max_examples=300, deadline=None)
@given(sample=COLUMN, live=COLUMN)
def test_every_value_is_counted_once(sample: Array, live: Array) -> None:
    """In a bin, below, above, or as missing, whatever the sample and the live values are."""
    bins = number_bins(sample)

    counted = bins.count(live)

    assert counted.total == len(live)
    assert counted.missing == np.isnan(live).sum()
    assert counted.infinite == np.isinf(live).sum()
    assert list(bins.edges) == sorted(set(bins.edges))
    inside = bins.count(sample[np.isfinite(sample)])
    assert inside.low == inside.high == 0


@settings(max_examples=200, deadline=None)
@given(sample=COLUMN, a=COLUMN, b=COLUMN, c=COLUMN)
def test_columns_add_up_exactly(sample: Array, a: Array, b: Array, c: Array) -> None:
    """Associative, commutative, with a zero, and the same as counting all rows at once."""
    empty = number_bins(sample)
    one, two, three = (empty.count(part) for part in (a, b, c))

    assert (one + two) + three == one + (two + three)
    assert one + two == two + one
    assert one + empty == one
    assert one + two + three == empty.count(np.concatenate([a, b, c]))


@settings(max_examples=200, deadline=None)
@given(sample=COLUMN)
def test_no_bin_points_at_fewer_rows_than_five(sample: Array) -> None:
    """Unless the whole column has fewer."""
    finite = sample[np.isfinite(sample)]
    counts = number_bins(sample).count(finite).counts

    assert len(counts) <= 1 or min(counts) >= LEAST


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool_, object])
def test_any_kind_of_number_is_counted(dtype: Any) -> None:
    """Booleans count as 0 and 1."""
    sample = np.array([0, 1] * 50)

    counted = number_bins(sample.astype(float), integral=True).count(sample.astype(dtype))

    assert counted.counts == (50, 50)


@pytest.mark.parametrize(
    "values",
    [np.arange(100) % 7 * 0.1, np.arange(100) % 3 * 1e-9, 1e6 + np.arange(100) % 4 * 0.25],
)
def test_a_value_that_went_through_float32_stays_in_its_bin(values: Array) -> None:
    """No edge lies on a value, so its last bits do not matter."""
    bins = number_bins(values)
    shaken = [np.where(values, np.nextafter(values, side), 0) for side in (-np.inf, np.inf)]

    expected = bins.count(values)

    for other in (values.astype(np.float32).astype(float), *shaken):
        assert bins.count(other).counts == expected.counts
        assert bins.count(other).low == bins.count(other).high == 0


def test_a_value_that_many_rows_share_has_its_own_bin() -> None:
    """70 % zeros: their share can drift, and so can the rest."""
    values = np.where(rng().random(5000) < 0.7, 0.0, rng(1).exponential(size=5000) + 0.01)

    counted = number_bins(values).count(values)

    assert counted.counts[0] == (values == 0).sum()
    assert len(counted.counts) >= 6


def test_whole_numbers_have_edges_between_them() -> None:
    """An integer is never on an edge."""
    values = rng().integers(0, 12, 3000).astype(float)

    bins = number_bins(values, integral=True)

    assert all(edge % 1 == 0.5 for edge in bins.edges)
    assert len(bins.counts) == 12


@pytest.mark.parametrize(
    ("value", "integral"), [(3.0, True), (0.1, False), (0.0, False), (-7e9, False)]
)
def test_a_constant_column_has_one_bin(value: float, *, integral: bool) -> None:
    """Any other value is out of range."""
    bins = number_bins(np.full(50, value), integral=integral)

    other = bins.count(np.array([value, value + 1e-4 * abs(value) + 1, math.nan]))

    assert (bins.count(np.full(9, value)).counts, other.counts) == ((9,), (1,))
    assert (other.high, other.missing) == (1, 1)


def test_a_column_without_values_calls_every_number_new() -> None:
    """It was always missing in the sample."""
    counted = number_bins(np.full(50, np.nan)).count(np.array([1.0, np.nan]))

    assert (counted.counts, counted.high, counted.missing) == ((), 1, 1)


def test_mean_and_variance_come_from_the_sums() -> None:
    """To a small fraction of the spread, also far from zero and with heavy tails."""
    for values in (rng().normal(1e9, 1, 9999), rng().lognormal(8, 2, 9999), np.arange(100.0)):
        counted = number_bins(values).count(values)

        assert counted.mean == pytest.approx(values.mean(), abs=values.std() * 1e-4)
        assert counted.variance == pytest.approx(values.var(), rel=1e-4)
    assert number_bins(values).mean is None
    assert number_bins(values).variance is None


def test_bins_hold_about_equal_shares() -> None:
    """Of a smooth sample, however skewed."""
    values = rng().lognormal(0, 3, 20_000)

    counts = number_bins(values).count(values).counts

    assert len(counts) == 20
    assert 800 <= min(counts) <= max(counts) <= 1200


@pytest.mark.parametrize("values", [["a"], [1.0, "2"], [[1.0]], [10**400]])
def test_what_is_not_a_number_is_refused_by_column(values: list[Any], made: Profile) -> None:
    """The column's name is in the message."""
    with pytest.raises(InputError, match="column 'pay'"):
        made.count({"pay": np.array(values, dtype=object)})


# Categories and texts


def test_categories_count_unknown_and_missing_ones() -> None:
    """None, NaN and the empty text are missing; what the sample did not have is other."""
    live = np.array(["Bonn", "Bonn", "Paris", "", None, math.nan], dtype=object)

    counted = Categories(("Bonn", "Köln")).count(live)

    assert counted == Categories(("Bonn", "Köln"), counts=(2, 0), other=1, missing=3)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "ü", "", None]), max_size=20), min_size=3, max_size=3
    )
)
def test_categories_add_up_exactly(parts: list[list[Any]]) -> None:
    """As numbers do."""
    empty = Categories(("a", "ü"))
    one, two, three = (empty.count(np.array(part, dtype=object)) for part in parts)

    assert (one + two) + three == three + (two + one)
    assert one + two + three == empty.count(
        np.array([*parts[0], *parts[1], *parts[2]], dtype=object)
    )


def test_rare_categories_are_not_named() -> None:
    """Four rows share a village: its name is not in the file, its rows are among `other`."""
    city = np.array(["Bonn"] * 96 + ["Hintertupfing"] * 4, dtype=object)
    profile = reference.build({"city": city}, answered(100), signature(CITY))

    assert profile.features["city"] == Categories(("Bonn",), counts=(96,), other=4)
    assert b"Hintertupfing" not in profile.to_bytes()


def test_free_text_is_profiled_by_its_length() -> None:
    """No two rows are the same, so there are no categories; the texts are not in the file."""
    texts = np.array([f"Dear {name}, {'x' * (name % 40)}" for name in range(500)], dtype=object)
    profile = reference.build({"city": texts}, answered(500), signature(CITY))
    column = profile.features["city"]

    assert isinstance(column, Numbers)
    assert column.kind == "length"
    assert b"Dear" not in profile.to_bytes()
    live = column.empty().count(np.array(["", None, "x" * 10_000, texts[0]], dtype=object))
    assert (live.missing, live.high, sum(live.counts)) == (2, 1, 1)


def test_codes_that_an_encoder_knows_are_categories_even_if_rare() -> None:
    """A column that the model encodes is no free text, however many values it has."""
    codes = np.array([f"c{at}" for at in range(300)], dtype=object)
    feature = Feature("city", "BYTES", categories=tuple(codes))

    column = reference.build({"city": codes}, answered(300), signature(feature)).features["city"]

    assert column == Categories((), other=300)


# Profiles


def test_a_profile_is_the_sum_of_its_parts(made: Profile) -> None:
    """A day is the sum of its hours, in whatever order they come."""
    empty = Profile.empty_like(made)
    hours = []
    for hour in range(6):
        columns = people(50 + hour, seed=hour + 1)
        outputs = answered(50 + hour, seed=hour)
        hours.append(empty.count(columns, answer_columns(PEOPLE, outputs)))

    forward, backward = sum(hours, empty), sum(reversed(hours[1:]), empty) + hours[0]

    assert forward == backward
    assert forward.to_bytes() == backward.to_bytes()
    assert forward.rows == sum(range(50, 56))
    assert all(column.total == forward.rows for column in forward.features.values())
    assert all(column.total == forward.rows for column in forward.outputs.values())


def test_profiles_of_different_bins_do_not_add_up(made: Profile) -> None:
    """That would be a bug of ours, so it is a built-in error."""
    other = reference.build(people(3000, seed=5), answered(3000), PEOPLE)

    with pytest.raises(ValueError, match="different bins"):
        made + other
    with pytest.raises(ValueError, match="different columns"):
        made + Profile({}, {})
    with pytest.raises(ValueError, match="different kinds"):
        Profile({"a": Categories(())}, {}) + Profile({"a": Numbers((), 0.0, 1.0)}, {})


def test_an_absent_column_is_missing_and_an_unknown_one_is_left_out(made: Profile) -> None:
    """Callers may leave a nullable feature away."""
    live = Profile.empty_like(made).count({"age": np.array([20.0, 30.0]), "shoe": np.array([1, 2])})

    assert live.features["pay"].missing == 2
    assert live.features["age"].missing == 0
    assert live.rows == 2
    assert set(live.features) == {"age", "pay", "city"}
    with pytest.raises(InputError, match="different lengths"):
        live.count({"age": np.ones(2), "pay": np.ones(3)})


def test_the_reference_is_its_own_profile(made: Profile) -> None:
    """Counted again, the sample gives the reference's counts, with nothing out of range."""
    again = Profile.empty_like(made).count(people(3000), answer_columns(PEOPLE, answered(3000)))

    for name, column in {**made.features, **made.outputs}.items():
        other = {**again.features, **again.outputs}[name]
        assert getattr(column, "counts", None) == other.counts
        if isinstance(column, Numbers):
            assert (column.low, column.high, column.sum) == (0, 0, other.sum)  # type: ignore[union-attr]


def test_the_same_sample_gives_the_same_bytes_and_they_read_back(
    made: Profile, tmp_path: Path
) -> None:
    """Row order does not matter either."""
    (tmp_path / REFERENCE).write_bytes(made.to_bytes())
    order = rng().permutation(3000)
    shuffled = reference.build(
        {name: column[order] for name, column in people(3000).items()},
        {name: array[order] for name, array in answered(3000).items()},
        PEOPLE,
    )

    assert read_reference(tmp_path) == made
    assert shuffled.to_bytes() == made.to_bytes()
    assert json.loads(made.to_bytes())["version"] == VERSION


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"[]", b"{", b'{"version":2}', b'{"version":1}', b"\xff",
        b'{"version":1,"rows":1,"features":{"a":{"kind":"number"}},"outputs":{}}',
        (
            b'{"version":1,"rows":1,"outputs":{},"features":{"a":{"kind":"category","categories":["x"],'
            b'"counts":[1,2]}}}'
        ),
        b'{"version":1,"rows":1,"features":{"a":7},"outputs":{}}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_reference_is_refused(content: bytes | None, tmp_path: Path) -> None:
    """Missing, broken, or of a later version."""
    if content is not None:
        (tmp_path / REFERENCE).write_bytes(content)

    with pytest.raises(SlimError) as refusal:
        read_reference(tmp_path)

    assert REFERENCE in refusal.value.message
    assert "slim" in refusal.value.hint


def test_no_value_of_one_person_is_in_the_file() -> None:
    """Neither the richest nor anybody else's pay can be read from it."""
    pay = rng().lognormal(10, 1, 400)
    content = reference.build({"pay": pay}, answered(400), signature(PAY)).to_bytes().decode()
    numbers = set(json.loads(content)["features"]["pay"]["edges"])
    column = json.loads(content)["features"]["pay"]

    assert not numbers & set(pay.tolist())
    assert column["maximum"] > pay.max()
    assert column["minimum"] < pay.min()


def test_fifty_features_fit_sixty_kilobytes() -> None:
    """Skewed numbers in double precision, and as many categories as are kept."""
    features, columns = [], {}
    for at in range(50):
        name = f"a_feature_of_some_length_{at}"
        if at % 2:
            columns[name] = rng(at).lognormal(at, 2, 2000)
        else:
            columns[name] = np.array(
                [f"category {x}" for x in rng(at).integers(0, 60, 2000)], object
            )
        features.append(Feature(name, "FP64" if at % 2 else "BYTES"))

    made = reference.build(columns, answered(2000, 10), signature(*features, classes=10))

    assert len(made.to_bytes()) <= 60_000


def test_five_million_values_a_second_are_counted(made: Profile) -> None:
    """Numbers and categories, in CPU time of one core."""
    rows = 200_000
    columns = {name: np.resize(column, rows) for name, column in people(3000).items()}
    empty = Profile.empty_like(made)

    started = time.process_time()
    counted = empty.count(columns)

    assert 3 * rows / (time.process_time() - started) > 5_000_000 / 2  # half, for a busy machine
    assert counted.rows == rows


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_a_tiny_sample_has_a_profile(rows: int) -> None:
    """With one bin or none."""
    made = reference.build(people(rows), answered(rows), PEOPLE)

    assert made.rows == rows
    assert Profile.from_json(json.loads(made.to_bytes())) == made
    assert all(len(getattr(one, "counts", ())) <= 1 for one in made.features.values())


# Answers


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (2, ["label", "probability:b", "margin"]),
        (3, ["label", *(f"probability:{one}" for one in "abc"), "margin", "confidence"]),
        (11, ["label", "margin", "confidence"]),
    ],
)
def test_a_classifiers_answers_are_columns(classes: int, names: list[str]) -> None:
    """The label, its probabilities, and by how much the best class leads."""
    outputs = answered(40, classes)

    columns = answer_columns(signature(AGE, classes=classes), outputs)

    assert list(columns) == names
    best = np.sort(outputs["scores"], axis=1)
    assert columns["margin"] == pytest.approx(best[:, -1] - best[:, -2])


@pytest.mark.parametrize(
    ("task", "array", "expected"),
    [
        ("regression", np.ones((4, 1)), ["value"]),
        ("regression", np.ones((4, 2)), ["value:0", "value:1"]),
        ("other", np.ones((4, 3, 8)), ["out:norm"]),
        ("other", np.array(["x"] * 4, dtype=object), ["out"]),
        ("other", np.array([["x"] * 20] * 4, dtype=object), []),
    ],
)
def test_other_answers_are_columns(task: Any, array: Array, expected: list[str]) -> None:
    """Values, vectors by their norm, texts."""
    one = Signature(task, (), (Tensor("out", "FP64", (-1, *array.shape[1:])),))

    columns = answer_columns(one, {"out": array})

    assert list(columns) == expected
    assert all(column.shape == (4,) for column in columns.values())
    assert reference.build({}, {"out": array}, one).outputs.keys() == set(expected)


def test_a_probability_is_never_out_of_range() -> None:
    """The whole of [0, 1] is known, whatever the sample had, and a softmax's rounding too."""
    made = reference.build({}, answered(500), signature(AGE))

    live = made.outputs["probability:b"].empty().count(np.array([0, 1, 1.0000001], np.float32))

    assert isinstance(live, Numbers)
    assert (live.low, live.high) == (0, 0)


def test_profiles_need_numpy_and_the_standard_library_alone() -> None:
    """They are counted in the image, which has nothing else; random numbers are pruned there."""
    code = (
        "import sys\n"
        "for name in 'pandas sklearn scipy pydantic boto3 onnxruntime numpy.random'.split():\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "from fnmodel.profile import Profile\n"
        "from fnmodel.histogram import Categories, Numbers\n"
        "made = Profile({'a': Numbers((0.0, 1.0), 0.0, 1.0), 'b': Categories(('x',))}, {})\n"
        "live = made.count({'a': np.array([0.5, 9]), 'b': np.array(['x', None], dtype=object)})\n"
        "print(len((live + live).to_bytes()))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
