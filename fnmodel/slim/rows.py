"""The rows that the parity check asks: the sample's, and copies with values missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.slim.original import Original
from fnmodel.slim.signature import Column

Array = NDArray[Any]

LIMIT = 2000
_EMPTIED_ROWS = 5


@dataclass(frozen=True)
class Rows:
    """Rows as a frame, with where each came from and which features were emptied in it."""

    frame: Any
    index: tuple[int, ...]
    emptied: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @property
    def from_sample(self) -> int:
        """How many rows are the sample's own."""
        return sum(not names for names in self.emptied)


def nullable_columns(original: Original, frame: Any) -> frozenset[str]:
    """Return the columns that have missing values in the sample and that the model copes with."""
    holed = [name for name in frame.columns if frame[name].isna().any()]
    copes = set()
    for name in holed:
        others = frame.drop(columns=name).notna().all(axis=1)
        rows = frame[frame[name].isna() & others]
        probe = rows.head(1) if len(rows) else frame[frame[name].isna()].head(1)
        if _answers(original, probe):
            copes.add(name)
    return frozenset(copes)


def gather(original: Original, frame: Any, nullable: frozenset[str]) -> Rows:
    """Return the rows to compare: at most 2,000 of the sample, then emptied copies.

    Rows that no request could carry are left out: infinite numbers, and missing values in a
    column where the model refuses them.

    Raises:
        SlimError: the original model fails on the rows that are left, or none is left.

    """
    refused = frame.drop(columns=list(nullable)).isna().any(axis=1)
    numbers = frame.select_dtypes("number")
    endless = np.isinf(numbers.to_numpy(dtype=float)).any(axis=1)
    good = np.flatnonzero(~(refused.to_numpy() | endless))
    notes = []
    if len(good) < len(frame):
        notes.append(
            f"{len(frame) - len(good)} rows of the sample left out: infinite numbers, or missing "
            "values that the model refuses"
        )
    if not len(good):
        raise SlimError("the sample has no row that the model could answer")
    if len(good) > LIMIT:
        good = np.sort(np.random.default_rng(0).choice(good, LIMIT, replace=False))
    chosen = frame.iloc[good].reset_index(drop=True)
    index = [int(i) for i in good]
    emptied: list[tuple[str, ...]] = [()] * len(good)
    copies, copied_index, copied_names = _emptied(chosen, sorted(nullable))
    if copies:
        import pandas as pd

        chosen = pd.concat([chosen, *copies], ignore_index=True)
        index += [index[i] for i in copied_index]
        emptied += copied_names
    _check(original, chosen)
    return Rows(chosen, tuple(index), tuple(emptied), tuple(notes))


def records(frame: Any, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return a frame's rows as JSON would carry them, None for a missing value."""
    values = {c.name: [_plain(v) for v in frame[c.name].tolist()] for c in columns}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _emptied(
    frame: Any, nullable: Sequence[str]
) -> tuple[list[Any], list[int], list[tuple[str, ...]]]:
    """Return copies of the first rows with each nullable feature missing, and with all of them."""
    sets: list[tuple[str, ...]] = [(name,) for name in nullable]
    if len(nullable) > 1:
        sets.append(tuple(nullable))
    copies, index, names = [], [], []
    for chosen in sets:
        copy = frame.head(_EMPTIED_ROWS).copy()
        for name in chosen:
            copy[name] = copy[name].mask(np.ones(len(copy), dtype=bool))
        copies.append(copy)
        index += list(range(len(copy)))
        names += [chosen] * len(copy)
    return copies, index, names


def _answers(original: Original, frame: Any) -> bool:
    try:
        original.answer(frame)
    except (ValueError, TypeError):
        return False
    return True


def _check(original: Original, frame: Any) -> None:
    try:
        original.answer(frame.head(1))
    except Exception as error:
        # Any estimator may raise anything for a sample that is not like its training data.
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise SlimError(
            f"the original model fails on the sample: {first}",
            hint="the sample must look like the training data; is `target:` right?",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:  # NaN is the one value that differs from itself
        return None
    return value
