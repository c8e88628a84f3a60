"""The model card says what is stored of a release, and of the rest that it is missing, and why."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import watch_cases as cases
from browser import CHROMIUM, browser
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from slim_cases import convert, save

from fnmodel.__main__ import run
from fnmodel.card import document, page
from fnmodel.card.facts import Facts, Limits, Usage
from fnmodel.histogram import Categories
from fnmodel.model import OnnxModel
from fnmodel.pages import frame
from fnmodel.profile import Profile, read_reference

IMAGE = {
    "image": "host/fnmodel/iris@sha256:aa", "digest": "sha256:aa", "size": 35_000_000,
    "architecture": "amd64", "python": "3.13", "base": None, "model": "m", "models": {"iris": "m"},
    "lock": "sha256:bb", "requirements": None, "fnmodel": "0.9", "entrypoint": [],
    "layers": [{"created_by": "model", "digest": "sha256:cc", "diff_id": "d", "size": 900}],
    "signature": {"state": "verified", "key": "SHA256:k", "reason": "", "sbom": "sha256:dd"},
    "sbom": {"digest": "sha256:dd", "components": {"library": 33}, "licenses": {"MIT": 20},
             "complete": True, "signed": True},
}  # fmt: skip
GATES = [
    {"kind": "metric", "name": "accuracy", "value": 0.97, "low": 0.93, "high": 0.99,
     "threshold": {"at_least": 0.9, "at_most": None, "judge": "bound"}, "passed": True,
     "reason": "", "judged": True, "champion": None, "groups": []},
    {"kind": "fairness", "name": "equal_opportunity_difference by site", "value": 0.31,
     "low": None, "high": None, "threshold": {"at_least": None, "at_most": 0.2, "judge": "point"},
     "passed": False, "reason": "", "judged": True, "champion": None,
     "groups": [{"name": "north", "rows": 71, "rates": {"true_positive_rate": 0.61},
                 "positives": 9, "negatives": 62, "unjudged": ""}]},
]  # fmt: skip
RECORD = {"time": "2026-11-20T08:15:00Z", "action": "promote", "result": "done", "version": "7",
          "who": "eve", "reason": "looks good"}  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Facts:
    """Return what is known of a model that was converted, and nothing else."""
    folder = tmp_path_factory.mktemp("card")
    rows, target = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=500).fit(rows, target)
    file, sample = save(folder, model, rows[:100])
    report = convert(folder, file, sample)
    parity = json.loads(json.dumps(report.to_json()))
    made = OnnxModel.load(folder / "model")
    return Facts(
        "iris", "2026-11-27T08:00:00+00:00", made.signature, made.digest, made.size, parity,
        Limits(1769, 60), read_reference(made.folder),
        missing={"image": "nothing is packed", "releases": "no credentials", "drift": "none yet"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(bare) -> Facts:
    """Return the same with an image, gates, history, and the words of its people."""
    said = {"overview": "Tells irises apart.", "owners": ["bo@example.com"], "license": "MIT",
            "use_cases": ["Botany"], "training_data": "Anderson, 1936."}  # fmt: skip
    return replace(
        bare,
        parity={**bare.parity, "gates": GATES},
        image=IMAGE,
        releases=[RECORD],
        traffic="version 7, 100% of requests in prod",
        usage=Usage("https://x.example/predict", "public", "curl -s 'https://x.example' -d '{}'"),
        said=said,
        missing={},
    )


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_what_is_stored_stands_in_its_section(whole):
    """Each fact is on the page: gates with intervals, groups, image, signature, history."""
    text = words(page.render(whole))

    for fact in (
        "Tells irises apart.", "bo@example.com", "Anderson, 1936.", "0.93 to 0.99", "≥ 0.9",
        "north 71 0.61", "answers as the original", "sha256:aa", "verified by SHA256:k",
        "33 library", "MIT 20", "2026-11-20 08:15 promote done 7 eve looks good", "1,769 MB",
        "curl -s", "petal length (cm)",
    ):  # fmt: skip
        assert fact in text, fact
    assert "a gate failed" in text


def test_what_is_missing_is_said_and_not_invented(bare):
    """Parts that are not there name the reason; none is left out, and no figure stands for it."""
    text = words(page.render(bare))

    for fact in (
        "No image: nothing is packed.", "No history: no credentials.", "No report: none yet.",
        "No gate: `gates:`", "No groups were compared", "Not said: `card.use_cases`",
        "not released",
    ):  # fmt: skip
        assert fact in text, fact
    assert text.count("sha256:") == 3  # the model twice, the trained file; no image


def test_without_a_sample_there_is_no_profile(bare):
    """The data section says so, and the JSON has null."""
    facts = replace(bare, reference=None, missing={"reference": "there was no sample"})

    assert "there was no sample" in page.render(facts)
    assert document.to_json(facts)["model_parameters"]["data"] is None


def test_json_speaks_the_words_of_the_schema(whole):
    """Google's schema has its four parts, the hub its metadata; all of it is plain data."""
    data = json.loads(json.dumps(document.to_json(whole)))

    assert data["model_details"]["owners"] == [{"name": "bo@example.com"}]
    metrics = data["quantitative_analysis"]["performance_metrics"]
    gate = next(one for one in metrics if one["type"] == "accuracy" and "threshold" in one)
    assert gate["confidence_interval"] == {"lower_bound": 0.93, "upper_bound": 0.99}
    assert {"type": "true_positive_rate", "value": 0.61, "slice": "north"} in metrics
    assert data["considerations"]["use_cases"] == [{"description": "Botany"}]
    assert data["huggingface"]["pipeline_tag"] == "tabular-classification"
    assert data["huggingface"]["license"] == "mit"
    assert data["image"] == IMAGE
    assert data["model_parameters"]["data"][0]["profile"]["rows"] == 100


