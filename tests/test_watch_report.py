"""The report says what is to be looked at; its page opens anywhere and runs nothing."""

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import watch_cases as cases
from test_capture_bucket import BUCKET, NOON, s3  # noqa: F401 - a fixture

from fnmodel.__main__ import run
from fnmodel.cli import labelled
from fnmodel.model import REFERENCE, SIGNATURE, Feature, Signature, Tensor
from fnmodel.pages import frame
from fnmodel.profile import Profile, read_reference
from fnmodel.slim.quality import reference as referring
from fnmodel.watch import page
from fnmodel.watch.performance import Question
from fnmodel.watch.quality import Traffic, findings
from fnmodel.watch.report import report
from fnmodel.watch.rows import Reading, Row, read
from fnmodel.watch.windows import to_lines, windows

DAY = "2026-11-27"


@pytest.fixture(scope="module")
def reference() -> Profile:
    return cases.trained(cases.world(np.random.default_rng(0), 3000))


def days(shift: float = 0.0, lies: float = 0.0) -> tuple[list[bytes], dict[str, str]]:
    """Return lines of eight days, the last one shifted; and labels, of which it has lies."""
    rng = np.random.default_rng(1)
    lines: list[bytes] = []
    known: dict[str, str] = {}
    for day in range(20, 28):
        for hour in (8, 9, 10):
            columns = cases.world(rng, 120)
            if day == 27:
                columns["normal"] = columns["normal"] + shift
            made = cases.lines(columns, hour=f"2026-11-{day}T{hour:02}", rate=0.5)
            yes = cases.scores(columns)[:, 1]
            true = rng.random(120) < yes
            if day == 27:
                true ^= rng.random(120) < lies
            names = np.where(true, "yes", "no").tolist()
            known |= {row.id: names[int(row.id.rpartition("-")[2][:-2])] for row in read(made).rows}
            lines += made
    return lines, known


def made(reference, lines, known=None, **more):
    question = Question(f"{DAY}T00:00", f"{DAY}T12:00:00", "churn", **more)
    return report(read(lines), reference, cases.SIGNATURE, question, known)


@pytest.fixture(scope="module")
def quiet(reference):
    lines, known = days()
    return made(reference, lines, known, group="flag")


@pytest.fixture(scope="module")
def moved(reference):
    lines, known = days(shift=0.6, lies=0.35)
    return made(reference, lines, known, group="flag")


def test_a_quiet_day_is_quiet(quiet):
    """Same world, no alarm, and the page says so; estimate and truth agree."""
    assert quiet.alarms == ()
    assert quiet.seasonal
    estimated, came = quiet.performance.estimated, quiet.performance.interval
    assert came.low - 0.03 <= estimated.figures["accuracy"] <= came.high + 0.03
    assert ">quiet<" in page.render(quiet)


def test_too_few_rows_are_not_taken_for_quiet(reference):
    """A report of a hundred rows has no alarm, and says that nobody can say."""
    few = cases.lines(cases.world(np.random.default_rng(3), 100), hour=f"{DAY}T11")
    rendered = page.render(made(reference, few))

    assert ">quiet<" not in rendered
    assert ">too few rows<" in rendered
    assert "no column has the 200 rows" in rendered


def test_a_day_that_moved_says_what_and_how_far(moved):
    """The feature and what it moves are named, and that errors became more frequent."""
    assert {"normal drifted", "probability:yes drifted"} <= set(moved.alarms)
    assert any(line.startswith("accuracy is") for line in moved.alarms)
    assert moved.separated
    assert moved.separation.terms[0][0] == "normal"
    assert [one.inside for one in moved.slices[-3:]] == [True] * 3
    assert moved.slices[-1].effects["feature:normal"] > 0.1
    assert [group.name for group in moved.performance.groups] == ["w000", "w001"]
    assert moved.performance.groups[0].earlier is not None


def test_numbers_stand_for_the_rows_at_the_rate(moved):
    """360 rows captured at one half stand for 720."""
    assert [moved.rows, moved.represents] == [360, 720]
    assert moved.versions == {"3": 360}
    assert moved.performance.labelled == 360


def test_json_says_the_same_as_the_page(moved):
    """It is plain data with a schema; the alarms come first."""
    data = json.loads(json.dumps(moved.to_json()))

    assert [data["schema"], data["alarms"]] == [1, list(moved.alarms)]
    assert data["drift"]["columns"][0]["verdict"] == "drift"
    assert data["question"]["rules"]["alpha"] == 0.01


def test_no_rows_are_no_report(reference):
    """A window without rows is nothing to judge."""
    assert made(reference, []) is None


def test_page_shows_the_figures_and_runs_nothing(moved):
    """There is no script, no address and no source; the policy allows its own style alone."""
    text = page.render(moved)

    assert not re.search(r"<script|(?:https?:)?//|src=|url\(|javascript:| on\w+=", text)
    assert "default-src 'none'; style-src 'sha256-" in text
    for words in ("things to look at", "Over time", "adwin", "By flag", "normal with", "PSI"):
        assert words in text or words in {"adwin", "normal with"}
    assert text.count("<details id=") == sum(c.psi is not None for c in moved.drift.columns)


