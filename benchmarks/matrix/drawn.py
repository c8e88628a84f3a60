"""Draws rows that a conversion never saw, from the values of training alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

ROWS = 400
EDGES = 200
_SEED = 20_240
_HOLES = 40
_ODD_COLUMNS = 12
_PROSE = 100
_UNSEEN = ("never seen", "", "Straße ٣ \u0130")
_FAR = 1000.0


def rows(trained_on: Any) -> Any:
    """Return 400 new combinations of training's values, in the form that the model was fitted on.

    Each column is drawn by itself. Half of all fractions are moved by noise, texts are put
    together from two halves, and where training had missing values, some are taken away.
    """
    random = np.random.default_rng(_SEED)
    frame = _frame(trained_on)
    return _like(trained_on, pd.DataFrame({n: _column(frame[n], random) for n in frame.columns}))


def edges(trained_on: Any, base: Any) -> Any:
    """Return 200 of the base rows, each with a fraction at, or next to, the middle of two values.

    Trees split there: at the middle of two neighbours in float64, or in float32.
    """
    random = np.random.default_rng(_SEED + 1)
    frame, copies = _frame(trained_on), _frame(base).head(EDGES).copy()
    numeric = [name for name in frame.columns if frame[name].dtype.kind == "f"]
    if not numeric:
        return None
    chosen = random.integers(0, len(numeric), len(copies))
    for k, name in enumerate(numeric):
        known = np.unique(frame[name].dropna().to_numpy())
        at = np.flatnonzero(chosen == k)
        if len(known) < 2 or not len(at):
            continue
        pick = random.integers(0, len(known) - 1, len(at))
        low, high = known[pick], known[pick + 1]
        single = (low.astype(np.float32) / 2 + high.astype(np.float32) / 2).astype(np.float64)
        middle = np.where(random.random(len(at)) < 0.5, low / 2 + high / 2, single)
        aside = np.nextafter(middle, random.choice([-np.inf, np.inf], len(at)))
        values = copies[name].to_numpy().copy()
        values[at] = np.where(random.random(len(at)) < 0.4, middle, aside)
        copies[name] = values
    return _like(base, copies)


def odd(base: Any) -> Iterator[tuple[str, Any]]:
    """Yield single rows with one value that is unknown, missing or far away, and what it is."""
    frame = _frame(base)
    names = list(frame.columns)
    for position, name in enumerate(names[:: max(1, len(names) // _ODD_COLUMNS)]):
        row = frame.iloc[[position]].reset_index(drop=True)
        column = frame[name]
        if column.dtype.kind in "OSU" or column.dtype.name in ("category", "str", "string"):
            for text in _UNSEEN:
                # A frame of one's own has categories of its own.
                kind = "category" if column.dtype.name == "category" else object
                changed = pd.Series([text], dtype=kind)
                yield f"{name}={text!r}", _like(base, row.assign(**{str(name): changed}))
        elif column.dtype.kind in "iu":
            for number in (int(column.max()) + 1, int(column.min()) - 1):
                yield f"{name}={number}", _like(base, _with(row, name, number, column.dtype))
        elif column.dtype.kind == "f":
            far = float(np.nanmax(np.abs(column))) * _FAR
            for value in (far, -far, 0.0):
                yield f"{name}={value:g}", _like(base, _with(row, name, value, column.dtype))
        if column.dtype.kind != "b":
            kind = column.dtype if column.dtype.kind not in "iu" else np.float64
            empty = pd.Series([np.nan]).astype(kind)
            yield f"{name} missing", _like(base, _replaced(row, name, empty))


def _column(values: Any, random: np.random.Generator) -> Any:
    taken = values.iloc[random.integers(0, len(values), ROWS)].reset_index(drop=True)
    if values.dtype.kind == "f" and (values.dropna() % 1 != 0).any():
        noise = random.normal(0, 0.3 * float(values.std()), ROWS)
        moved = taken + np.where(random.random(ROWS) < 0.5, noise, 0.0)
        taken = moved.clip(lower=values.min()).astype(values.dtype)
    if values.dtype.kind not in "fiub" and values.nunique() > _PROSE:
        # Texts of one's own: two halves that training did not have together.
        other = values.iloc[random.integers(0, len(values), ROWS)].reset_index(drop=True)
        pairs = zip(taken.astype(str), other.astype(str), strict=True)
        joined = [first[: len(first) // 2] + second[len(second) // 2 :] for first, second in pairs]
        taken = pd.Series(joined, dtype=values.dtype)
    if values.isna().any():
        holes = random.integers(0, ROWS, _HOLES)
        taken = taken.mask(pd.Series(np.isin(np.arange(ROWS), holes)))
    return taken


def _frame(rows: Any) -> Any:
    return rows if hasattr(rows, "columns") else pd.DataFrame(np.asarray(rows))


def _like(base: Any, frame: Any) -> Any:
    if hasattr(base, "columns"):
        return frame
    array = np.asarray(base)
    made = frame.to_numpy().reshape(len(frame), *array.shape[1:])
    return made if np.isnan(made.astype(float)).any() else made.astype(array.dtype)


def _with(row: Any, name: Any, value: Any, dtype: Any) -> Any:
    return _replaced(row, name, pd.Series([value]).astype(dtype))


def _replaced(row: Any, name: Any, column: Any) -> Any:
    changed = row.copy()
    changed[name] = column.to_numpy() if column.dtype.kind == "f" else column
    return changed
