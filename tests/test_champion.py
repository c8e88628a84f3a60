"""A new model is held against what serves, on the same rows, as callers would ask both."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from slim_cases import convert

from fnmodel.cli.champion import compare
from fnmodel.errors import GateError, QualityError, SlimError
from fnmodel.inference import Predictor
from fnmodel.model import OnnxModel
from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Job, Order
from fnmodel.slim.quality import judged
from fnmodel.slim.quality.gates import ChampionRule, Gates, QualityGate, require

ROWS = 700
FEATURES = ["income", "age"]


def rules(metric: str = "roc_auc", **rule: Any) -> Gates:
    """Return gates with one metric that is compared with the champion."""
    return Gates(metrics=(QualityGate(metric, champion=ChampionRule(**rule)),))


def frame(seed: int, words: tuple[str, str] = ("stays", "leaves")) -> pd.DataFrame:
    """Return rows whose label hangs on the income alone, with words as labels."""
    rng = np.random.default_rng(seed)
    income, age = rng.normal(size=(2, ROWS))
    leaves = income + rng.normal(scale=0.5, size=ROWS) > 0
    return pd.DataFrame({"income": income, "age": age, "left": np.where(leaves, *words[::-1])})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxModel]:
    """Return a good model, and one that looks at the wrong column."""
    made = {}
    for name, column in (("good", "income"), ("bad", "age")):
        folder = tmp_path_factory.mktemp(name)
        rows = frame(0)
        other = next(one for one in FEATURES if one != column)
        rows[other] = 0.0
        joblib.dump(LogisticRegression().fit(rows[FEATURES], rows["left"]), folder / "m.joblib")
        frame(0).to_csv(folder / "rows.csv", index=False)
        convert(folder, folder / "m.joblib", folder / "rows.csv", target="left")
        made[name] = OnnxModel.load(folder / "model")
    return made


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    """Return a file of rows that no model was trained on."""
    path = tmp_path / "held_out.csv"
    frame(1).to_csv(path, index=False)
    return path


class Endpoint:
    """Answers events as the image does; keeps how many rows each call had."""

    def __init__(self, model: OnnxModel) -> None:
        self._predictor = Predictor(model.folder)
        self.sizes: list[int] = []

    def __call__(self, event: Mapping[str, Any]) -> tuple[int, str]:
        """Answer `POST /predict`."""
        assert event["rawPath"] == "/predict"
        records = json.loads(event["body"])["records"]
        self.sizes.append(len(records))
        return 200, json.dumps({"predictions": self._predictor.predict(records)})


def asked(
    models: Mapping[str, OnnxModel], new: str, old: str | Callable[..., Any], path: Path,
    gates: Gates | None = None,
) -> Any:  # fmt: skip
    """Compare two models on a file."""
    rows = judged.read(path, "left", models[new].signature)
    send = Endpoint(models[old]) if isinstance(old, str) else old
    return compare(gates or rules(), rows, models[new], "7", send, lambda _: None)


def test_a_better_model_wins_and_a_worse_one_is_stopped(
    models: dict[str, OnnxModel], held_out: Path
) -> None:
    """The figures are scikit-learn's for both models, and the reason says who lost by how much."""
    from sklearn.metrics import roc_auc_score

    won = asked(models, "good", "bad", held_out)
    lost = asked(models, "bad", "good", held_out)

    rows = frame(1)
    truth = rows["left"] == "stays"
    expected = {
        name: roc_auc_score(
            truth,
            [p["probabilities"]["stays"] for p in Predictor(model.folder).predict(
                rows[FEATURES].to_dict("records"))],
        )
        for name, model in models.items()
    }  # fmt: skip
    (result,) = won.results
    assert won.rows == ROWS
    assert result.passed
    assert result.value == pytest.approx(expected["good"])
    assert result.champion.value == pytest.approx(expected["bad"])
    assert won.to_json()["passed"]
    assert "against version 7 on 700 rows: roc_auc" in won.words
    with pytest.raises(QualityError, match="worse than the champion's") as caught:
        require(lost.results)
    assert caught.value.exit_code == 4


def test_the_same_model_is_as_good_as_itself(models: dict[str, OnnxModel], held_out: Path) -> None:
    """Both are asked the same rows, so that the difference of equals is exactly nothing."""
    (result,) = asked(models, "good", "good", held_out).results

    assert (result.champion.gain, result.champion.low, result.champion.high) == (0, 0, 0)