def test_page_of_fifty_hostile_features_is_small_and_stays_text():
    """Names of features, categories and classes are text wherever they stand; ≤ 300 kB."""
    rng = np.random.default_rng(2)
    evil = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    names = [f"{evil}{i}" for i in range(50)]
    signature = Signature(
        "classification",
        tuple(Tensor(name, "BYTES" if i % 10 == 0 else "FP64", (-1, 1)) for i, name in
              enumerate(names)),
        (Tensor("label", "BYTES", (-1,)), Tensor("scores", "FP64", (-1, 2))),
        tuple(Feature(name, "BYTES" if i % 10 == 0 else "FP64") for i, name in enumerate(names)),
        (evil, "yes"), "label", "scores",
    )  # fmt: skip

    def world(rows, shift):
        words = np.array([f"{evil}{k}" for k in range(20)], dtype=object)
        return {
            name: rng.choice(words, rows) if i % 10 == 0 else rng.normal(shift, 1, rows)
            for i, name in enumerate(names)
        }

    scores = rng.dirichlet([1, 1], 2000)
    said = np.array([evil, "yes"], dtype=object)[scores.argmax(axis=1)]
    reference = referring.build(world(2000, 0.0), {"label": said, "scores": scores}, signature)
    rows = []
    for day in range(1, 29):
        columns = world(60, 0.8 if day >= 15 else 0.0)
        rows += [
            Row(f"{day}-{i}/0", f"2026-11-{day:02}T08:00:00", "m", evil, "live", 1.0,
                {name: column[i] for name, column in columns.items()},
                {"label": said[i], "probabilities": {evil: scores[i, 0], "yes": scores[i, 1]}})
            for i in range(60)
        ]  # fmt: skip
    question = Question("2026-11-15T00:00", "2026-11-29T00:00", evil, group=names[0])
    found = report(Reading(tuple(rows)), reference, signature, question)

    text = page.render(found)

    assert len(found.drift.drifted) == 45
    assert len(text.encode()) <= 300_000
    assert text.count("<script") == 1
    assert f"<script>{frame.SCRIPT}</script>" in text
    assert "<img" not in text


# The data as data


