"""Models that read text, fitted small."""

from collections.abc import Callable, Iterator
from typing import Any

import data
import pandas as pd
from sklearn import (
    calibration,
    compose,
    decomposition,
    ensemble,
    linear_model,
    naive_bayes,
    pipeline,
    preprocessing,
    svm,
)
from sklearn.feature_extraction import text as t

Kind = tuple[str, Callable[[], tuple[Any, Any]]]


def kinds() -> Iterator[Kind]:
    """Yield vectorizers in front of models."""
    texts, labels = data.texts()
    logistic = linear_model.LogisticRegression(max_iter=500)
    steps: dict[str, tuple[Any, ...]] = {
        "TF-IDF of words, logistic regression": (t.TfidfVectorizer(), logistic),
        "TF-IDF of word pairs, SGD": (
            t.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            linear_model.SGDClassifier(loss="log_loss", random_state=0),
        ),
        "TF-IDF of characters, logistic regression": (
            t.TfidfVectorizer(analyzer="char", ngram_range=(2, 3)),
            logistic,
        ),
        "TF-IDF of characters in words, logistic regression": (
            t.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)),
            logistic,
        ),
        "TF-IDF, stop words, accents stripped": (
            t.TfidfVectorizer(stop_words="english", strip_accents="unicode"),
            logistic,
        ),
        "TF-IDF, linear SVC": (t.TfidfVectorizer(), svm.LinearSVC()),
        "TF-IDF, ridge classifier": (t.TfidfVectorizer(), linear_model.RidgeClassifier()),
        "TF-IDF, calibrated linear SVC": (
            t.TfidfVectorizer(),
            calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3),
        ),
        "TF-IDF, truncated SVD, random forest": (
            t.TfidfVectorizer(),
            decomposition.TruncatedSVD(8, random_state=0),
            ensemble.RandomForestClassifier(20, random_state=0),
        ),
        "counts, multinomial naive Bayes": (t.CountVectorizer(), naive_bayes.MultinomialNB()),
        "counts (binary), complement naive Bayes": (
            t.CountVectorizer(binary=True),
            naive_bayes.ComplementNB(),
        ),
        "counts, TF-IDF, logistic regression": (
            t.CountVectorizer(),
            t.TfidfTransformer(),
            logistic,
        ),
        "hashed words, logistic regression": (t.HashingVectorizer(n_features=2**12), logistic),
    }
    for name, parts in steps.items():
        yield name, _fitted(pipeline.make_pipeline(*parts), texts, labels)
    yield (
        "words and characters, logistic regression",
        _fitted(
            pipeline.make_pipeline(
                pipeline.make_union(
                    t.TfidfVectorizer(), t.TfidfVectorizer(analyzer="char", ngram_range=(2, 3))
                ),
                logistic,
            ),
            texts,
            labels,
        ),
    )
    frame = pd.DataFrame({"review": texts, "stars": range(len(texts))})
    columns = compose.make_column_transformer(
        (t.TfidfVectorizer(), "review"), (preprocessing.StandardScaler(), ["stars"])
    )
    yield (
        "text column and number column",
        _fitted(pipeline.make_pipeline(columns, logistic), frame, labels),
    )


def _fitted(model: Any, rows: Any, labels: Any) -> Callable[[], tuple[Any, Any]]:
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame({"text": rows})
    return lambda: (model.fit(rows, labels), frame)
