"""Asks rows that the conversion never saw: the original by its own methods, ONNX as callers do."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fnmodel.errors import InputError
from fnmodel.inference import Predictor

ROWS = 400
_HOLES = 40
# The default budget of parity.
_ABSOLUTE, _RELATIVE = 1e-5, 1e-4
_METHODS = {
    "label": "predict", "labels": "predict", "value": "predict", "cluster": "predict",
    "probabilities": "predict_proba", "score": "decision_function", "transformed": "transform",
}  # fmt: skip


@dataclass(frozen=True)
class Fresh:
    """How many rows were asked, and what the first one that differs is like; "" when none does."""

    rows: int
    differs: str = ""


def ask(model: Any, trained_on: Any, served: Path) -> Fresh:
    """Compare a fitted estimator with its conversion on rows drawn anew.

    Each column is drawn by itself from the values of training, so that rows are new combinations;
    half of all fractions are moved by noise. Where training had missing values, some are taken
    away. The conversion gets them as JSON.
    """
    predictor = Predictor(served)
    features = predictor.signature.features
    names = [feature.name for feature in features]
    rows = _drawn(trained_on)
    records = json.loads(json.dumps(_records(rows)))
    if hasattr(rows, "columns"):
        records = [{name: record[name] for name in names} for record in records]
    else:
        records = [dict(zip(names, row.values(), strict=True)) for row in records]
    kept, answers = [], []
    for number, record in enumerate(records):
        try:
            answers.append(predictor.predict([record])[0])
        except InputError as error:
            if _refuses(model, _take(rows, [number])):
                continue
            return Fresh(number, f"row {number} is refused, the original answers: {error}")
        kept.append(number)
    if not kept:
        return Fresh(0, "every row is refused")
    asked = _take(rows, kept)
    for name, given in _originals(model, asked):
        ours = _column(answers, name)
        if ours is None:
            continue
        said = _differs(name, given, ours, lambda: _margins(model, asked))
        if said:
            return Fresh(len(kept), said)
    return Fresh(len(kept))


def _drawn(trained_on: Any) -> Any:
    random = np.random.default_rng(20_240)
    frame = trained_on if hasattr(trained_on, "iloc") else pd.DataFrame(np.asarray(trained_on))
    columns = {}
    for name in frame.columns:
        values = frame[name]
        taken = values.iloc[random.integers(0, len(values), ROWS)].reset_index(drop=True)
        if values.dtype.kind == "f" and (values.dropna() % 1 != 0).any():
            noise = random.normal(0, 0.3 * float(values.std()), ROWS)
            low = values.min()
            moved = (taken + np.where(random.random(ROWS) < 0.5, noise, 0.0)).clip(lower=low)
            taken = moved.astype(values.dtype)
        if values.isna().any():
            holes = random.integers(0, ROWS, _HOLES)
            taken = taken.mask(pd.Series(np.isin(np.arange(ROWS), holes)))
        columns[name] = taken
    drawn = pd.DataFrame(columns)
    return drawn if hasattr(trained_on, "iloc") else drawn.to_numpy()


def _records(rows: Any) -> list[dict[Any, Any]]:
    frame = rows if hasattr(rows, "iloc") else pd.DataFrame(rows)
    columns = {name: [_plain(v) for v in frame[name].tolist()] for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(value: Any) -> Any:
    return None if value is None or value is pd.NA or value != value else value


def _take(rows: Any, kept: list[int]) -> Any:
    return rows.iloc[kept].reset_index(drop=True) if hasattr(rows, "iloc") else rows[kept]


def _refuses(model: Any, rows: Any) -> bool:
    try:
        next(iter(_originals(model, rows)))
    except Exception:  # an estimator may refuse in any way
        return True
    return False


def _originals(model: Any, rows: Any) -> Iterator[tuple[str, Any]]:
    rows = _as_taken(model, rows)
    method = "predict" if hasattr(model, "predict") else "transform"
    yield method, np.asarray(_dense(getattr(model, method)(rows)))
    if hasattr(model, "predict_proba"):
        chances = model.predict_proba(rows)
        if not isinstance(chances, list):
            yield "predict_proba", np.asarray(chances)


def _as_taken(model: Any, rows: Any) -> Any:
    """Return a list where the model reads texts, which have no column's name there."""
    only_texts = list(getattr(rows, "columns", ())) == ["text"]
    return rows["text"].tolist() if only_texts and not _names(model) else rows


def _names(model: Any) -> Any:
    return getattr(model, "feature_names_in_", None) is not None


def _dense(answer: Any) -> Any:
    return answer.toarray() if hasattr(answer, "toarray") else answer


def _column(answers: list[dict[str, Any]], method: str) -> Any:
    for name, answer in answers[0].items():
        if _METHODS.get(name) == method:
            if isinstance(answer, dict):
                return np.array([list(one[name].values()) for one in answers])
            return np.array([one[name] for one in answers])
    return None


def _differs(method: str, given: Any, ours: Any, margins: Callable[[], Any]) -> str:
    if given.size != ours.size:
        return f"{method} has {given.size} answers, ours {ours.size}"
    given = given.reshape(ours.shape)
    whole = given.dtype.kind in "iub" and ours.dtype.kind in "iub"
    if given.dtype.kind in "OUS" or whole:
        wrong = given.astype(str) != ours.astype(str) if not whole else given != ours
        wrong = wrong.reshape(len(wrong), -1).any(axis=1)
        if wrong.any():
            wrong &= margins() > 1e-9  # a tie may go either way
        where = np.flatnonzero(wrong)
        return f"{method} differs in {len(where)} rows, first {where[0]}" if len(where) else ""
    given, ours = given.astype(float), ours.astype(float)
    far = np.abs(given - ours) - _ABSOLUTE - _RELATIVE * np.abs(given)
    far = np.where(np.isfinite(given) | np.isfinite(ours), far, -1.0)
    if not (far <= 0).all():
        return f"{method} differs by up to {np.abs(given - ours).max():.1e}"
    return ""


def _margins(model: Any, rows: Any) -> Any:
    rows = _as_taken(model, rows)
    for method in ("predict_proba", "decision_function"):
        if hasattr(model, method):
            scores = getattr(model, method)(rows)
            if isinstance(scores, list):
                return np.ones(len(rows))
            scores = np.asarray(scores, dtype=float).reshape(len(rows), -1)
            if scores.shape[1] == 1:
                return np.abs(scores[:, 0])
            best = np.sort(scores, axis=1)
            return best[:, -1] - best[:, -2]
    return np.ones(len(rows))