def test_a_regressor_has_its_error_estimated_and_compared(reference):
    """MAE is estimated where earlier rows have labels; a worse one is an alarm."""
    signature = replace(
        cases.SIGNATURE, task="regression", outputs=(Tensor("y", "FP64", (-1, 1)),),
        classes=(), label=None, scores=None,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    rows, known = [], {}
    for i in range(3000):
        x = float(rng.normal())
        late = i >= 2400
        row = Row(f"r{i}/0", f"2026-11-{27 if late else 26}T08:{i % 60:02}", "m", "1", "live", 1.0,
                  {"normal": x}, {"value": 3 * x})  # fmt: skip
        rows.append(row)
        known[row.id] = 3 * x + float(rng.normal()) * (2.0 if late else 1.0)
    own = Profile(
        {"normal": reference.features["normal"]},
        {"value": referring.number_bins(np.array([row.prediction["value"] for row in rows]))},
    )

    found = report(
        Reading(tuple(rows)), own, signature, Question(f"{DAY}T00:00", f"{DAY}T12:00"), known
    )

    assert found.performance.estimated.figures["mae"] == pytest.approx(0.8, rel=0.15)
    assert found.performance.realised["mae"] == pytest.approx(1.6, rel=0.15)
    assert any(line.startswith("mae is 1.") for line in found.alarms)
    assert "mae, realised" in page.render(found)


def test_types_gaps_and_volume_are_findings(reference):
    """Values of another type, silence and a hundredth of the rows are said in words."""
    lines, _ = days()
    found = made(reference, [line.replace(b'\\"age\\":', b'\\"age\\":\\"x\\",\\"old\\":')
                             if b"T10:" in line else line for line in lines])  # fmt: skip
    schema = [one for one in found.findings if one.rule == "schema"]

    assert [one.text for one in schema] == ["age: 120 of 360 values are of another type"]
    assert schema[0].serious

    rows = read(lines).rows
    now = windows(
        [replace(row, time=f"{DAY}T08:00") for row in rows[:40]], reference, cases.SIGNATURE
    )
    before = windows(
        [replace(row, time=f"2026-11-26T{i % 24:02}:00") for i, row in enumerate(rows)],
        reference, cases.SIGNATURE,
    )  # fmt: skip
    few = findings(Traffic(f"{DAY}T00:00", f"{DAY}T23:00:00", now, {}, 3), found.question.rules)
    assert [one.rule for one in few] == ["freshness", "unreadable"]
    rules = found.question.rules
    thin = {key: replace(one, profile=replace(one.profile, rows=2)) for key, one in now.items()}
    (volume,) = findings(Traffic(f"{DAY}T00:00", f"{DAY}T09:00:00", thin, before, 0), rules)
    assert volume.rule == "volume"
    assert volume.text == "4 rows an hour, where 240 are usual"


# Commands


@pytest.fixture
def project(tmp_path, reference, monkeypatch):
    """Return a folder with fnmodel.yaml, a model directory, rows and labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path / "home"))
    (tmp_path / "fnmodel.yaml").write_text("name: churn\nmodel: model.joblib\nstage: local\n")
    (tmp_path / "model.joblib").touch()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / REFERENCE).write_bytes(reference.to_bytes())
    (folder / SIGNATURE).write_text(json.dumps(cases.SIGNATURE.to_json()))
    lines, known = days(shift=0.6)
    (tmp_path / "rows.jsonl").write_bytes(b"".join(lines))
    text = "".join(f"{key},{label}\n" for key, label in known.items())
    (tmp_path / "labels.csv").write_text(f"id,label\n{text}")
    return tmp_path


def test_report_of_a_file_writes_page_and_json(project, capsys):
    """`fnmodel watch report --rows` needs no cloud; `--check` exits with 4."""
    command = ["watch", "report", "--rows", "rows.jsonl", "--labels", "labels.csv", "--folder",
               "model", "--group", "flag"]  # fmt: skip

    assert run([*command, "--output", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert "normal drifted" in data["alarms"]
    assert json.loads((project / "drift.json").read_text()) == data
    assert (project / "drift.html").read_text().startswith("<!doctype html>")
    assert run([*command, "--check"]) == 4
    assert "normal drifted" in capsys.readouterr().err


def test_trend_of_a_file_writes_page_and_json(project, capsys):
    """`fnmodel watch trend --rows` follows days; stored windows alone give the same columns."""
    command = ["watch", "trend", "--folder", "model", "--since", "2026-11-22",
               "--until", "2026-11-28", "--output", "json"]  # fmt: skip
    more = ["--rows", "rows.jsonl", "--labels", "labels.csv", "--group", "flag"]

    assert run([*command, *more]) == 0
    data = json.loads(capsys.readouterr().out)

    assert json.loads((project / "trend.json").read_text()) == data
    assert (project / "trend.html").read_text().startswith("<!doctype html>")
    assert "normal has drifted since 2026-11-27" in data["alarms"]
    assert data["steps"][-1]["groups"][0]["selected"]["rows"] > 100
    assert run([*command, *more, "--check"]) == 4
    rows = read((project / "rows.jsonl").read_bytes().splitlines()).rows
    kept, _ = to_lines(windows(rows, read_reference(project / "model"), cases.SIGNATURE))
    (project / "windows.jsonl").write_bytes(b"".join(kept))
    capsys.readouterr()
    assert run([*command, "--windows", "windows.jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["courses"] == data["courses"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--rows", "none.jsonl"], "No such file"),
        (["--rows", "fnmodel.yaml"], "holds no captured row"),
        (["--rows", "rows.jsonl", "--group", "colour"], "there is no feature colour"),
        (["--rows", "rows.jsonl", "--folder", "."], "is no model directory"),
        (["--rows", "rows.jsonl", "--since", "2027-01-01"], "is not before --until"),
        (["--rows", "rows.jsonl", "--version", "9"], "no captured row is from"),
    ],
)
def test_a_report_that_cannot_be_made_says_why(project, capsys, more, words):
    """A mistake is an error with a way out, and no page is written."""
    model = [] if "--folder" in more else ["--folder", "model"]
    assert run(["watch", "report", *model, *more]) in {1, 2}
    assert words in capsys.readouterr().err
    assert not (project / "drift.html").exists()


def test_status_counts_rows_by_version(project, capsys):
    """Rows, what they stand for, and the newest."""
    assert run(["watch", "status", "--rows", "rows.jsonl", "--since", "3h", "-o", "json"]) == 0

    (version,) = json.loads(capsys.readouterr().out)["versions"]

    told = [version[name] for name in ("model", "version", "alias", "rows")]
    assert told == ["churn", "3", "live", 360]
    assert version["represents"] == 720


def test_labels_are_kept_and_the_latest_is_true(s3):  # noqa: F811
    """Two files of labels in the bucket: the later one corrects the earlier."""
    labelled.put(s3, BUCKET, {"r1/0": "yes", "r2/0": "no"}, NOON)
    key = labelled.put(s3, BUCKET, {"r1/0": "no"}, NOON.replace(hour=13))

    assert key.startswith("labels/2026/11/27/130000-")
    assert labelled.get(s3, BUCKET) == {"r1/0": "no", "r2/0": "no"}


def test_page_reads_in_a_browser(moved, tmp_path):
    """Headless Chromium opens the page from `file://` and shows its words, light and dark."""
    import shutil

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    file = tmp_path / "drift.html"
    file.write_text(page.render(moved), "utf-8")
    common = [browser, "--headless", "--no-sandbox", "--disable-gpu",
              f"--user-data-dir={tmp_path}/profile"]  # fmt: skip
    dom = subprocess.run(
        [*common, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120,
        check=True,
    ).stdout  # fmt: skip

    assert "What to look at" in dom
    assert dom.count("<svg") == page.render(moved).count("<svg")
