"""Asks rows that the conversion never saw: the original by its own methods, ONNX as callers do.

Nothing here looks at the parity report or uses the code that makes it: a conversion that passes
its own gate and is wrong shows here.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drawn
import numpy as np
import pandas as pd

from fnmodel.errors import InputError
from fnmodel.inference import Predictor

# A tenth of the default budget of parity.
_ABSOLUTE, _RELATIVE = 1e-5, 1e-4
_TIE = 1e-9
_METHODS = {
    "label": "predict", "labels": "predict", "value": "predict", "cluster": "predict",
    "probabilities": "predict_proba", "score": "decision_function", "transformed": "transform",
}  # fmt: skip


@dataclass(frozen=True)
class Fresh:
    """How many rows both answered; how many were declined; what the first that differs is like.

    A row is declined where both refuse it, or the conversion alone does, in words.
    """

    rows: int
    declined: int = 0
    differs: str = ""


def ask(model: Any, trained_on: Any, served: Path, *, trees: bool = False) -> Fresh:
    """Compare a fitted estimator with its conversion on rows of `drawn`.

    Rows next to splits are asked where the model has `trees`.
    """
    predictor = Predictor(served)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = drawn.rows(trained_on)
        fresh = _many(model, many, predictor)
        if fresh.differs:
            return fresh
        if trees and (beside := drawn.edges(trained_on, many)) is not None:
            next_to = _many(model, beside, predictor)
            if next_to.differs:
                return Fresh(fresh.rows, 0, f"next to a split: {next_to.differs}")
            fresh = Fresh(fresh.rows + next_to.rows, fresh.declined + next_to.declined)
        return _odd(model, many, predictor, fresh)


def _many(model: Any, rows: Any, predictor: Predictor) -> Fresh:
    """Ask rows like those of training: what the original answers must not be refused."""
    kept, answers = [], []
    for number, record in enumerate(_records(rows, predictor)):
        try:
            answers.append(predictor.predict([record])[0])
        except InputError as error:
            if _original(model, _take(rows, [number])) is None:
                continue
            return Fresh(len(kept), 0, f"row {number} is refused, but answered before: {error}")
        kept.append(number)
    if not kept:
        return Fresh(0, 0, "every row is refused")
    asked = _take(rows, kept)
    given = _original(model, asked)
    if given is None:
        return Fresh(0, 0, "rows are answered that the original refuses")
    declined = len(_records(rows, predictor)) - len(kept)
    return Fresh(len(kept), declined, _compare(given, answers, lambda: _margins(model, asked)))


def _odd(model: Any, base: Any, predictor: Predictor, before: Fresh) -> Fresh:
    """Ask single odd rows: what the original refuses must be refused, unless nobody looks at it."""
    answered, declined = before.rows, before.declined
    known = {feature.name for feature in predictor.signature.features}
    for what, row in drawn.odd(base):
        if hasattr(row, "columns") and what.partition("=")[0].removesuffix(" missing") not in known:
            continue
        try:
            answers = predictor.predict(_records(row, predictor))
        except InputError:
            declined += 1
            continue
        given = _original(model, row)
        if given is None:
            return Fresh(answered, declined, f"{what} is answered, the original refuses it")

        def margins(row: Any = row) -> Any:
            return _margins(model, row)

        said = _compare(given, answers, margins)
        if said:
            return Fresh(answered, declined, f"{what}: {said}")
        answered += 1
    return Fresh(answered, declined)


def _records(rows: Any, predictor: Predictor) -> list[dict[str, Any]]:
    """Return rows as JSON would carry them to the endpoint."""
    frame = rows if hasattr(rows, "columns") else pd.DataFrame(rows.reshape(len(rows), -1))
    names = [feature.name for feature in predictor.signature.features]
    if not hasattr(rows, "columns"):
        frame = frame.set_axis(names, axis=1)
    columns = [[_plain(value) for value in frame[name].tolist()] for name in names]
    made = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    carried: list[dict[str, Any]] = json.loads(json.dumps(made))
    return carried


def _plain(value: Any) -> Any:
    return None if value is None or value is pd.NA or value != value else value


def _take(rows: Any, kept: Sequence[int]) -> Any:
    return rows.iloc[kept].reset_index(drop=True) if hasattr(rows, "iloc") else rows[kept]


def _original(model: Any, rows: Any) -> dict[str, Any] | None:
    """Return what the model's methods answer, None where one of them refuses the rows."""
    try:
        return dict(_answers(model, rows))
    except Exception:  # an estimator may refuse in any way
        return None


