"""Writers of encoders: what a category becomes, known, unknown or missing."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fnmodel.model import MISSING_TEXT
from fnmodel.slim.converters.emit import Block, Emitter, Table, Writers


def writers() -> Writers:
    """Return the writers by method and class."""
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    return {
        "transform": {
            OneHotEncoder: _one_hot,
            OrdinalEncoder: _ordinal,
            TargetEncoder: _target,
        }
    }


@dataclass(frozen=True)
class Learned:
    """What an encoder writes for each category of each column, and for one that it never saw.

    `categories[i]` are column i's, missing ones included; `rows[i]`, of shape (categories, width),
    is what it writes for each; `unknown[i]`, shape (width,), or None where it refuses.
    """

    categories: list[Any]
    rows: list[Any]
    unknown: list[Any] | None


def _learned(encoder: Any, widths: list[int], *, refuses: bool) -> Learned:
    """Ask the encoder itself about every category; it knows drop, min_frequency and the rest."""
    import pandas as pd

    known = [np.asarray(values) for values in encoder.categories_]
    most = max((len(values) for values in known), default=0)
    names = getattr(encoder, "feature_names_in_", range(len(known)))

    def ask(columns: list[Any]) -> Any:
        frame = pd.DataFrame(dict(zip(names, columns, strict=True)))
        answer = encoder.transform(frame if hasattr(encoder, "feature_names_in_") else
                                   _objects(columns))  # fmt: skip
        answer = answer.toarray() if hasattr(answer, "toarray") else answer
        return np.asarray(answer, dtype=np.float64)

    filled = [
        pd.Series(values.take(np.minimum(np.arange(most), len(values) - 1)), dtype=values.dtype)
        for values in known
    ]
    answers = ask(filled)
    stops = np.cumsum([0, *widths])
    rows = [answers[: len(v), a:b] for v, (a, b) in zip(known, pairwise(stops), strict=True)]
    if refuses:
        return Learned(known, rows, None)
    strange = [
        pd.Series([_strange(values)], dtype=np.int64 if values.dtype.kind == "b" else values.dtype)
        for values in known
    ]
    answer = ask(strange)[0]
    return Learned(known, rows, [answer[a:b] for a, b in pairwise(stops)])


def _objects(columns: list[Any]) -> Any:
    if len({column.dtype for column in columns}) == 1:
        return np.column_stack([column.to_numpy() for column in columns])
    return np.column_stack([column.to_numpy().astype(object) for column in columns])


def _strange(values: Any) -> Any:
    """Return a value that is none of the known ones."""
    if any(isinstance(value, str) for value in values):
        return max(value for value in values if isinstance(value, str)) + "\U0010ffff"
    if values.dtype.kind == "b":
        return 2
    present = [float(v) for v in values if v is not None and v == v]
    return (max(present) if present else 0.0) + 1.0


def _positions(e: Emitter, encoder: Any, block: Block, known: Any) -> str:
    """Return the position of each value among the known ones, their count for others; (rows, 1)."""
    graph, count = e.graph, len(known)
    texts = any(isinstance(value, str) for value in known)
    if block.kind == "text":
        if not texts and any(not _missing(value) for value in known):
            e.refuse(encoder, "it knows numbers where its column holds text")
        if sum(_missing(value) for value in known) > 1:
            e.refuse(encoder, "it tells None from NaN, which no request can")
        others = [value for value in known if not _missing(value)]
        if any(not isinstance(value, str) for value in others):
            e.refuse(encoder, "it knows texts and numbers in one column")
        keys = [MISSING_TEXT if _missing(value) else value for value in known]
        return str(
            graph.op(
                "LabelEncoder",
                block.name,
                domain="ai.onnx.ml",
                keys_strings=keys,
                values_int64s=list(range(count)),
                default_int64=count,
            )
        )
    if texts:
        e.refuse(encoder, "it knows text where its column holds numbers")
    whole = block.kind == "code" and known.dtype.kind in "iub"
    values = block.name if whole else e.numbers(Table((block,)), encoder)
    holes = np.array([[_missing(value) for value in known]])
    plain = np.array([[np.nan if _missing(value) else float(value) for value in known]])
    whole_keys = known.astype(np.int64).reshape(1, -1) if whole else None
    equal = graph.op("Equal", values, plain if whole_keys is None else whole_keys)
    if holes.any():
        hole = graph.op("And", graph.op("IsNaN", values), holes)
        equal = graph.op("Or", equal, hole)
    found = graph.integer(equal)
    any_found = graph.largest(found)
    # The first 1 is the position; a row without any takes the column behind the last.
    return graph.argmax(graph.concat([found, graph.sub(1, any_found)]), keep=True)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _close(e: Emitter, encoder: Any, block: Block, known: Any) -> None:
    plain = [None if _missing(value) else _plain(value) for value in known]
    e.close(encoder, block, plain)


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        return int(plain)
    return int(plain) if isinstance(plain, float) and plain == int(plain) else plain


def _one_hot(e: Emitter, encoder: Any, table: Table) -> Table:
    graph, done = e.graph, []
    refuses = encoder.handle_unknown == "error"
    widths = [int(width) for width in encoder._n_features_outs]  # noqa: SLF001
    learned = _learned(encoder, widths, refuses=refuses)
    for at, block in enumerate(e.columns(table)):
        known, rows, width = learned.categories[at], learned.rows[at], widths[at]
        if refuses:
            _close(e, encoder, block, known)
        if not width:
            continue
        columns = np.where(rows.any(axis=1), rows.argmax(axis=1), -1)
        other = -1
        if learned.unknown is not None and learned.unknown[at].any():
            other = int(learned.unknown[at].argmax())
        place = np.r_[columns, other]
        found = _positions(e, encoder, block, known)
        if not np.array_equal(place[:-1], np.arange(width)) or other != -1:
            found = graph.gather(place, found, axis=0)
        done.append(graph.double(graph.op("Equal", found, np.arange(width).reshape(1, -1))))
    if not done:
        e.refuse(encoder, "it keeps no column")
    return Table.numbers(graph.concat(done), sum(widths))


def _ordinal(e: Emitter, encoder: Any, table: Table) -> Table:
    refuses = encoder.handle_unknown == "error"
    widths = [1] * len(encoder.categories_)
    return _looked_up(e, encoder, table, _learned(encoder, widths, refuses=refuses))


def _target(e: Emitter, encoder: Any, table: Table) -> Table:
    several = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
    widths = [several] * len(encoder.categories_)
    return _looked_up(e, encoder, table, _learned(encoder, widths, refuses=False))


def _looked_up(e: Emitter, encoder: Any, table: Table, learned: Learned) -> Table:
    graph, done = e.graph, []
    for at, block in enumerate(e.columns(table)):
        known, rows = learned.categories[at], learned.rows[at]
        other = np.zeros(rows.shape[1])
        if learned.unknown is None:
            _close(e, encoder, block, known)
        else:
            other = learned.unknown[at]
        found = graph.reshape(_positions(e, encoder, block, known), -1)
        answers = rows if learned.unknown is None else np.vstack([rows, other])
        codes = tuple(np.unique(answers).tolist()) if rows.shape[1] == 1 else None
        value = graph.gather(np.vstack([rows, other]), found, axis=0)
        done.append(Block.numbers(value, rows.shape[1], codes))
    return Table(tuple(done))
