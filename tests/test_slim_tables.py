"""Tables as people have them: from a model's file and a sample to what callers send, end to end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from slim_cases import convert

from fnmodel.errors import InputError, SlimError
from fnmodel.inference import Predictor

ROWS = 160


def people(seed: int = 0) -> pd.DataFrame:
    """Return rows with numbers, holes, words and truth values."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "alter": random.integers(18, 80, ROWS),
            "größe": random.normal(1.7, 0.1, ROWS).round(3),
            "stadt": random.choice(["Köln", "Łódź", "Ulm"], ROWS),
            "kunde": random.random(ROWS) < 0.5,
        }
    )


def answers(predictor: Predictor, frame: pd.DataFrame) -> list[Any]:
    """Return the labels or values that a caller gets for a frame's rows."""
    found = predictor.predict(records(frame))
    return [next(iter(one.values())) for one in found]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as a caller would send them."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [dict(row) for row in rows]


def served(folder: Path, source: Path, sample: Path, target: str | None = None) -> Predictor:
    """Convert, and open what would be served."""
    report = convert(folder, source, sample, target=target)
    assert report.passed, report.notes
    return Predictor(folder / "model")


def _xgboost(frame: pd.DataFrame, labels: Any, path: Path) -> Any:
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=6, max_depth=3, enable_categorical=True, n_jobs=1)
    model.fit(frame, labels)
    model.save_model(path.with_suffix(".json"))
    return path.with_suffix(".json"), model.predict_proba


def _lightgbm(frame: pd.DataFrame, labels: Any, path: Path) -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=6, num_leaves=5, n_jobs=1, verbose=-1)
    model.fit(frame, labels)
    model.booster_.save_model(str(path.with_suffix(".txt")))
    return path.with_suffix(".txt"), model.predict_proba


def _catboost(frame: pd.DataFrame, labels: Any, path: Path) -> Any:
    catboost = pytest.importorskip("catboost")
    texts = [n for n in frame if frame[n].dtype == "category"]
    plain = frame.astype(dict.fromkeys(texts, object))
    model = catboost.CatBoostClassifier(
        iterations=6, depth=3, verbose=0, thread_count=1, allow_writing_files=False
    )
    model.fit(plain, labels, cat_features=texts)
    model.save_model(str(path.with_suffix(".cbm")))
    return path.with_suffix(".cbm"), lambda rows: model.predict_proba(
        rows.astype(dict.fromkeys(texts, object))
    )


BOOSTERS = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
COLUMNS = {
    "numbers": lambda frame: frame[["alter", "größe"]],
    "holes": lambda frame: frame[["größe", "alter"]].astype(float).mask(
        np.arange(ROWS)[:, None] % np.array([5, 7]) == 0
    ),
    "words": lambda frame: frame[["größe", "stadt"]].astype({"stadt": "category"}),
}  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("framework", BOOSTERS)
def test_a_boosters_own_file_answers_callers_as_the_booster_does(
    tmp_path: Path, framework: str, columns: str, count: int
) -> None:
    """Numbers, holes and words, two classes and three, from the file that the framework writes."""
    frame = COLUMNS[columns](people())
    labels = (people()["größe"] * 10 + people()["alter"] / 9).round().astype(int) % count
    source, score = BOOSTERS[framework](frame, labels, tmp_path / "model")
    written = frame.astype({n: object for n in frame if frame[n].dtype == "category"})
    written.to_csv(tmp_path / "rows.csv", index=False)

    predictor = served(tmp_path, source, tmp_path / "rows.csv")
    found = predictor.predict(records(written.head(20)))

    wanted = score(frame)[:20]
    if "probabilities" in found[0]:
        ours = [list(one["probabilities"].values()) for one in found]
    else:  # a file that does not say its classes gives what it computes
        ours = [next(iter(one.values())) for one in found]
        ours = [one if isinstance(one, list) else [1 - one, one] for one in ours]
    assert np.allclose(ours, wanted, atol=1e-5)


def _encoded(encoder: Any) -> Any:
    return make_pipeline(
        make_column_transformer((encoder, ["kunde"]), (StandardScaler(), ["größe"])),
        LogisticRegression(),
    )


