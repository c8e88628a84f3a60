"""A project's own preprocess and postprocess are proven with the model, and run around it."""

import json
import pickle
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from slim_cases import TOLERANCE, save

from fnmodel.batch.chunk import Read, TextChunk
from fnmodel.batch.score import Scorer
from fnmodel.errors import FnmodelError, InputError, ProcessingError, SlimError
from fnmodel.inference import Predictor
from fnmodel.model import OnnxModel
from fnmodel.processing import Processing
from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Budget, Job, Order
from fnmodel.slim.proof.probe import sample_request

STEPS = """
import math

def preprocess(records):
    made = []
    for record in records:
        if record["height (cm)"] is not None and record["height (cm)"] <= 0:
            raise ValueError("a height is more than 0 cm")
        tall = (record["height (cm)"] or 170) / 100
        made.append({"bmi": record["weight"] / tall**2, "smokes": float(record["smokes"] == "ja")})
    return made

def postprocess(predictions, records):
    return [
        {"risk": "high" if p["label"] else "low", "chance": p["probabilities"]["1"], "id": r["id"]}
        for p, r in zip(predictions, records)
    ]
"""


def _people(count: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"p{i:03}" for i in range(count)],
            "height (cm)": random.normal(172, 9, count).round(),
            "weight": random.normal(75, 12, count).round(1),
            "smokes": random.choice(["ja", "nein"], count),
        }
    )


def _features(people: pd.DataFrame) -> pd.DataFrame:
    bmi = people["weight"] / (people["height (cm)"] / 100) ** 2
    return pd.DataFrame({"bmi": bmi, "smokes": (people["smokes"] == "ja").astype(float)})


def _trained(folder: Path, steps: str = STEPS, people: Any = None) -> tuple[Any, Job]:
    people = _people() if people is None else people
    rows = _features(people)
    labels = (rows["bmi"] + 4 * rows["smokes"] > 27).astype(int)
    model = LogisticRegression().fit(rows, labels)
    source, sample = save(folder, model, people.assign(sick=labels))
    (folder / "steps.py").write_text(steps)
    order = Order(source, sample, "sick", Budget(TOLERANCE), processing=folder / "steps.py")
    return model, Job(order, content_sha256(source), folder / "model")


def _slim(job: Job) -> Predictor:
    assert run(job, lambda _: None).passed
    return Predictor(OnnxModel.load(job.folder).folder)


def test_callers_send_what_preprocess_takes_and_get_what_postprocess_makes(tmp_path: Path) -> None:
    """The whole answers as the original does between the same two functions."""
    model, job = _trained(tmp_path)
    predictor = _slim(job)
    people = _people()

    answers = predictor.predict(people.head(9).to_dict("records"))

    chances = model.predict_proba(_features(people.head(9)))[:, 1]
    assert [a["id"] for a in answers] == people["id"].head(9).tolist()
    assert np.allclose([a["chance"] for a in answers], chances)
    assert [a["risk"] for a in answers] == ["high" if c > 0.5 else "low" for c in chances]
    assert [f.name for f in predictor.signature.asked] == list(people.columns)
    assert predictor.predict([]) == []


def test_the_sample_request_is_what_callers_send(tmp_path: Path) -> None:
    """What `init` writes and `invoke` sends is answered."""
    _, job = _trained(tmp_path)
    predictor = _slim(job)

    body = sample_request(OnnxModel.load(job.folder))

    assert body["records"][0]["id"] == "p000"
    assert len(predictor.predict(json.loads(json.dumps(body))["records"])) == 2


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"id": "x", "height (cm)": -1, "weight": 70, "smokes": "ja"}, "more than 0 cm"),
        ({"id": "x", "height (cm)": 170, "weight": "70", "smokes": "ja"}, "row 0, field 'weight'"),
        ({"id": 1, "height (cm)": 170, "weight": 70, "smokes": "ja"}, "field 'id'"),
        ({"bmi": 20, "smokes": 0}, "bmi"),
        ("text", "row 0"),
    ],
)
def test_a_callers_mistake_is_told_in_words(record: Any, words: str, tmp_path: Path) -> None:
    """Names and types are those of the sample, and a ValueError is for the caller to read."""
    _, job = _trained(tmp_path)

    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        _slim(job).predict([record])


