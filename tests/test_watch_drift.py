"""Drift is seen where there is some, and not where there is none, at any number of rows."""

from dataclasses import replace

import numpy as np
import pytest
import watch_cases as cases

from fnmodel.histogram import Categories, Numbers
from fnmodel.profile import Profile, answer_columns
from fnmodel.watch import seasons, statistics
from fnmodel.watch.columns import Counted
from fnmodel.watch.drift import Rules, Verdict, compare
from fnmodel.watch.sample import Sample, histogram, sample
from fnmodel.watch.windows import Key

ROWS = 3000


@pytest.fixture(scope="module")
def reference() -> Profile:
    return cases.trained(cases.world(np.random.default_rng(0), ROWS))


def counted(reference: Profile, columns) -> Profile:
    answers = answer_columns(cases.SIGNATURE, cases.outputs(columns))
    return Profile.empty_like(reference).count(columns, answers)


def pooled(profile: Profile) -> Sample:
    return sample([(1.0, profile)])


def verdicts(reference: Profile, columns, rules: Rules | None = None, **more):
    current = pooled(counted(reference, columns))
    drift = compare(pooled(reference), current, rules or Rules(), **more)
    return {column.name: column for column in drift.columns}


@pytest.mark.parametrize("rows", [100, 1000, 10_000])
def test_quiet_windows_raise_no_more_alarms_than_alpha_allows(rows):
    """Each time from a new training sample: any column beyond chance in 5 % of windows at most."""
    rng = np.random.default_rng(rows)
    rules = Rules(alpha=0.05, minimum=100)
    runs = 60
    false = 0
    for _ in range(runs):
        made = cases.trained(cases.world(rng, ROWS))
        found = verdicts(made, cases.world(rng, rows), rules)
        false += any(column.verdict is Verdict.DRIFT for column in found.values())

    # Binomial: more than 7 of 60 would be there in 2 % of runs of a test that keeps its alpha.
    assert false <= 7


@pytest.mark.parametrize(
    ("rows", "shift", "least"), [(1000, 0.3, 0.95), (5000, 0.15, 0.9), (300, 0.6, 0.95)]
)
def test_shifts_are_found_where_a_fixed_threshold_is_blind(rows, shift, least):
    """A shift of part of a deviation is seen, though PSI stays under the field's 0.2 or so."""
    rng = np.random.default_rng(1)
    made = cases.trained(cases.world(rng, ROWS))
    seen = []
    for _ in range(20):
        columns = cases.world(rng, rows)
        columns["normal"] = columns["normal"] + shift
        seen.append(verdicts(made, columns)["normal"])

    assert np.mean([column.verdict is Verdict.DRIFT for column in seen]) >= least
    if shift < 0.5:
        assert max(column.psi for column in seen) < 0.25


def test_a_fixed_threshold_is_noise_at_a_hundred_rows(reference):
    """PSI over 0.1 is usual for a hundred rows of the same world; `noise` says so."""
    found = verdicts(reference, cases.world(np.random.default_rng(2), 100), Rules(minimum=50))

    assert found["pay"].psi > 0.1
    assert found["pay"].noise > 0.1
    assert found["pay"].excess < 0.1
    assert {column.verdict for column in found.values()} == {Verdict.STEADY}


def test_what_is_sure_but_tiny_is_small():
    """At a million rows a hundredth of a deviation is beyond chance, and does not matter."""
    edges = tuple(np.linspace(-4, 4, 21).tolist())
    rng = np.random.default_rng(3)
    before = Numbers(edges, 0.0, 2**-13).count(rng.normal(0, 1, 1_000_000))
    now = Numbers(edges, 0.0, 2**-13).count(rng.normal(0.015, 1, 1_000_000))

    drift = compare(
        pooled(Profile({"x": before}, {}, 1_000_000)),
        pooled(Profile({"x": now}, {}, 1_000_000)),
        Rules(),
    )

    assert drift.columns[0].adjusted < 1e-6
    assert drift.columns[0].verdict is Verdict.SMALL
    assert drift.drifted == ()