@pytest.mark.parametrize("sent", [True, False, 1, 0])
def test_a_boolean_may_be_sent_as_json_has_it(tmp_path: Path, sent: Any) -> None:
    """True and 1 are one category, as they are in Python."""
    frame = people()[["kunde", "größe"]]
    labels = frame["kunde"] ^ (frame["größe"] > 1.75)
    model = _encoded(OneHotEncoder(handle_unknown="ignore")).fit(frame, labels)
    joblib.dump(model, tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)

    predictor = served(tmp_path, tmp_path / "m.joblib", tmp_path / "rows.csv")
    (answer,) = predictor.predict([{"kunde": sent, "größe": 1.71}])

    rows = pd.DataFrame({"kunde": [bool(sent)], "größe": [1.71]})
    assert list(answer["probabilities"].values()) == pytest.approx(model.predict_proba(rows)[0])


@pytest.mark.parametrize("unknown", ["ignore", "error"])
def test_what_is_no_boolean_is_answered_or_refused_as_the_model_does(
    tmp_path: Path, unknown: str
) -> None:
    """An encoder that ignores unknown values gives its answer for one; another one refuses."""
    frame = people()[["kunde", "größe"]]
    labels = frame["kunde"] ^ (frame["größe"] > 1.75)
    model = _encoded(OneHotEncoder(handle_unknown=unknown)).fit(frame, labels)
    joblib.dump(model, tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    predictor = served(tmp_path, tmp_path / "m.joblib", tmp_path / "rows.csv")
    record = {"kunde": 2, "größe": 1.71}

    if unknown == "error":
        with pytest.raises(InputError, match="kunde"):
            predictor.predict([record])
        return
    wanted = model.predict_proba(pd.DataFrame([record]))[0]
    (answer,) = predictor.predict([record])
    assert list(answer["probabilities"].values()) == pytest.approx(wanted)


def _regressor(frame: pd.DataFrame) -> Any:
    return DecisionTreeRegressor(max_depth=4, random_state=0).fit(frame, np.arange(len(frame)) % 7)


def _parquet(frame: pd.DataFrame, path: Path) -> Path:
    pytest.importorskip("pyarrow")
    frame.to_parquet(path)
    return path


NULLABLE: dict[str, dict[str, str]] = {
    "Int64": {"alter": "Int64"},
    "Float64": {"größe": "Float64"},
    "boolean": {"kunde": "boolean"},
    "all": {"alter": "Int64", "größe": "Float64", "kunde": "boolean"},
    "arrow": {"alter": "int64[pyarrow]", "größe": "double[pyarrow]"},
}


@pytest.mark.parametrize("kind", NULLABLE)
@pytest.mark.parametrize("holes", [False, True])
def test_nullable_types_of_pandas_are_numbers(tmp_path: Path, kind: str, *, holes: bool) -> None:
    """A sample in Parquet keeps pandas' own types; the model has learned plain numbers."""
    plain = people()[["alter", "größe", "kunde"]].astype(float)
    model = HistGradientBoostingClassifier(max_iter=5, max_depth=3).fit(plain, np.arange(ROWS) % 2)
    joblib.dump(model, tmp_path / "m.joblib")
    frame = people()[["alter", "größe", "kunde"]].astype(NULLABLE[kind])
    if holes:
        changed = next(iter(NULLABLE[kind]))
        frame.loc[3:6, changed] = None
    sample = _parquet(frame, tmp_path / "rows.parquet")

    predictor = served(tmp_path, tmp_path / "m.joblib", sample)

    asked = plain.head(9).mask(frame.head(9).isna())
    assert answers(predictor, asked) == model.predict(asked).tolist()


def test_words_of_pandas_own_string_type_are_text(tmp_path: Path) -> None:
    """Text columns come as object, string or category; callers send text."""
    plain = people()[["stadt", "größe"]]
    transformer = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["stadt"]),
        remainder="passthrough",
    )
    model = make_pipeline(transformer, DecisionTreeRegressor(max_depth=3)).fit(
        plain, plain["größe"]
    )
    joblib.dump(model, tmp_path / "m.joblib")

    for number, kind in enumerate(("object", "string", "category")):
        folder = tmp_path / str(number)
        folder.mkdir()
        sample = _parquet(plain.astype({"stadt": kind}), folder / "rows.parquet")
        predictor = served(folder, tmp_path / "m.joblib", sample)
        assert answers(predictor, plain.head(9)) == pytest.approx(model.predict(plain.head(9)))


