"""The `words` step: texts to weighted counts of terms, as scikit-learn's vectorizers give them.

A row of counts is nearly all zeros, so counting and weighing go by the terms that occur; the order
of every sum is scikit-learn's, so that the weights are equal to the last bit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from fnmodel.front.analyze import Analyzer, analyzer
from fnmodel.front.column import texts
from fnmodel.front.murmur import murmur3

Array = np.ndarray[Any, np.dtype[Any]]

_BYTES = 64 << 20
_SPARSE_ROWS = 256
_REMEMBERED_TERMS = 1 << 16

_FLOATS: Mapping[str, np.dtype[Any]] = {"FP32": np.dtype(np.float32), "FP64": np.dtype(np.float64)}


class Cells(NamedTuple):
    """The cells of a (rows, width) matrix that are written, row by row, columns ascending."""

    rows: int
    row: Array
    column: Array
    value: Array

    def keep(self, mask: Array) -> "Cells":
        """Return only the cells where `mask`, shape (cells,), is true."""
        return Cells(self.rows, self.row[mask], self.column[mask], self.value[mask])

    def ones(self) -> "Cells":
        """Return the cells with 1 in each."""
        return self._replace(value=np.ones_like(self.value))


Weigh = Callable[[Cells], Cells]


@dataclass(frozen=True)
class Words:
    """Texts, shape (rows, 1) or column `source` of (rows, F), to a matrix of float64.

    With one output it is the whole matrix, (rows, width). With two (`sparse`) it is the values that
    a row writes and the numbers of their columns, both (rows, L), where L is at least 1 and as
    much as the fullest row of the batch needs: a graph that multiplies gathers `fan_out` weights
    for each. At a width of 50,000 this answers a row 5 times, 1,000 rows 25 times faster.
    """

    analyze: Analyzer
    codes_of: Callable[[Iterable[str]], Iterable[int]]
    signed: bool
    columns: int
    binary: bool
    dtype: np.dtype[Any]
    weigh: tuple[Weigh, ...]
    width: int
    sparse: bool
    fan_out: int = 1
    source: int = 0

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Words":
        """Read the parameters of the step.

        Either `vocabulary` holds the terms in the order of their columns, or `hashing` says how
        many columns (`n_features`) terms are hashed to, and whether a hash gives a sign too
        (`alternate_sign`).
        """
        signed = False
        if "hashing" in data:
            columns = int(data["hashing"]["n_features"])
            signed = bool(data["hashing"]["alternate_sign"])
            codes_of = _hashed(columns, signed=signed)
        else:
            columns = len(data["vocabulary"])
            codes_of = _known(data["vocabulary"])
        width = columns
        weigh = tuple(_weigh(entry) for entry in data["then"])
        for entry in data["then"]:
            width = len(entry["columns"]) if entry["op"] == "columns" else width
        return Words(
            analyze=analyzer(data),
            codes_of=codes_of,
            signed=signed,
            columns=columns,
            binary=bool(data["binary"]),
            dtype=_FLOATS[data["datatype"]],
            weigh=weigh,
            width=width,
            sparse=len(data["outputs"]) > 1,
            fan_out=int(data.get("fan_out", 1)),
            source=int(data.get("column", 0)),
        )

    @property
    def rows_at_once(self) -> int:
        """How many rows keep the matrix small."""
        if self.sparse:
            return _SPARSE_ROWS
        return max(1, _BYTES // (8 * max(1, self.width)))

    def weight(self, outputs: Sequence[Array]) -> int:
        """Return the bytes that the graph makes of the outputs."""
        return 8 * self.fan_out * outputs[0].size if self.sparse else 0

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return the matrix, or its written values and their columns.

        Raises:
            InputError: the input is not text.

        """
        cells = self._count(texts(inputs[0], self.source))
        for weigh in self.weigh:
            cells = weigh(cells)
        if self.sparse:
            return _padded(cells)
        dense = np.zeros((cells.rows, self.width))
        dense[cells.row, cells.column] = cells.value
        return (dense,)

    def _count(self, documents: Sequence[str]) -> Cells:
        if len(documents) == 1:
            return self._count_one(documents[0])
        codes: list[int] = []
        sizes: list[int] = []
        for document in documents:
            terms = self.analyze(document)
            codes += self.codes_of(terms)
            sizes.append(len(terms))
        code = np.array(codes, dtype=np.int64)
        row = np.repeat(np.arange(len(sizes)), sizes)[code >= 0]
        code = code[code >= 0]
        column = code >> 1 if self.signed else code
        cell, place = np.unique(row * self.columns + column, return_inverse=True)
        # Terms of opposite signs may share a column, and their sum may be a written zero.
        signs = 1 - 2 * (code & 1) if self.signed else None
        row, column = np.divmod(cell, self.columns) if len(cell) else (cell, cell)
        return self._cells(len(sizes), row, column, np.bincount(place, signs, len(cell)))

    def _count_one(self, document: str) -> Cells:
        """Count one text without the arrays that pay from a few texts on."""
        counts: dict[int, int] = {}
        for code in self.codes_of(self.analyze(document)):
            if code >= 0:
                at, sign = (code >> 1, 1 - 2 * (code & 1)) if self.signed else (code, 1)
                counts[at] = counts.get(at, 0) + sign
        columns = sorted(counts)
        value = np.array([counts[at] for at in columns], dtype=self.dtype)
        row, column = np.zeros(len(columns), dtype=np.int64), np.array(columns, dtype=np.int64)
        return self._cells(1, row, column, value)

    def _cells(self, rows: int, row: Array, column: Array, value: Array) -> Cells:
        cells = Cells(rows, row, column, value.astype(self.dtype, copy=False))
        return cells.ones() if self.binary else cells


