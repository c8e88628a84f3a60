"""The rows that the parity check asks: the sample's, and copies of them where models go wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.slim.original import Original
from fnmodel.slim.signature import Column
from fnmodel.slim.subject import Origin
from fnmodel.slim.trees import edges

Array = NDArray[Any]

LIMIT = 2000
EDGE_ROWS = 1000
_COPIES = 5
_COPIED_ROWS = 500
# A text that no training set has: an unassigned code point, a space, capitals.
_UNSEEN_TEXT = "\ufffd Unseen"


@dataclass(frozen=True)
class Rows:
    """Rows as a frame, with where each came from and which features were changed in it."""

    frame: Any
    origin: tuple[Origin, ...]
    index: tuple[int, ...]
    changed: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    refused: tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...] = ()

    @property
    def from_sample(self) -> int:
        """How many rows, the first ones, are the sample's own."""
        return self.origin.count("sample")


@dataclass
class _Gathered:
    frames: list[Any]
    origin: list[Origin] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    changed: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, origin: Origin, copies: Any, index: Sequence[int], names: Any) -> None:
        self.frames.append(copies)
        self.origin += [origin] * len(copies)
        self.index += index
        self.changed += names


def nullable_columns(original: Original, frame: Any, *, every: bool = False) -> frozenset[str]:
    """Return the columns whose missing values the model copes with.

    Columns that have none in the sample are asked about where `every` is set.
    """
    copes = set()
    for name in frame.columns:
        holes = frame[name].isna()
        if not (every or holes.any()):
            continue
        others = frame.drop(columns=name).notna().all(axis=1)
        rows = frame[holes & others] if (holes & others).any() else frame[holes]
        probe = rows.head(1) if len(rows) else _without(frame.head(1), (name,))
        if _answers(original, probe):
            copes.add(name)
    return frozenset(copes)


def gather(
    original: Original, frame: Any, columns: Sequence[Column], nullable: frozenset[str]
) -> Rows:
    """Return the rows to compare: at most 2,000 of the sample, then changed copies of some.

    Copies have values taken away where the model copes with that, categories that it never saw,
    and numbers next to the splits of its trees. Rows of the sample that no request could carry are
    left out: infinite numbers, and missing values in a column where the model refuses them.

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
    _check(original, chosen)
    rows = _Gathered([])
    index = [int(i) for i in good]
    rows.add("sample", chosen, index, [()] * len(good))
    for emptied, copies in _emptied(chosen, sorted(nullable)):
        rows.add("missing", copies, index[: len(copies)], [emptied] * len(copies))
    turned_down = []
    for name, copies in _unseen(chosen, columns):
        if _answers(original, copies):
            rows.add("unseen", copies, index[: len(copies)], [(name,)] * len(copies))
        else:
            turned_down.append(((name,), records(copies.head(1), columns)[0]))
    moved, features, base = edges.of(original.model, chosen, EDGE_ROWS, seed=0)
    if len(moved):
        rows.add("edge", moved, [index[i] for i in base], [(name,) for name in features])
    return Rows(
        _together(rows.frames),
        tuple(rows.origin),
        tuple(rows.index),
        tuple(rows.changed),
        tuple(notes),
        tuple(turned_down),
    )


def records(frame: Any, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return a frame's rows as JSON would carry them, None for a missing value."""
    values = {c.name: [_plain(v) for v in frame[c.name].tolist()] for c in columns}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _emptied(frame: Any, nullable: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield copies of the first rows with each nullable feature missing, and with all of them."""
    sets: list[tuple[str, ...]] = [(name,) for name in nullable]
    if len(nullable) > 1:
        sets.insert(0, tuple(nullable))
    for names in sets[:_COPIED_ROWS]:
        yield names, _without(frame.head(max(1, min(_COPIES, _COPIED_ROWS // len(sets)))), names)


def _without(frame: Any, names: Sequence[str]) -> Any:
    """Return a copy with the values of the named columns missing."""
    return frame.assign(
        **{name: frame[name].mask(np.ones(len(frame), dtype=bool)) for name in names}
    )


def _unseen(frame: Any, columns: Sequence[Column]) -> Iterator[tuple[str, Any]]:
    """Yield copies of the first rows with values that an encoder has not learned."""
    for column in [c for c in columns if c.kind != "number"][: _COPIED_ROWS // _COPIES]:
        values: tuple[Any, ...] = (_UNSEEN_TEXT, "")
        if column.kind == "code":
            known = frame[column.name].to_numpy(dtype=np.int64)
            values = (int(known.max()) + 1, int(known.min()) - 1)
        for value in values:
            copy = frame.head(_COPIES).copy()
            kind = object if column.kind == "text" else np.int64
            copy[column.name] = np.full(len(copy), value, dtype=kind)
            yield column.name, copy


def _together(frames: Sequence[Any]) -> Any:
    import pandas as pd

    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def _answers(original: Original, frame: Any) -> bool:
    try:
        original.answer(frame)
    except Exception:  # an estimator may refuse in any way
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