def _gone(columns):
    columns["city"][:60] = ""


def _sentinel(columns):
    columns["pay"][:50] = 99_999_999.0


def _unknown(columns):
    columns["flag"][:40] = "new"


def _infinite(columns):
    columns["tail"][:40] = np.inf


@pytest.mark.parametrize(
    ("change", "column", "kind"),
    [
        (_gone, "city", "missing"),
        (_sentinel, "pay", "above"),
        (_unknown, "flag", "other"),
        (_infinite, "tail", "above"),
    ],
)
def test_what_a_histogram_blurs_is_tested_exactly(reference, change, column, kind):
    """Missing values, placeholders, unknown categories and infinities in 4 to 6 % of 1,000 rows."""
    columns = cases.world(np.random.default_rng(4), 1000)
    change(columns)

    found = verdicts(reference, columns)

    assert found[column].verdict is Verdict.DRIFT
    assert found[column].tests[kind] < 1e-6
    assert [c.name for c in found.values() if c.verdict is Verdict.DRIFT] == [column]


def test_prediction_drift_is_seen(reference):
    """A feature that moves the model moves its label and probability too."""
    columns = cases.world(np.random.default_rng(5), 1000)
    columns["normal"] = columns["normal"] + 1

    found = verdicts(reference, columns)

    assert {"normal", "label", "probability:yes"} <= {
        c.name for c in found.values() if c.verdict is Verdict.DRIFT
    }
    assert found["label"].role == "prediction"


def test_few_rows_and_columns_that_are_not_kept_get_no_verdict(reference):
    """Under the minimum nothing is judged; dropped features are no missing values."""
    columns = cases.world(np.random.default_rng(6), 150)
    few = verdicts(reference, columns)
    columns = cases.world(np.random.default_rng(6), 500)
    columns["pay"][:] = np.nan
    unkept = verdicts(reference, columns, unkept={"pay"})

    assert {column.verdict for column in few.values()} == {Verdict.FEW}
    assert unkept["pay"].verdict is Verdict.UNKEPT
    assert verdicts(reference, columns)["pay"].verdict is Verdict.DRIFT


def test_a_capture_rate_is_no_more_evidence(reference):
    """A hundred rows at rate 1/100 stand for ten thousand, and tell as much as a hundred."""
    profile = counted(reference, cases.world(np.random.default_rng(7), 300))

    thin, full = (
        compare(pooled(reference), sample([(weight, profile)]), Rules()) for weight in (100.0, 1.0)
    )

    assert thin == full


def test_benjamini_hochberg_is_the_other_correction(reference):
    """Its adjusted p-values are those of the definition, and at most Holm's."""
    columns = cases.world(np.random.default_rng(8), 1000)
    held, found = (verdicts(reference, columns, Rules(correction=c)) for c in ("holm", "bh"))

    assert all(found[name].adjusted <= held[name].adjusted for name in found)
    expected = statistics.benjamini_hochberg(np.array([c.p for c in found.values()]))
    assert [c.adjusted for c in found.values()] == pytest.approx(expected.tolist())


# Seasons


def night(hour: int) -> float:
    return 1.0 if hour < 6 else 0.0