def test_batch_rows_go_through_both(tmp_path: Path) -> None:
    """A column of JSON holds what postprocess answers; a row that preprocess refuses is bad."""
    _, job = _trained(tmp_path)
    names = ["id", "height (cm)", "weight", "smokes"]
    scorer = Scorer(_slim(job), names)
    fields = ["p1", "180", "70.5", "nein", "p2", "-5", "70.5", "nein", "p3", "", "99", "ja"]

    scored = scorer.score(Read(TextChunk(names, [2, 3, 4], ["", "", ""], fields)))

    assert scorer.added == ("prediction",)
    answers = [json.loads(text) for text in scored.predictions[0]]
    assert [a["id"] for a in answers] == ["p1", "p3"]
    assert [(item.line, item.reason) for item in scored.bad] == [(3, "a height is more than 0 cm")]


BROKEN = {
    "import nothing_like_this": (ProcessingError, "import of processing.py failed, line 1"),
    "x = 1": (ProcessingError, "neither preprocess nor postprocess"),
    "def preprocess(records):\n    return records[:1]": (ProcessingError, "returned 1 for 120"),
    "def preprocess(records):\n    return None": (ProcessingError, "returned a NoneType"),
    "def preprocess(records):\n    return [1 for _ in records]": (ProcessingError, "list of dicts"),
    "def preprocess(records):\n    return records[0]['none']": (ProcessingError, "2: KeyError"),
    STEPS.replace("        made.append", "        tall += len(records)\n        made.append"): (
        SlimError, "depends on other rows",
    ),
    STEPS + "\nimport random\nold = postprocess\n"
    "def postprocess(p, r):\n    return [{'x': random.random()} for _ in r]": (
        SlimError, "is answered",
    ),
    STEPS + "\ndef postprocess(p, r):\n    return [{'x': {1, 2}} for _ in r]": (
        SlimError, "JSON cannot carry",
    ),
    "def preprocess(records):\n    return [{'bmi': 1j, 'smokes': 0} for _ in records]": (
        SlimError, "no feature",
    ),
    "def preprocess(records):\n    return [{'bmi': 1.0} for _ in records]": (
        SlimError, "smokes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("steps", BROKEN)
def test_what_is_wrong_with_the_file_is_found_before_it_is_deployed(
    steps: str, tmp_path: Path
) -> None:
    """The error names the function and the line."""
    kind, words = BROKEN[steps]
    _, job = _trained(tmp_path, steps)

    with pytest.raises(kind, match=words) as caught:
        run(job, lambda _: None)
    assert isinstance(caught.value, FnmodelError)


def test_without_a_sample_there_is_nothing_to_prove(tmp_path: Path) -> None:
    """What callers send is known from the sample alone."""
    _, job = _trained(tmp_path)
    order = Order(job.order.source, None, processing=job.order.processing)

    with pytest.raises(SlimError, match="rows as callers send them"):
        run(Job(order, job.sha256, job.folder), lambda _: None)


def test_several_models_have_steps_of_their_own(tmp_path: Path) -> None:
    """Each file is a module of its own, which annotations and pickles of its classes find."""
    loaded = {}
    for name, kind in (("early", "int"), ("late", "str")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "processing.py").write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            f"Kind = {kind}\n@dataclass\nclass Row:\n    x: Kind\n"
            "def preprocess(records):\n    return [vars(Row(**r)) for r in records]\n"
        )
        loaded[name] = Processing.load(tmp_path / name)

    for name, kind in (("early", int), ("late", str)):
        processing = loaded[name]
        assert processing is not None
        assert processing.preprocess is not None
        row = processing.preprocess.__globals__["Row"]
        assert get_type_hints(row) == {"x": kind}
        assert pickle.loads(pickle.dumps(row(1))) == row(1)
