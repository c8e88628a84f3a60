"""The trend follows each column over stored windows; its page says since when, and what to do."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import watch_cases as cases
from browser import CHROMIUM, browser

from fnmodel.model import Feature, Signature, Tensor
from fnmodel.pages import frame
from fnmodel.profile import Profile
from fnmodel.slim.quality import reference as referring
from fnmodel.watch import advice, seasons, trend_page
from fnmodel.watch.columns import Counted
from fnmodel.watch.drift import Rules, Verdict
from fnmodel.watch.performance import Evidence, Question
from fnmodel.watch.rows import read
from fnmodel.watch.trend import trend
from fnmodel.watch.windows import Key, from_lines, pooled, to_lines, windows

ASKED = Question("2026-11-08T00:00", "2026-11-28T00:00", "churn", group="flag")


@pytest.fixture(scope="module")
def reference() -> Profile:
    return cases.trained(cases.world(np.random.default_rng(0), 4000))


def story(shift=0.6):
    """Return captured lines of four weeks and their labels: version 4 comes on the 20th, shifted.

    Each day `age` is higher at ten o'clock.
    """
    rng = np.random.default_rng(1)
    lines, known = [], {}
    for day in range(1, 28):
        late = day >= 20
        for hour in (8, 10):
            columns = cases.world(rng, 150)
            columns["age"] = columns["age"] + (30.0 if hour == 10 else 0.0)
            columns["normal"] = columns["normal"] + (shift if late else 0.0)
            made = cases.lines(
                columns, hour=f"2026-11-{day:02}T{hour:02}", version="4" if late else "3"
            )
            true = np.where(rng.random(150) < cases.scores(columns)[:, 1], "yes", "no").tolist()
            known |= dict(zip((row.id for row in read(made).rows), true, strict=True))
            lines += made
    return read(lines).rows, known


@pytest.fixture(scope="module")
def told(reference):
    rows, known = story()
    found = windows(rows, reference, cases.SIGNATURE)
    now = [row for row in rows if row.time >= ASKED.since]
    before = [row for row in rows if row.time < ASKED.since]
    evidence = Evidence(now, before, reference, cases.SIGNATURE, ASKED, known)
    return trend(found, reference, cases.SIGNATURE, ASKED, evidence)


def course(found, name):
    return next(one for one in found.courses if one.name == name)


def test_a_column_has_drifted_since_the_day_on_which_it_began(told):
    """The steps are days; the run without a break until now begins with version 4."""
    one = course(told, "normal")

    assert [step.time for step in told.steps[:2]] == ["2026-11-08", "2026-11-09"]
    assert told.steps[one.since].time == "2026-11-20"
    assert set(one.verdicts[: one.since]) <= {Verdict.STEADY, Verdict.SMALL}
    assert min(one.reach[one.since :]) >= 1
    assert told.began == {12: ("4",)}
    assert any(line.startswith("normal has drifted since 2026-11-20") for line in told.alarms)


def test_what_was_so_at_these_hours_before_is_no_alarm(told):
    """`age` is out of training's range each day at ten: usual, and a season of the hour."""
    assert course(told, "age").state is Verdict.USUAL
    assert "age" in told.seasons["hour"]
    assert not any(line.startswith("age") for line in told.alarms)
    assert max(told.seasons["hour"]["age"][8:11:2]) > 0.05


def test_advice_names_the_version_and_the_season(told):
    """What to do begins with what drifted, and says what coincides."""
    lines = advice.next_steps(told)

    assert any("normal has drifted" in line and "began with version 4" in line for line in lines)
    assert any("lacks them" in line and "age" in line for line in lines)


def test_stored_windows_alone_tell_the_same_drift(told, reference):
    """What is read back from lines gives the same courses, and the accuracy that scores promise."""
    rows, _ = story()
    found = windows(rows, reference, cases.SIGNATURE)
    lines, left_out = to_lines(found)

    alone = trend(from_lines(lines), reference, cases.SIGNATURE, ASKED)

    assert left_out == 0
    assert alone.courses == told.courses
    assert [step.realised for step in alone.steps] == [None] * len(alone.steps)
    for one, other in zip(alone.steps, told.steps, strict=True):
        assert one.estimated == pytest.approx(other.estimated, abs=0.05)
    assert "No rows of these groups" in trend_page.render(alone)


def test_accuracy_of_windows_is_exactly_that_of_their_rows(reference):
    """The margin's exact sum gives the mean of the likelier class's probability."""
    from fnmodel.watch.estimate import from_windows

    columns = cases.world(np.random.default_rng(5), 1000)
    found = windows(read(cases.lines(columns)).rows, reference, cases.SIGNATURE)
    best = cases.scores(columns).max(axis=1)

    made = from_windows(pooled(found))

    assert made.figures["accuracy"] == pytest.approx(best.mean(), abs=1e-5)
    assert made.spread == pytest.approx(np.sqrt((best * (1 - best)).mean() / 1000), rel=1e-3)


def test_groups_and_figures_come_with_rows(told):
    """Each step has what came true, and positive answers by group."""
    step = told.steps[-1]

    assert step.realised.rows == 300
    assert [group.name for group in step.groups] == ["w000", "w001"]
    assert step.groups[0].selected.rows + step.groups[1].selected.rows == 300
    assert told.learned == 2100