def _known(vocabulary: Sequence[str]) -> Callable[[Iterable[str]], Iterable[int]]:
    get = {term: column for column, term in enumerate(vocabulary)}.get
    return lambda terms: map(get, terms, repeat(-1))


def _hashed(columns: int, *, signed: bool) -> Callable[[Iterable[str]], Iterable[int]]:
    """Return the function from terms to columns, each with its sign in the lowest bit."""

    @lru_cache(maxsize=_REMEMBERED_TERMS)
    def code(term: str) -> int:
        unsigned = murmur3(term.encode())
        # The magnitude of the number read as signed.
        negative = unsigned >> 31
        column = (2**32 - unsigned if negative else unsigned) % columns
        return column << 1 | negative if signed else column

    return lambda terms: map(code, terms)


def _padded(cells: Cells) -> tuple[Array, Array]:
    """Return each row's values and their columns, filled up with zeros in column 0."""
    if cells.rows == 1 and len(cells.column):
        return cells.value.astype(np.float64, copy=False).reshape(1, -1), cells.column.reshape(
            1, -1
        )
    sizes = np.bincount(cells.row, minlength=cells.rows)
    shape = (cells.rows, max(1, int(sizes.max(initial=0))))
    place = np.arange(len(cells.row)) - (np.cumsum(sizes) - sizes)[cells.row]
    values, columns = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    values[cells.row, place] = cells.value
    columns[cells.row, place] = cells.column
    return values, columns


def _weigh(data: Mapping[str, Any]) -> Weigh:
    match data["op"]:
        case "log":
            return _log
        case "scale":
            by = _factors(data, _FLOATS[data["datatype"]])
            return lambda cells: _scale(cells, by)
        case "norm":
            norm = {"l1": _l1, "l2": _l2, "max": _largest}[data["norm"]]
            return lambda cells: _divide(cells, norm(cells))
        case "binarize":
            threshold = float(data["threshold"])
            return lambda cells: cells.keep(cells.value > threshold).ones()
        case "columns":
            kept = np.array(data["columns"], dtype=np.int64)
            if np.any(np.diff(kept) <= 0):
                message = "columns do not ascend"
                raise ValueError(message)
            return lambda cells: _columns(cells, kept)
        case unknown:
            message = f"no weight {unknown!r}"
            raise ValueError(message)


def _factors(data: Mapping[str, Any], dtype: np.dtype[Any]) -> Array:
    by = np.array(data["by"], dtype=dtype)
    if "columns" not in data:
        return by
    factors = np.full(int(data["width"]), data["fill"], dtype=dtype)
    factors[data["columns"]] = by
    return factors


def _log(cells: Cells) -> Cells:
    value = np.log(cells.value)
    value += 1
    return cells._replace(value=value)


def _scale(cells: Cells, by: Array) -> Cells:
    value = cells.value.copy()
    value *= by[cells.column]
    return cells._replace(value=value)


def _columns(cells: Cells, kept: Array) -> Cells:
    """Keep some columns and number them anew."""
    position = np.searchsorted(kept, cells.column)
    known = position < len(kept)
    known[known] = kept[position[known]] == cells.column[known]
    return cells._replace(column=position).keep(known)


def _l1(cells: Cells) -> Array:
    return np.bincount(cells.row, np.abs(cells.value), cells.rows)


def _l2(cells: Cells) -> Array:
    # bincount adds one after the other, as scikit-learn does; np.sum would add in pairs.
    return np.sqrt(np.bincount(cells.row, cells.value * cells.value, cells.rows))


def _largest(cells: Cells) -> Array:
    largest = np.zeros(cells.rows)
    np.maximum.at(largest, cells.row, np.abs(cells.value))
    return largest


def _divide(cells: Cells, norms: Array) -> Cells:
    norms[norms == 0] = 1
    quotient = cells.value / norms[cells.row]
    return cells._replace(value=quotient.astype(cells.value.dtype, copy=False))
