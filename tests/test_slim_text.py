"""Models over texts: converted without their vectorizers, they answer as before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from test_front import documents, noise

from fnmodel.errors import UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.slim import folder, text
from fnmodel.slim.proof.hostile import HOSTILE
from fnmodel.slim.signature import Column
from fnmodel.slim.subject import Converted

KNOWN = [*documents(0, 150), "", " ", "I x", "the the"]
ASKED = [*KNOWN, *documents(1, 100), *noise(2, 100), *HOSTILE]
BINARY = np.array([("x" in text) ^ (len(text) % 3 == 0) for text in KNOWN]).astype(int)
NAMED = np.array([("neg", "neu", "pos")[(len(t) + t.count("a")) % 3] for t in KNOWN])
NUMBER = np.array([len(text) + 1.5 * text.count("x") for text in KNOWN])

Words, Counts, Hashed = TfidfVectorizer, CountVectorizer, HashingVectorizer
TEXT = (Column("text", "text", integral=False, nullable=False),)


def union(*second: Any) -> FeatureUnion:
    return FeatureUnion([("words", Words()), ("characters", make_pipeline(*second))])


def characters(**more: Any) -> Any:
    return Words(analyzer="char", ngram_range=(2, 3), **more)


LINEAR: dict[str, tuple[Any, Any]] = {
    "words": (make_pipeline(Words(), LogisticRegression()), BINARY),
    "log counts": (make_pipeline(Words(sublinear_tf=True), LogisticRegression()), NAMED),
    "bigrams": (
        make_pipeline(Words(ngram_range=(1, 2)), SGDClassifier(loss="log_loss", random_state=0)),
        NAMED,
    ),
    "characters in words": (
        make_pipeline(Words(analyzer="char_wb", ngram_range=(2, 4)), LogisticRegression()),
        BINARY,
    ),
    "characters": (make_pipeline(characters(), LogisticRegression()), BINARY),
    "stop words, no accents": (
        make_pipeline(Words(stop_words="english", strip_accents="unicode"), LogisticRegression()),
        BINARY,
    ),
    "multinomial": (make_pipeline(Counts(), MultinomialNB()), NAMED),
    "complement": (make_pipeline(Counts(binary=True), ComplementNB()), NAMED),
    "bernoulli": (make_pipeline(Counts(), BernoulliNB()), NAMED),
    "hashed": (make_pipeline(Hashed(), LogisticRegression()), BINARY),
    "hashed and weighed": (
        make_pipeline(
            Hashed(n_features=2**16, alternate_sign=False), TfidfTransformer(), LinearSVC()
        ),
        NAMED,
    ),
    "two steps": (make_pipeline(Counts(), TfidfTransformer(norm="l1"), LinearSVC()), BINARY),
    "split on blanks": (
        make_pipeline(Words(tokenizer=str.split, token_pattern=None), LinearSVC()),
        BINARY,
    ),
    "chosen words": (
        make_pipeline(Words(), SelectKBest(chi2, k=9), LogisticRegression()),
        BINARY,
    ),
    "scaled": (
        make_pipeline(Counts(), StandardScaler(with_mean=False), MaxAbsScaler(), LinearSVC()),
        BINARY,
    ),
    "union": (make_pipeline(union(characters()), LogisticRegression()), NAMED),
    "weighted union": (
        make_pipeline(
            FeatureUnion(
                [("w", Words()), ("c", make_pipeline(Counts(analyzer="char"), TfidfTransformer()))],
                transformer_weights={"w": 0.5, "c": 2.0},
            ),
            LinearSVC(),
        ),
        BINARY,
    ),
    "union with a projection": (
        make_pipeline(union(characters(), TruncatedSVD(5, random_state=0)), LogisticRegression()),
        BINARY,
    ),
    "ridge": (make_pipeline(Words(), Ridge()), NUMBER),
    "calibrated": (make_pipeline(Words(), CalibratedClassifierCV(LinearSVC(), cv=3)), NAMED),
    "calibrated pipelines": (
        CalibratedClassifierCV(make_pipeline(Words(), LinearSVC()), cv=3),
        BINARY,
    ),
    "one against the rest": (
        make_pipeline(Words(), OneVsRestClassifier(LogisticRegression())),
        NAMED,
    ),
    "voting pipelines": (
        VotingClassifier(
            [
                ("a", make_pipeline(Words(), LogisticRegression())),
                ("b", make_pipeline(Counts(), MultinomialNB())),
            ],
            voting="soft",
        ),
        NAMED,
    ),
    "stacked pipelines": (
        StackingClassifier(
            [
                ("a", make_pipeline(Words(), LogisticRegression())),
                ("b", make_pipeline(Counts(), MultinomialNB())),
            ],
            cv=3,
        ),
        BINARY,
    ),
}

MATRIX: dict[str, tuple[Any, Any]] = {
    "trees": (
        make_pipeline(Words(), RandomForestClassifier(20, random_state=0)),
        NAMED,
    ),
    "trees over a union": (
        make_pipeline(union(characters()), ExtraTreesClassifier(20, random_state=0)),
        BINARY,
    ),
    "boosting": (
        make_pipeline(Counts(), GradientBoostingRegressor(n_estimators=20, random_state=0)),
        NUMBER,
    ),
    "kernel": (make_pipeline(Words(), SVC(random_state=0)), NAMED),
}


def converted(model: Any, columns: tuple[Column, ...] = TEXT) -> Converted:
    (candidate, *_) = text.candidates(text.described(model), columns)
    return candidate.convert()


def predictor(path: Path, done: Converted) -> Predictor:
    return folder.write(path / "model", done)


def assert_answers(path: Path, model: Any, frame: pd.DataFrame, done: Converted) -> Predictor:
    """Assert that ONNX answers the frame as the model does, in one batch and row by row."""
    served = predictor(path, done)
    tensors = served.encode(frame.to_dict("records"))
    found = served.run(tensors)
    expected = text.described(model).answer(frame)
    for (name, array), tensor in zip(expected.items(), done.signature.outputs, strict=True):
        answer = found[tensor.name]
        if array.dtype.kind == "f":
            np.testing.assert_allclose(answer.reshape(array.shape), array, atol=1e-12, rtol=1e-12)
        else:
            assert answer.reshape(array.shape).tolist() == array.tolist(), name
    for row in (0, 3, len(frame) - 1):
        single = served.run({name: array[row : row + 1] for name, array in tensors.items()})
        for name, answer in single.items():
            if answer.dtype.kind == "f":
                np.testing.assert_allclose(answer, found[name][row : row + 1], atol=1e-12)
            else:
                assert answer.tolist() == found[name][row : row + 1].tolist()
    return served


@pytest.mark.parametrize("kind", [*LINEAR, "projection and trees"])
def test_products_get_only_the_written_values(tmp_path: Path, kind: str) -> None:
    """A model that multiplies by weights answers alike and is fed no row as wide as the words."""
    projected = make_pipeline(
        characters(), TruncatedSVD(10, random_state=0), RandomForestClassifier(20, random_state=0)
    )
    model, target = {**LINEAR, "projection and trees": (projected, BINARY)}[kind]
    done = converted(model.fit(KNOWN, target))
    assert done.front is not None
    assert all(len(step["outputs"]) == 2 for step in done.front["steps"])

    served = assert_answers(tmp_path, model, pd.DataFrame({"text": ASKED}), done)

    assert [feature.name for feature in served.signature.features] == ["text"]
    assert [(t.datatype, t.shape) for t in served.signature.inputs] == [("BYTES", (-1, 1))]
    assert served.run(served.encode([])).keys() == served.run(served.encode([{"text": ""}])).keys()


@pytest.mark.parametrize("kind", MATRIX)
def test_other_models_get_a_matrix(tmp_path: Path, kind: str) -> None:
    """Trees and kernels look at columns one by one, and answer alike."""
    model, target = MATRIX[kind]
    done = converted(model.fit(KNOWN, target))
    assert done.front is not None
    assert all(len(step["outputs"]) == 1 for step in done.front["steps"])

    assert_answers(tmp_path, model, pd.DataFrame({"text": ASKED}), done)


def test_trees_get_only_the_columns_that_they_test(tmp_path: Path) -> None:
    """Of many character n-grams a small forest tests few, and gets no more."""
    forest = make_pipeline(characters(), RandomForestClassifier(3, max_depth=3, random_state=0))
    done = converted(forest.fit(KNOWN, BINARY))
    assert done.front is not None
    (step,) = done.front["steps"]
    kept = step["then"][-1]["columns"]

    assert 1 < len(kept) < len(step["vocabulary"]) / 10
    assert_answers(tmp_path, forest, pd.DataFrame({"text": ASKED}), done)


def test_weights_of_columns_that_were_never_hashed_to_are_left_out() -> None:
    """A million hashed columns leave a small graph and a small front."""
    done = converted(make_pipeline(Hashed(), LogisticRegression()).fit(KNOWN, BINARY))

    assert len(done.onnx) < 10_000
    assert len(json.dumps(done.front)) < 10_000


def table(texts: list[str]) -> pd.DataFrame:
    chance = np.random.default_rng(len(texts))
    return pd.DataFrame(
        {
            "review": texts,
            "stars": chance.normal(size=len(texts)),
            "city": chance.choice(["Köln", "Paris", "Oslo"], len(texts)),
            "title": [text[::-1][:9] for text in texts],
        }
    )


COLUMNS = (
    Column("review", "text", integral=False, nullable=False),
    Column("stars", "number", integral=False, nullable=False),
    Column("city", "text", integral=False, nullable=False),
    Column("title", "text", integral=False, nullable=False),
)


def mixed(final: Any) -> Pipeline:
    return make_pipeline(
        ColumnTransformer(
            [
                ("stars", StandardScaler(), ["stars"]),
                ("review", Words(), "review"),
                ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
                ("title", make_pipeline(Counts(analyzer="char_wb"), TfidfTransformer()), "title"),
            ]
        ),
        final,
    )


@pytest.mark.parametrize(
    "final",
    [
        LogisticRegression(max_iter=300),
        LinearSVC(),
        RandomForestClassifier(20, random_state=0),
        SVC(random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_texts_beside_numbers_and_categories(tmp_path: Path, final: Any) -> None:
    """Text columns of a table go through the front, the others straight to the graph."""
    model = mixed(final).fit(table(KNOWN), NAMED)
    done = converted(model, COLUMNS)

    served = assert_answers(tmp_path, model, table(ASKED), done)

    assert {tensor.name for tensor in served.signature.inputs} == {c.name for c in COLUMNS}
    graph = onnx.load_from_string(done.onnx).graph
    assert {"stars", "city"} < {value.name for value in graph.input}
    assert not {"review", "title"} & {value.name for value in graph.input}


def test_one_column_counted_and_encoded(tmp_path: Path) -> None:
    """A text column may be cut into words and be a category too."""
    model = make_pipeline(
        ColumnTransformer(
            [("words", Counts(), "city"), ("one", OneHotEncoder(handle_unknown="ignore"), ["city"])]
        ),
        LogisticRegression(),
    ).fit(table(KNOWN), NAMED)
    done = converted(model, COLUMNS[2:3])
    assert done.front is not None

    assert done.front["passes"] == ["city"]
    assert_answers(tmp_path, model, table(ASKED)[["city"]], done)


def test_texts_in_an_array(tmp_path: Path) -> None:
    """A column transformer that was fitted on an array finds its texts by number."""
    frame = pd.DataFrame({"x0": KNOWN, "x1": KNOWN[::-1]})
    model = make_pipeline(
        ColumnTransformer([("a", Words(), 1), ("b", Counts(), 0)]), LogisticRegression()
    ).fit(frame.to_numpy(), NAMED)
    done = converted(model, tuple(Column(name, "text", False, False) for name in frame.columns))

    assert_answers(tmp_path, model, pd.DataFrame({"x0": ASKED, "x1": ASKED[::-1]}), done)


def test_the_model_itself_is_not_changed() -> None:
    """Splitting works on a copy."""
    model = mixed(LogisticRegression()).fit(table(KNOWN), NAMED)
    before = model.predict_proba(table(ASKED))
    converted(model, COLUMNS)

    np.testing.assert_array_equal(model.predict_proba(table(ASKED)), before)


def test_a_search_and_other_wrappers_take_a_list() -> None:
    """What reads texts first is found through searches, unions and wrappers."""
    pipeline = make_pipeline(Words(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [1.0]}, cv=2).fit(KNOWN, BINARY)

    assert text.takes_list(search.best_estimator_)
    assert text.takes_list(search)
    assert text.takes_list(CalibratedClassifierCV(pipeline))
    assert text.takes_list(make_pipeline(union(characters()), LinearSVC()))
    assert not text.takes_list(mixed(LinearSVC()))
    assert not text.takes_list(make_pipeline(StandardScaler(), LinearSVC()))
    assert text.has_text(mixed(LinearSVC()))
    assert not text.has_text(make_pipeline(StandardScaler(), LinearSVC()))


class Own(CountVectorizer):
    """A vectorizer that may do anything."""


def lines(content: str) -> list[str]:
    return content.splitlines()


@pytest.mark.parametrize(
    ("vectorizer", "reason"),
    [
        (Counts(tokenizer=lines), "'lines'"),
        (Counts(preprocessor=str.upper), "'upper'"),
        (Counts(analyzer=lines), "'lines'"),
        (Hashed(strip_accents=str.lower), "'lower'"),
        (Counts(dtype=np.int8), "int8"),
        (Own(), "Own"),
    ],
)
def test_code_in_a_vectorizer_is_refused_by_name(vectorizer: Any, reason: str) -> None:
    """A vectorizer that calls a function is named with it."""
    if getattr(vectorizer, "tokenizer", None) is not None:
        vectorizer.set_params(token_pattern=None)
    model = Pipeline([("cut", vectorizer), ("model", LinearSVC())]).fit(KNOWN, BINARY)

    with pytest.raises(UnsupportedModelError, match=reason) as caught:
        converted(model)
    assert "'cut'" in caught.value.message


def test_signed_counts_have_no_logarithm() -> None:
    """A logarithm of hashed counts with signs would be NaN; scikit-learn itself fails on it."""
    weigh = TfidfTransformer(sublinear_tf=True)
    model = make_pipeline(Hashed(), weigh, LinearSVC())
    model[0].fit(KNOWN)
    weigh.fit(Hashed(alternate_sign=False).transform(KNOWN))
    model[-1].fit(Hashed(n_features=4).transform(KNOWN), BINARY)

    with pytest.raises(UnsupportedModelError, match="logarithm"):
        text.split(model)


def test_a_vectorizer_alone_is_refused() -> None:
    """Nobody wants a row as wide as a vocabulary over HTTP."""
    for model in (Words(), make_pipeline(Counts(), TfidfTransformer())):
        with pytest.raises(UnsupportedModelError, match="alone"):
            text.split(model.fit(KNOWN))


def test_texts_to_ask_are_hostile_and_known() -> None:
    """Without a sample the model is asked hostile texts and words of its own."""
    model = make_pipeline(Words(), LinearSVC()).fit(KNOWN, BINARY)
    made = text.texts(model, 100)

    assert len(made) == 100
    assert set(HOSTILE) <= set(made)
    assert made == text.texts(model, 100)
    assert set(" ".join(made[len(HOSTILE) :]).split()) <= set(model[0].vocabulary_)
