"""A chunk of CSV rows in; predictions and the rows that could not be scored out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from fnmodel.arrays import DTYPES, Array
from fnmodel.batch.table import Row
from fnmodel.errors import InputError
from fnmodel.fields import parser
from fnmodel.inference import Predictor, encode_column
from fnmodel.model import MISSING_TEXT, Feature, Signature
from fnmodel.values import encode_value


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be scored, the column at fault ("" for the row as a whole), and why."""

    row: Row
    column: str
    reason: str


class Scorer:
    """Scores the rows of one CSV object, whose header names the columns.

    `problem` says why no row of it can be scored, or is empty. `header` is that of the scored
    part: the input's columns, then the prediction's, which are renamed to `predicted_…` where
    the input has a column of the same name. What the project's own `postprocess` answers is one
    column of JSON, `prediction`.
    """

    def __init__(self, predictor: Predictor, header: Sequence[str]) -> None:
        self._predictor = predictor
        features = predictor.signature.asked
        self._width = len(header)
        self.problem = _header_problem(features, header)
        self._columns: list[tuple[Feature, int | None]] = [
            (feature, header.index(feature.name) if feature.name in header else None)
            for feature in features
        ]
        added: list[str] = []
        steps = predictor.processing
        self._own_answers = steps is not None and steps.postprocess is not None
        columns = ["prediction"] if self._own_answers else prediction_columns(predictor.signature)
        for name in columns:
            while name in header or name in added:
                name = f"predicted_{name}"  # noqa: PLW2901
            added.append(name)
        self.header = [*header, *added]

    def score(self, rows: Sequence[Row]) -> tuple[list[list[Any]], list[Bad]]:
        """Return scored rows in order (the input's fields, then the prediction) and bad ones."""
        bad: dict[int, Bad] = {}
        for index, row in enumerate(rows):
            reason = self._shape_problem(row)
            if reason:
                bad[index] = Bad(row, "", reason)
        whole = [index for index in range(len(rows)) if index not in bad]
        encoded: list[Array] = []
        for feature, position in self._columns:
            texts = ["" if position is None else rows[i].fields[position] for i in whole]
            column, reasons = _encode(feature, texts)
            encoded.append(column)
            for offset, reason in reasons.items():
                bad.setdefault(whole[offset], Bad(rows[whole[offset]], feature.name, reason))
        good = [offset for offset, index in enumerate(whole) if index not in bad]
        if len(good) < len(whole):
            encoded = [column[good] for column in encoded]
        scored: list[list[Any]] = []
        picked = [rows[whole[offset]] for offset in good]
        refused: dict[int, Bad] = {}
        self._run(picked, encoded, scored, refused)
        bad.update({whole[good[at]]: item for at, item in refused.items()})
        return scored, [bad[index] for index in sorted(bad)]

    def _shape_problem(self, row: Row) -> str:
        if row.problem or self.problem:
            return row.problem or self.problem
        if len(row.fields) != self._width:
            return f"has {len(row.fields)} fields, the header has {self._width}"
        return ""

    def _run(
        self,
        rows: Sequence[Row],
        columns: Sequence[Array],
        scored: list[list[Any]],
        bad: dict[int, Bad],
        start: int = 0,
    ) -> None:
        """Run the graph; rows that it refuses are found by halving the chunk."""
        if not rows:
            return
        predictor = self._predictor
        try:
            predictions = self._predictions(columns)
        except InputError as error:
            if len(rows) == 1:
                bad[start] = Bad(rows[0], "", error.message)
                return
            half = len(rows) // 2
            self._run(rows[:half], [c[:half] for c in columns], scored, bad, start)
            self._run(rows[half:], [c[half:] for c in columns], scored, bad, start + half)
            return
        flatten = _as_json if self._own_answers else _flattener(predictor.signature)
        for row, prediction in zip(rows, predictions, strict=True):
            scored.append([*row.fields, *flatten(prediction)])

    def _predictions(self, columns: Sequence[Array]) -> list[Any]:
        predictor = self._predictor
        if predictor.processing is None:
            return predictor.decode(predictor.run(predictor.assemble(columns)))
        names = [feature.name for feature, _ in self._columns]
        values = [
            [_sent(feature, value) for value in column.tolist()]
            for (feature, _), column in zip(self._columns, columns, strict=True)
        ]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        return predictor.predict(rows)


def _sent(feature: Feature, value: Any) -> Any:
    """Return an encoded value as a caller would have sent it."""
    if value != value or value == MISSING_TEXT:
        return None
    return int(value) if feature.integral and isinstance(value, float) else value


def prediction_columns(signature: Signature) -> list[str]:
    """Return the columns of a prediction: label and probability_<class>, value, or the outputs."""
    if signature.label is not None:
        scores = signature.classes if signature.scores is not None else ()
        return ["label", *(f"probability_{name}" for name in scores)]
    if signature.task == "regression" and len(signature.outputs) == 1:
        return ["value"]
    return [tensor.name for tensor in signature.outputs]


def _flattener(signature: Signature) -> Callable[[Mapping[str, Any]], list[Any]]:
    if signature.label is not None and signature.scores is not None:
        return lambda p: [p["label"], *p["probabilities"].values()]
    return lambda p: [_cell(value) for value in p.values()]


def _as_json(prediction: Any) -> list[Any]:
    return [orjson.dumps(prediction, option=orjson.OPT_SERIALIZE_NUMPY).decode()]


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, list) else value


def _header_problem(features: Sequence[Feature], header: Sequence[str]) -> str:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        return f"the header names column {twice[0]!r} twice"
    missing = [f.name for f in features if f.name not in header and not f.nullable]
    if missing:
        return "the header lacks " + ", ".join(repr(name) for name in missing[:5])
    if not features:
        return "this model has no named features"
    return ""


def _encode(feature: Feature, texts: Sequence[str]) -> tuple[Array, dict[int, str]]:
    """Return the encoded column, and why the values at some positions do not fit.

    What stands in the column at those positions means nothing.
    """
    parse = parser(feature)
    try:
        return encode_column(feature, [parse(text) for text in texts]), {}
    except (InputError, ValueError):
        pass  # the rows at fault are found one by one
    column = np.zeros(len(texts), dtype=DTYPES[feature.datatype])
    reasons: dict[int, str] = {}
    for index, text in enumerate(texts):
        try:
            column[index] = encode_value(feature, parse(text))
        except InputError as error:
            reasons[index] = error.message
        except ValueError as error:
            reasons[index] = str(error)
    return column, reasons
