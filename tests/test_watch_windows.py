"""Captured lines become profiles by hour that add up exactly and hold nobody's row."""

import json

import numpy as np
import pytest
import watch_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st

from fnmodel.errors import InputError
from fnmodel.watch import rows as reading
from fnmodel.watch import windows
from fnmodel.watch.columns import count
from fnmodel.watch.sample import sample

HOURS = ("2026-11-27T08", "2026-11-27T09", "2026-11-28T08")


@pytest.fixture(scope="module")
def reference():
    return cases.trained(cases.world(np.random.default_rng(0), 2000))


@pytest.fixture(scope="module")
def rows():
    """Return 360 rows of three hours, two rates and two versions."""
    rng = np.random.default_rng(1)
    lines = [
        line
        for hour in HOURS
        for rate, version in ((1.0, "3"), (0.25, "3"), (0.25, "4"))
        for line in cases.lines(
            cases.world(rng, 40),
            hour=hour,
            rate=rate,
            version=version,
            start=int(1000 * rate) + 100 * int(version),
        )
    ]
    return reading.read(set(lines)).rows


def of(rows, reference):
    return windows.windows(rows, reference, cases.SIGNATURE)


def test_reading_takes_each_row_once_and_passes_over_broken_lines():
    """Deliveries that repeat rows, and lines of another kind, are counted."""
    lines = cases.lines(cases.world(np.random.default_rng(2), 5))
    newer = lines[0].replace(b'"schema":1', b'"schema":2')

    found = reading.read([*lines, lines[1], newer, b"{}", b"no json", b"[]"])

    assert [len(found.rows), found.repeated, found.unreadable] == [5, 1, 4]
    assert found.rows[0].prediction["label"] in {"no", "yes"}
    assert list(found.rows) == sorted(found.rows, key=lambda row: (row.time, row.id))


def test_a_window_counts_what_profile_counts(reference):
    """Rows that went through capture's JSON fall into the same bins as the columns they were."""
    columns = cases.world(np.random.default_rng(3), 300)
    rows = reading.read(cases.lines(columns)).rows

    (found,) = of(rows, reference).values()

    from fnmodel.profile import Profile, answer_columns

    expected = Profile.empty_like(reference).count(
        columns, answer_columns(cases.SIGNATURE, cases.outputs(columns))
    )
    for name in reference.features:
        assert found.profile.features[name].counts == expected.features[name].counts
        assert found.profile.features[name].missing == expected.features[name].missing
    for name in reference.outputs:
        assert found.profile.outputs[name].counts == expected.outputs[name].counts


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_however_rows_are_split_windows_sum_to_the_same(reference, rows, data):
    """Merging is associative and commutative, has a zero, and is exact."""
    parts: list[list] = [[], [], []]
    for row, at in zip(
        rows[:90], data.draw(st.lists(st.integers(0, 2), min_size=90, max_size=90)), strict=True
    ):
        parts[at].append(row)
    a, b, c = (of(part, reference) for part in parts)
    whole = of(rows[:90], reference)

    assert windows.merged(windows.merged(a, b), c) == whole
    assert windows.merged(a, windows.merged(b, c)) == whole
    assert windows.merged(c, windows.merged(b, a)) == whole
    assert windows.merged(whole, {}) == whole


def test_keys_are_hour_version_alias_model_and_rate(reference, rows):
    """Three hours of two rates and versions are nine windows."""
    found = of(rows, reference)

    assert len(found) == 9
    assert {(key.hour, key.version, key.rate) for key in found} == {
        (hour, version, rate)
        for hour in HOURS
        for version, rate in (("3", 1.0), ("3", 0.25), ("4", 0.25))
    }
    assert {window.profile.rows for window in found.values()} == {40}


def test_json_comes_back_as_it_went(reference, rows):
    """Lines of windows read the same, and another version is refused by its line."""
    found = of(rows, reference)

    lines, small = windows.to_lines(found)

    assert windows.from_lines(lines) == found
    assert small == 0
    with pytest.raises(InputError, match="line 2"):
        windows.from_lines([lines[0], lines[1].replace(b'"version":1', b'"version":9', 1)])
    with pytest.raises(InputError, match="line 1"):
        windows.from_lines([b"{}"])


def test_no_row_can_be_read_from_kept_windows(reference):
    """A window of fewer than five rows is not kept; none tells its smallest or largest value."""
    columns = cases.world(np.random.default_rng(4), 50)
    columns["pay"][7] = 987_654.321
    found = of(reading.read(cases.lines(columns)).rows, reference)
    few = of(reading.read(cases.lines(cases.world(np.random.default_rng(5), 4))).rows, reference)

    lines, _ = windows.to_lines(found)

    assert windows.to_lines(few) == ([], 4)
    assert b"987654" not in lines[0]
    for column in json.loads(lines[0])["profile"]["features"].values():
        assert column.get("minimum") is None
        assert column.get("maximum") is None


def test_erasing_a_row_leaves_windows_valid(reference, rows):
    """Windows hold sums of rows and no ids, so an erased row leaves nothing behind to erase."""
    lines, _ = windows.to_lines(of(rows, reference))
    again = windows.from_lines(lines)

    assert not any(row.id.encode() in line for row in rows[:50] for line in lines)
    assert sum(window.profile.rows for window in again.values()) == len(rows)


def test_redacted_values_are_not_counted_and_wrong_ones_are_told_apart(reference):
    """Hashes and replaced numbers say nothing; a text where a number belongs is invalid."""
    hashed = "h:" + "0f" * 16
    given = [
        {"pay": hashed, "age": 30, "city": hashed, "normal": "much"},
        {"pay": "<card>", "age": 31, "city": "<email>", "normal": 0.1},
        {"pay": 3000.0, "age": None, "city": "w001", "normal": [1]},
    ]
    rows = [
        reading.Row(str(i), "2026-11-27T08:00", "m", "1", "live", 1.0, row, {"label": "yes"})
        for i, row in enumerate(given)
    ]

    found = count(rows, reference, cases.SIGNATURE)
    features = found.profile.features

    assert [features[name].total for name in ("pay", "age", "city", "normal")] == [1, 3, 2, 3]
    assert found.invalid == {"normal": 2}
    assert [features["age"].missing, features["normal"].missing, features["gaps"].missing] == [
        1, 2, 3,
    ]  # fmt: skip
    assert features["city"].other == 1


def test_rows_weigh_what_they_stand_for(reference, rows):
    """At rate 1/4 a row counts four times; the effective size is Kish's."""
    found = of(rows, reference)
    own = [(1 / key.rate, w.profile) for key, w in found.items() if key.version == "3"]

    pooled = sample(own)

    assert pooled.rows == 240
    assert pooled.represents == 120 + 120 * 4
    kish = (120 + 480) ** 2 / (120 + 120 * 16)
    assert pooled.features["age"].rows == pytest.approx(kish)
    assert sample([(4.0, profile) for _, profile in own]).features["age"].rows == 240