def week(reference: Profile, days, hours, seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for day in days:
        for hour in hours:
            columns = cases.world(rng, 150)
            columns["normal"] = columns["normal"] + night(hour)
            key = Key(f"2026-11-{day:02}T{hour:02}", "churn", "3", "live", 1.0)
            found[key] = Counted(counted(reference, columns), {})
    return found


def test_what_is_so_each_night_is_usual(reference):
    """Nights differ from training, but not from earlier nights; a new shift does from both."""
    before = week(reference, range(2, 9), range(0, 24, 4))
    now = week(reference, [9], (0, 4), seed=1)
    current = sample((1.0, window.profile) for window in now.values())
    usual = seasons.usual(before, now)
    found = compare(pooled(reference), current, Rules(), usual=usual)
    normal = next(column for column in found.columns if column.name == "normal")
    columns = cases.world(np.random.default_rng(9), 300)
    columns["normal"] = columns["normal"] + 2
    other = verdicts(reference, columns, usual=usual)

    assert usual is not None
    assert usual.features["normal"].mean == pytest.approx(1.0, abs=0.1)
    assert normal.verdict is Verdict.USUAL
    assert other["normal"].verdict is Verdict.DRIFT


def test_a_season_needs_each_hour_on_some_earlier_days(reference):
    """Three days before, or the weekday twice; fewer, or other hours, are no season."""
    now = week(reference, [9], (0, 4))

    assert seasons.usual({}, now) is None
    assert seasons.usual(week(reference, [7, 8], (0, 4)), now) is None
    assert seasons.usual(week(reference, [6, 7, 8], (0, 8)), now) is None
    assert seasons.usual(week(reference, [6, 7, 8], (0, 4)), now) is not None
    assert seasons.usual(week(reference, [2, 9], (0, 4)), week(reference, [16], (4,))) is not None


def test_a_season_has_the_mix_of_hours_of_now(reference):
    """Three rows at night to one by day now: earlier nights count three times as much."""
    before = week(reference, (6, 7, 8), (0, 12))
    now = week(reference, [9], (0, 12))
    key = next(iter(now))
    now[key] = Counted(now[key].profile + now[key].profile + now[key].profile, {})

    usual = seasons.usual(before, now)

    assert usual is not None
    assert usual.features["normal"].mean == pytest.approx(0.75, abs=0.12)


def test_slices_are_hours_days_weeks_or_months():
    """There are sixty at most, or months; a week has its Monday's name."""
    hours = [f"2026-11-{day:02}T{hour:02}" for day in range(1, 29) for hour in range(24)]

    assert list(seasons.sliced(hours[:40])) == hours[:40]
    assert list(seasons.sliced(hours)) == [f"2026-11-{day:02}" for day in range(1, 29)]
    quarter = (f"2026-{month:02}-{day:02}T00" for month in (9, 10, 11) for day in range(1, 31))
    assert list(seasons.sliced(quarter))[:2] == ["2026-08-31", "2026-09-07"]
    years = (f"{year}-{month:02}-{day:02}T00" for year in (2000, 2009) for month in range(1, 13)
             for day in range(1, 29))  # fmt: skip
    assert next(iter(seasons.sliced(years))) == "2000-01"


def test_moments_of_pooled_columns_are_those_of_their_rows():
    """Mean and deviation come out of exact sums, whatever the parts."""
    values = np.random.default_rng(10).normal(5, 2, 400)
    bins = Numbers((0.0, 5.0, 10.0), 5.0, 2**-12)
    parts = [Profile({"x": bins.count(part)}, {}, len(part)) for part in np.split(values, [50, 90])]

    found = sample((1.0, part) for part in parts).features["x"]

    assert found.mean == pytest.approx(values.mean(), abs=1e-3)
    assert found.deviation == pytest.approx(values.std(), abs=1e-3)
    assert replace(found, mean=None).rows == 400


def test_histograms_name_their_cells():
    """Numbers have a cell below and above their edges, categories one for others."""
    numbers = histogram(Numbers((0.0, 1.0, 2.5), 0.0, 1.0).count([-1, 0.5, 9, None]))
    words = histogram(Categories(("a", "b")).count(["a", "c", None]))

    assert numbers.names == ("below 0", "0 to 1", "1 to 2.5", "above 2.5")
    assert numbers.counts.tolist() == [1, 1, 0, 1]
    assert [words.names, words.counts.tolist(), words.missing] == [
        ("a", "b", "other"),
        [1, 0, 1],
        1,
    ]