def wide(bare, count):
    """Return a card of so many features, whose names and categories are hostile."""
    evil = "</title><script>alert(1)</script>'\"&"
    numbers = cases.trained(cases.world(np.random.default_rng(0), 2000)).features["normal"]
    texts = Categories((evil, "b"), counts=(7, 9))
    features = {f"{evil}{i}": texts if i % 9 == 0 else numbers for i in range(count)}
    return replace(bare, name=evil, reference=Profile(features, {}, 2000))


def test_fifty_hostile_features_are_small_and_stay_text(bare):
    """≤ 300 kB; nothing runs but the search; no address is asked."""
    text = page.render(wide(bare, 50))

    assert len(text.encode()) <= 300_000
    assert text.count("<script") == 1
    assert f"<script>{frame.SCRIPT}</script>" in text
    assert not re.search(r"src=|url\(|href='?http", text)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_card_opens_from_a_file_and_is_searched(bare, tmp_path):
    """Two hundred features: twelve are seen, a search shows any; the page asks for nothing."""
    file = tmp_path / "card.html"
    file.write_text(page.render(wide(bare, 200)), "utf-8")
    shown = (
        "[...document.querySelectorAll('tr[data-name]')].filter((r) => r.checkVisibility()).length"
    )

    with browser(tmp_path / "profile") as tab:
        tab.open(file.as_uri())
        assert tab.value(shown) == 12
        tab.value(
            "(() => { const field = document.querySelector('.search input');"
            "field.value = '&177'; field.dispatchEvent(new Event('input')) })()"
        )
        assert tab.value(shown) == 1
        heads = "document.querySelectorAll('th:not([scope])').length"
        assert tab.value(heads) == 0
        assert tab.value("document.querySelectorAll('svg:not([role=img])').length") == 0
        assert tab.value("document.documentElement.scrollWidth <= innerWidth")
        assert tab.complaints == []
        assert [url for url in tab.asked if not url.startswith("file:")] == []


def test_drift_is_told_with_its_span(bare):
    """The last report's verdict, its rows and what drifted; few rows are not quiet."""
    column = {"name": "age", "role": "feature", "verdict": "drift", "excess": 0.3,
              "wasserstein": 0.7}  # fmt: skip
    drift = {"alarms": ["age drifted"], "rows": 360, "versions": {"7": 360},
             "question": {"since": "2026-11-27T00:00", "until": "2026-11-28T00:00", "name": "iris"},
             "drift": {"columns": [column]}}  # fmt: skip
    few = {**drift, "alarms": [], "drift": {"columns": [{**column, "verdict": "few"}]}}

    assert "age feature 0.3 0.7" in words(page.render(replace(bare, drift=drift)))
    assert "too few rows to say" in page.render(replace(bare, drift=few))


def test_a_model_that_cannot_be_read_has_no_card(tmp_path, monkeypatch, capsys):
    """The error is that of `slim`, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path / "home"))
    (tmp_path / "fnmodel.yaml").write_text("name: churn\nmodel: model.joblib\nstage: local\n")
    (tmp_path / "model.joblib").write_bytes(b"no model")

    assert run(["card", "--packed"]) == 1
    assert "model.joblib" in capsys.readouterr().err
    assert not (tmp_path / "card.html").exists()