def _answers(model: Any, rows: Any) -> Iterator[tuple[str, Any]]:
    if type(model).__name__ == "Booster":
        if type(model).__module__.partition(".")[0] == "xgboost":
            import xgboost

            rows = xgboost.DMatrix(rows)
        yield "predict", np.asarray(model.predict(rows))
        return
    if hasattr(rows, "columns") and list(rows.columns) == ["text"]:
        rows = rows["text"].tolist()  # a vectorizer reads a list, and of a frame only its names
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        if method == "transform" and hasattr(model, "predict"):
            continue
        if not hasattr(model, method):
            continue
        answer = getattr(model, method)(rows)
        if isinstance(answer, list):
            yield from ((f"{method}_{k}", np.asarray(part)) for k, part in enumerate(answer))
        else:
            yield method, np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer)


def _compare(given: dict[str, Any], answers: Sequence[Any], margins: Callable[[], Any]) -> str:
    """Return what differs first, "" where nothing does."""
    boosted = list(given) == ["predict"] and "probabilities" in answers[0]
    for name in answers[0]:
        plain = name.removesuffix("_output")
        stem, _, part = plain.rpartition("_") if plain[-1].isdigit() else (plain, "", "")
        method = _METHODS.get(stem, "") + (f"_{part}" if part else "")
        if boosted:  # a booster without scikit-learn's interface answers with scores alone
            if name == "label":
                continue
            method = "predict"
        if method not in given:
            return f"output {name!r} is none of the original's"
        said = _differs(method, given[method], _column(answers, name), margins)
        if said:
            return said
    return ""


def _column(answers: Sequence[dict[str, Any]], name: str) -> Any:
    if isinstance(answers[0][name], dict):
        values = [list(one[name].values()) for one in answers]
    else:
        values = [one[name] for one in answers]
    array = np.array(values)
    return array.astype(float) if array.dtype == object and None in array.ravel() else array


def _differs(method: str, given: Any, ours: Any, margins: Callable[[], Any]) -> str:
    if given.size != ours.size:
        if given.ndim == 1 and ours.size == 2 * given.size and ours.dtype.kind == "f":
            given = np.stack([1 - given, given], axis=1)  # a booster tells the second class alone
        else:
            return f"{method} has {given.size} values, ours {ours.size}"
    given = given.reshape(ours.shape)
    whole = given.dtype.kind in "iub" and ours.dtype.kind in "iub"
    if given.dtype.kind in "OUS" or whole:
        wrong = given != ours if whole else given.astype(str) != ours.astype(str)
        wrong = wrong.reshape(len(wrong), -1).any(axis=1)
        if wrong.any():
            wrong &= margins() > _TIE
        where = np.flatnonzero(wrong)
        return f"{method} differs in {len(where)} rows, first {where[0]}" if len(where) else ""
    given, ours = given.astype(float), ours.astype(float)
    both = np.isfinite(given) & np.isfinite(ours)
    far = np.abs(np.where(both, given - ours, 0.0)) - _ABSOLUTE - _RELATIVE * np.abs(given)
    # JSON has no infinities and no NaN: both come as nothing.
    wrong = np.where(both, far > 0, np.isfinite(given) != np.isfinite(ours))
    wrong = wrong.reshape(len(wrong), -1).any(axis=1)
    if method == "decision_function" or not wrong.any():
        return f"{method} differs in {int(wrong.sum())} rows" if wrong.any() else ""
    where = int(np.flatnonzero(wrong)[0])
    row = np.abs(given - ours).reshape(len(wrong), -1)[where].max()
    return f"{method} differs in {int(wrong.sum())} rows, row {where} by {row:.1e}"


def _margins(model: Any, rows: Any) -> Any:
    """Return how decided the original is on each row; a tie may go either way."""
    for method in ("predict_proba", "decision_function"):
        if hasattr(model, method):
            scores = dict(_answers(model, rows)).get(method)
            if scores is None:  # several outputs
                break
            scores = np.asarray(scores, dtype=float).reshape(len(rows), -1)
            if scores.shape[1] == 1:
                return np.abs(scores[:, 0])
            best = np.sort(scores, axis=1)
            return best[:, -1] - best[:, -2]
    return np.ones(len(rows))