def test_an_index_that_was_saved_is_left_out(tmp_path: Path) -> None:
    """`to_csv` writes the index as a column without a name; the model does not know it."""
    frame = people()[["alter", "größe"]]
    joblib.dump(_regressor(frame), tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv")

    predictor = served(tmp_path, tmp_path / "m.joblib", tmp_path / "rows.csv")

    assert [feature.name for feature in predictor.signature.features] == ["alter", "größe"]


@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_and_one_feature_are_enough(tmp_path: Path, rows: int) -> None:
    """The least that a sample can be."""
    frame = people()[["größe"]]
    model = LinearRegression().fit(frame, frame["größe"] * 3 + 1)
    joblib.dump(model, tmp_path / "m.joblib")
    frame.head(rows).to_csv(tmp_path / "rows.csv", index=False)

    predictor = served(tmp_path, tmp_path / "m.joblib", tmp_path / "rows.csv")

    assert answers(predictor, frame.head(3)) == pytest.approx(model.predict(frame.head(3)))


def _twice(path: Path) -> Path:
    path.with_suffix(".json").write_text(
        '{"columns": ["alter", "alter", "größe"], "data": [[1, 2, 3]]}'
    )
    return path.with_suffix(".json")


def _dates(path: Path) -> Path:
    frame = people()[["alter", "größe"]].assign(alter=pd.Timestamp("2024-01-01"))
    return _parquet(frame, path.with_suffix(".parquet"))


def _words(path: Path) -> Path:
    people().assign(alter="viel").to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def _endless(path: Path) -> Path:
    people().assign(alter=np.inf).to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


STRANGE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a column twice": (_twice, "'alter' stands twice"),
    "dates": (_dates, "alter"),
    "words for numbers": (_words, "alter|fails on the sample"),
    "infinities alone": (_endless, "no row"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_sample_that_is_none_is_refused_in_words(tmp_path: Path, case: str) -> None:
    """The error names the column or says what is wrong, and what to do."""
    write, words = STRANGE[case]
    joblib.dump(_regressor(people()[["alter", "größe"]]), tmp_path / "m.joblib")

    with pytest.raises(SlimError, match=words):
        convert(tmp_path, tmp_path / "m.joblib", write(tmp_path / "rows"))


def test_several_targets_come_as_a_list(tmp_path: Path) -> None:
    """A regressor of three numbers answers with three."""
    frame = people()[["alter", "größe"]]
    model = LinearRegression().fit(
        frame, np.column_stack([frame["alter"], frame["größe"] * 2, 1.0 + 0 * frame["alter"]])
    )
    joblib.dump(model, tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)

    predictor = served(tmp_path, tmp_path / "m.joblib", tmp_path / "rows.csv")

    assert np.allclose(answers(predictor, frame.head(4)), model.predict(frame.head(4)))


def test_a_ranker_gives_a_number_a_row(tmp_path: Path) -> None:
    """Groups matter in training alone."""
    xgboost = pytest.importorskip("xgboost")
    frame = people()[["alter", "größe"]]
    model = xgboost.XGBRanker(n_estimators=5, max_depth=2, n_jobs=1)
    model.fit(frame, np.arange(ROWS) % 3, qid=np.arange(ROWS) // 20)
    joblib.dump(model, tmp_path / "m.joblib")
    frame.to_csv(tmp_path / "rows.csv", index=False)

    predictor = served(tmp_path, tmp_path / "m.joblib", tmp_path / "rows.csv")

    assert answers(predictor, frame.head(9)) == pytest.approx(
        model.predict(frame.head(9)).tolist(), abs=1e-6
    )