def test_what_lasts_stays_an_alarm(reference):
    """Weeks after a column moved, the same hours before are as they are; it has drifted still."""
    rng = np.random.default_rng(9)
    lines = []
    for day in range(1, 29):
        columns = cases.world(rng, 250)
        columns["normal"] = columns["normal"] + (0.6 if day >= 8 else 0.0)
        lines += cases.lines(columns, hour=f"2026-11-{day:02}T08")
    found = windows(read(lines).rows, reference, cases.SIGNATURE)
    question = Question("2026-11-01T00:00", "2026-11-29T00:00")

    one = course(trend(found, reference, cases.SIGNATURE, question), "normal")

    assert [one.state, one.since] == [Verdict.DRIFT, 7]


def test_quiet_weeks_are_quiet(reference):
    """A world that stays has no alarm and nothing to do."""
    rng = np.random.default_rng(7)
    lines = []
    for day in range(8, 22):
        lines += cases.lines(cases.world(rng, 300), hour=f"2026-11-{day:02}T08")
    found = windows(read(lines).rows, reference, cases.SIGNATURE)

    calm = trend(found, reference, cases.SIGNATURE, replace(ASKED, group=None))

    assert calm.alarms == ()
    assert advice.next_steps(calm) == []
    assert ">quiet<" in trend_page.render(calm)
    assert trend({}, reference, cases.SIGNATURE, ASKED) is None


def test_steps_are_as_long_as_it_takes_to_judge(reference):
    """Hours of few rows are taken by day; where no length is enough, nobody can say."""
    empty = Counted(Profile.empty_like(reference), {})

    def hours(rows):
        one = replace(empty, profile=replace(empty.profile, rows=rows))
        return {Key(f"2026-11-{day:02}T{hour:02}", "m", "1", "live", 1.0): one
                for day in (8, 9) for hour in range(10)}  # fmt: skip

    assert len(seasons.judgeable(hours(200), 200)) == 20
    assert len(seasons.judgeable(hours(20), 200)) == 2
    assert len(seasons.judgeable(hours(1), 200)) == 20
    lines = cases.lines(cases.world(np.random.default_rng(8), 60), hour="2026-11-09T08")
    few = windows(read(lines).rows, reference, cases.SIGNATURE)
    rendered = trend_page.render(trend(few, reference, cases.SIGNATURE, ASKED))
    assert ">too few rows<" in rendered
    assert "no step has the 200 rows" in rendered


def test_json_says_the_same(told):
    """It is plain data with a schema, every figure of every step among it."""
    data = json.loads(json.dumps(told.to_json()))

    assert [data["schema"], data["alarms"]] == [1, list(told.alarms)]
    assert data["began"] == {"12": ["4"]}
    assert data["steps"][0]["drift"]["columns"][0]["excess"] is not None


def wide(count):
    """Return a trend of so many features over sixty days, every tenth of which drifts."""
    rng = np.random.default_rng(3)
    evil = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    names = [f"{evil}{i}" for i in range(count)]
    signature = Signature(
        "classification",
        tuple(Tensor(name, "FP64", (-1, 1)) for name in names),
        (Tensor("label", "BYTES", (-1,)), Tensor("scores", "FP64", (-1, 2))),
        tuple(Feature(name, "FP64") for name in names),
        (evil, "yes"), "label", "scores",
    )  # fmt: skip

    def world(rows, shift):
        scores = rng.dirichlet([1, 1], rows)
        said = np.array([evil, "yes"], dtype=object)[scores.argmax(axis=1)]
        columns = {
            name: rng.normal(shift if i % 10 == 0 else 0.0, 1, rows) for i, name in enumerate(names)
        }
        return columns, {"label": said, "scores": scores}

    made = referring.build(*world(2000, 0.0), signature)
    from fnmodel.profile import answer_columns

    found = {}
    for day in range(60):
        columns, answers = world(250, 0.7 if day >= 30 else 0.0)
        counted = Profile.empty_like(made).count(columns, answer_columns(signature, answers))
        key = Key(f"2026-{9 + day // 30:02}-{day % 30 + 1:02}T08", evil, evil, "live", 1.0)
        found[key] = Counted(counted, {})
    question = Question("2026-09-01T00:00", "2026-11-01T00:00", evil, rules=Rules(draws=0))
    return trend(found, made, signature, question)


def test_page_of_fifty_hostile_features_is_small_and_stays_text():
    """Names are text wherever they stand; ≤ 300 kB for sixty steps; only the search runs."""
    found = wide(50)

    text = trend_page.render(found)

    assert len(found.drifted) == 5
    assert len(text.encode()) <= 300_000
    assert text.count("<script") == 1
    assert f"<script>{frame.SCRIPT}</script>" in text
    assert "<img" not in text
    assert not re.search(r"(?:https?:)?//|src=\w|url\(|javascript:", text.replace("src=x", ""))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_two_hundred_features_are_searched_in_a_browser(tmp_path):
    """The page opens from `file://`; the search hides what has another name and opens the fold."""
    file = tmp_path / "trend.html"
    file.write_text(trend_page.render(wide(200)), "utf-8")
    shown = (
        "[...document.querySelectorAll('tr[data-name]')].filter((r) => r.checkVisibility()).length"
    )

    with browser(tmp_path / "profile") as page:
        page.open(file.as_uri())
        assert page.value("document.title").startswith("Trend of </title>")
        assert page.value(shown) == 20
        page.value(
            "(() => { const field = document.querySelector('.search input');"
            "field.value = '>\"\\'&133'; field.dispatchEvent(new Event('input')) })()"
        )
        assert page.value(shown) == 1
        assert page.value("document.querySelector('.search output').textContent") == "1 of 203"
        assert page.value("document.querySelectorAll('svg:not([role=img]), img').length") == 0
        assert page.complaints == []
        assert [url for url in page.asked if not url.startswith("file:")] == []
