"""Chunks of rows in; their predictions, and the rows that could not be scored, out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.arrays import DTYPES, Array
from fnmodel.batch.chunk import Bad, Chunk, Read
from fnmodel.batch.predictions import column_names, columns, json_column
from fnmodel.errors import InputError
from fnmodel.inference import Predictor
from fnmodel.model import MISSING_TEXT, Feature


@dataclass(frozen=True)
class Scored:
    """The good rows of a chunk with their predictions, one array a column, and the bad rows."""

    chunk: Chunk
    predictions: Sequence[Array]
    bad: Sequence[Bad]
    broken: str = ""

    @property
    def size(self) -> int:
        """All rows, good and bad."""
        return len(self.chunk) + len(self.bad)


class Scorer:
    """Scores the chunks of one object. May be used from several threads.

    `names` are its columns, those of the first row where rows are not `alike`. `problem` says why
    no row of it can be scored, or is empty. `kept` are the input's columns that
    go into results. `added` are the prediction's: renamed to
    `predicted_…` where the input has a column of the same name. What the project's own
    `postprocess` answers is one column of JSON, `prediction`.
    """

    def __init__(
        self,
        predictor: Predictor,
        names: Sequence[str],
        *,
        alike: bool = True,
        keep: Sequence[str] | None = None,
        probabilities: bool = True,
    ) -> None:
        self._predictor = predictor
        self._features = predictor.signature.asked
        if not self._features:
            self.problem = "this model has no named features"
        else:
            self.problem = _problem(self._features, names, keep) if alike else ""
        self.kept = names if keep is None else keep
        self._all_columns = keep is None
        steps = predictor.processing
        signature = predictor.signature
        quick = steps is None and signature.stacked
        self._stacked = DTYPES[signature.inputs[0].datatype] if quick else None
        self._own_answers = steps is not None and steps.postprocess is not None
        found = ["prediction"] if self._own_answers else column_names(predictor.signature)
        if not probabilities and predictor.signature.label is not None and not self._own_answers:
            found = found[:1]
        added: list[str] = []
        for name in found:
            while name in self.kept or name in added:
                name = f"predicted_{name}"  # noqa: PLW2901
            added.append(name)
        self.added = tuple(added)

    def score(self, read: Read) -> Scored:
        """Score the rows that were read; those that do not fit join the bad ones."""
        chunk = read.chunk
        bad = [*read.bad]
        if self.problem:
            bad += [chunk.bad(row, "", self.problem) for row in range(len(chunk))]
            return self._done(chunk.take(()), [], bad, read.broken)
        matrix = None
        if self._stacked is not None and len(chunk):
            matrix = chunk.matrix(self._features, self._stacked)
        encoded: list[Array] = []
        reasons: dict[int, tuple[str, str]] = {}
        for feature in self._features if matrix is None else ():
            column, found = chunk.encode(feature)
            encoded.append(column)
            for row, reason in found.items():
                reasons.setdefault(row, (feature.name, reason))
        if self._all_columns:
            for row, name in chunk.clashes(self.added).items():
                reasons.setdefault(row, (name, "is the name of a column of the prediction"))
        if reasons:
            bad += [chunk.bad(row, *why) for row, why in reasons.items()]
            good = [row for row in range(len(chunk)) if row not in reasons]
            chunk, encoded = chunk.take(good), [column[good] for column in encoded]
            matrix = None if matrix is None else matrix[good]
        refused: dict[int, str] = {}
        given = encoded if matrix is None else [matrix]
        parts = self._run(given, 0, len(chunk), refused)
        if refused:
            bad += [chunk.bad(row, "", reason) for row, reason in refused.items()]
            chunk = chunk.take([row for row in range(len(chunk)) if row not in refused])
        whole = _joined(parts) if parts else self._predictions([], 0)
        return self._done(chunk, whole, bad, read.broken)

    def _done(
        self, chunk: Chunk, predictions: Sequence[Array], bad: list[Bad], broken: str
    ) -> Scored:
        bad.sort(key=lambda entry: entry.line)
        return Scored(chunk, predictions[: len(self.added)], bad, broken)

    def _run(
        self, encoded: Sequence[Array], start: int, stop: int, refused: dict[int, str]
    ) -> list[list[Array]]:
        """Run the graph on some rows; those that it refuses are found by halving the chunk."""
        try:
            return [self._predictions([column[start:stop] for column in encoded], stop - start)]
        except InputError as error:
            if stop - start == 1:
                refused[start] = error.message
                return []
            half = (start + stop) // 2
            first = self._run(encoded, start, half, refused)
            return first + self._run(encoded, half, stop, refused)

    def _predictions(self, encoded: Sequence[Array], size: int) -> list[Array]:
        predictor = self._predictor
        if not size:
            if self._own_answers:
                return json_column([])
            signature = predictor.signature
            return columns(signature, predictor.no_rows([t.name for t in signature.outputs]))
        if predictor.processing is None:
            whole = self._stacked is not None and encoded[0].ndim == 2
            name = predictor.signature.inputs[0].name
            tensors = {name: encoded[0]} if whole else predictor.assemble(encoded)
            outputs = predictor.run(tensors)
            return columns(predictor.signature, outputs)
        names = [feature.name for feature in self._features]
        values = [
            [_sent(feature, value) for value in column.tolist()]
            for feature, column in zip(self._features, encoded, strict=True)
        ]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        if self._own_answers:
            return json_column(predictor.predict(rows))
        given = predictor.processing.before(predictor.checked(rows))
        return columns(predictor.signature, predictor.run(predictor.encode(given)))


def _joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
    if len(parts) == 1:
        return [*parts[0]]
    return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def _sent(feature: Feature, value: Any) -> Any:
    """Return an encoded value as a caller would have sent it."""
    if value != value or value == MISSING_TEXT:
        return None
    return int(value) if feature.integral and isinstance(value, float) else value


def _problem(features: Sequence[Feature], names: Sequence[str], keep: Sequence[str] | None) -> str:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"the header names column {twice[0]!r} twice"
    missing = [f.name for f in features if f.name not in names and not f.nullable]
    missing += [name for name in keep or () if name not in names and name not in missing]
    if missing:
        return "the header lacks " + ", ".join(repr(name) for name in missing[:5])
    return ""
