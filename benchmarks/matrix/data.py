"""Small data sets that the matrix trains on: numbers, tables with text and holes, texts."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_regression,
)

Array = np.ndarray[Any, np.dtype[Any]]


@cache
def cancer() -> tuple[Array, Array]:
    """Return 569 rows, 30 numbers, two classes."""
    return load_breast_cancer(return_X_y=True)


@cache
def iris() -> tuple[Array, Array]:
    """Return 150 rows, 4 numbers of one decimal, three classes."""
    return load_iris(return_X_y=True)


@cache
def wine() -> tuple[Array, Array]:
    """Return 178 rows, 13 numbers, three classes."""
    return load_wine(return_X_y=True)


@cache
def digits() -> tuple[Array, Array]:
    """Return 600 rows of 64 pixels, ten classes."""
    rows, labels = load_digits(return_X_y=True)
    return rows[:600], labels[:600]


@cache
def diabetes() -> tuple[Array, Array]:
    """Return 442 rows, 10 numbers, one target."""
    return load_diabetes(return_X_y=True)


@cache
def classes(count: int = 3) -> tuple[Array, Array]:
    """Return 1,500 rows, 12 numbers of two decimals, `count` classes."""
    rows, labels = make_classification(
        1500, 12, n_informative=8, n_classes=count, random_state=0, flip_y=0.05
    )
    return rows.round(2), labels


@cache
def numbers(targets: int = 1) -> tuple[Array, Array]:
    """Return 1,200 rows, 12 numbers, `targets` targets."""
    return make_regression(1200, 12, n_informative=8, n_targets=targets, noise=5, random_state=0)


@cache
def counts() -> tuple[Array, Array]:
    """Return 1,200 rows, 12 numbers, and a positive target."""
    rows, target = numbers()
    return rows, np.exp(target / np.abs(target).max() * 3)


@cache
def holed() -> tuple[Array, Array]:
    """Return `classes()` with a tenth of the values missing."""
    rows, labels = classes()
    rows = rows.copy()
    rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
    return rows, labels


@cache
def table() -> tuple[pd.DataFrame, Array]:
    """Return 1,000 rows of text, numbers and booleans under awkward names, and two classes."""
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Köln", "Paris", "São Paulo", "NA", "東京"], 1000),
            "plan": rng.choice(["basic", "plus", "pro"], 1000, p=[0.6, 0.35, 0.05]),
            "age (years)": rng.integers(18, 90, 1000),
            "income": rng.lognormal(10, 1, 1000).round(2),
            "score": rng.normal(size=1000),
            "member": rng.random(1000) < 0.4,
        }
    )
    odds = (frame["plan"] == "pro") * 2 + (frame["age (years)"] > 50) + frame["score"]
    return frame, (odds + rng.normal(0, 0.7, 1000) > 1).to_numpy().astype(int)


@cache
def holed_table() -> tuple[pd.DataFrame, Array]:
    """Return `table()` with missing text and numbers."""
    frame, labels = table()
    rng = np.random.default_rng(3)
    frame = frame.copy()
    for name in ("city", "income", "score"):
        frame.loc[rng.random(len(frame)) < 0.1, name] = np.nan
    return frame, labels


@cache
def texts() -> tuple[list[str], Array]:
    """Return 400 short texts in several scripts, and two classes."""
    rng = np.random.default_rng(4)
    good = "good great love superb naïve café STRASSE ΟΔΟΣ İstanbul wow a I".split()
    bad = "bad awful hate poor x ß resume cafe\u0301 terrible no don't 3.5 o".split()
    every = [*good, *bad, "the", "and", "of", "日本語", "\t", "emoji 👩\u200d👩", "  "]
    labels = rng.integers(0, 2, 400)
    made = [
        " ".join(rng.choice([*every, *(good if label else bad) * 2], rng.integers(1, 14)))
        for label in labels
    ]
    return made, labels