def test_rows_go_in_parts_that_lambda_takes(models: dict[str, OnnxModel], held_out: Path) -> None:
    """No call is larger than a payload may be, and no row is lost between calls."""
    endpoint = Endpoint(models["bad"])

    asked(models, "good", endpoint, held_out)

    assert sum(endpoint.sizes) == ROWS
    assert max(endpoint.sizes) <= 500
    assert len(endpoint.sizes) > 1


def _crash(_: Any) -> tuple[int, str]:
    raise GateError("churn:7 crashed: Runtime.ExitError", hint="look")


def _masks(event: Any) -> tuple[int, str]:
    rows = len(json.loads(event["body"])["records"])
    return 200, json.dumps({"predictions": [{"mask": 1}] * rows})


BAD: dict[str, tuple[Callable[..., Any], str]] = {
    "other features": (lambda _: (400, '{"error": "unknown field"}'), "answers 400 to rows 0 to"),
    "crash": (_crash, "the champion has no answer: churn:7 crashed"),
    "no JSON": (lambda _: (200, "<html>"), "answers no predictions"),
    "fewer": (lambda _: (200, '{"predictions": []}'), "another number of answers"),
    "of no kind": (_masks, "neither a label nor a value"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_champion_that_cannot_be_asked_stops_the_deploy_with_a_way_on(
    models: dict[str, OnnxModel], held_out: Path, case: str
) -> None:
    """What is wrong is said in words, with the option that goes on without the comparison."""
    send, words = BAD[case]

    with pytest.raises(QualityError, match=words) as caught:
        asked(models, "good", send, held_out)
    assert "--skip-champion" in caught.value.hint


def _files() -> Iterator[tuple[str, pd.DataFrame, str]]:
    yield "no target", frame(1).drop(columns="left"), "has no column 'left'"
    yield "no feature", frame(1).drop(columns="age"), "has no column 'age'"
    yield "no rows to send", frame(1).assign(age=np.nan), "no row that a request could carry"


@pytest.mark.parametrize(("rows", "words"), [case[1:] for case in _files()])
def test_rows_that_judge_nothing_are_refused(
    models: dict[str, OnnxModel], tmp_path: Path, rows: pd.DataFrame, words: str
) -> None:
    """A file without labels, features, or rows that could be sent is told by name."""
    rows.to_parquet(tmp_path / "rows.parquet")

    with pytest.raises(SlimError, match=words):
        judged.read(tmp_path / "rows.parquet", "left", models["good"].signature)


def test_rows_that_no_request_could_carry_are_left_out(
    models: dict[str, OnnxModel], tmp_path: Path
) -> None:
    """Missing values that the model refuses and infinite numbers do not count against it."""
    rows = frame(1)
    rows.loc[3, "age"], rows.loc[5, "income"] = np.nan, np.inf
    rows.to_parquet(tmp_path / "rows.parquet")

    found = judged.read(tmp_path / "rows.parquet", "left", models["good"].signature)

    assert (len(found.records), found.left_out, len(found.truth)) == (ROWS - 2, 2, ROWS - 2)
    assert found.truth[3] == rows["left"][4]


def test_gates_are_judged_on_the_rows_held_out(tmp_path: Path, held_out: Path) -> None:
    """A model that has learned its sample by heart is judged by rows that it has never seen."""
    rows = frame(0)
    rows["left"] = np.random.default_rng(2).permutation(rows["left"])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    source = tmp_path / "m.joblib"
    joblib.dump(DecisionTreeClassifier(random_state=0).fit(rows[FEATURES], rows["left"]), source)
    gates = {"metrics": [{"metric": "accuracy", "at_least": 0.9}]}
    order = Order(source, tmp_path / "rows.csv", "left", gates=gates)

    figures = []
    for number, file in enumerate((None, held_out)):
        job = Job(
            replace(order, held_out=file), content_sha256(source), tmp_path / f"model{number}"
        )
        (result,) = run(job, lambda _: None).gates
        figures.append((result["passed"], result["value"]))

    expected = joblib.load(source).score(frame(1)[FEATURES], frame(1)["left"])
    assert figures[0] == (True, 1.0)
    assert figures[1] == (False, pytest.approx(expected))
