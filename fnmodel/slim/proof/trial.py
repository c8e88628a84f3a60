"""Asks an ONNX model the questions that the original answered, and says how they compare."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import InputError
from fnmodel.inference import Predictor
from fnmodel.model import Tolerance
from fnmodel.slim import folder as model_folder
from fnmodel.slim.order import Budget
from fnmodel.slim.proof import parity
from fnmodel.slim.subject import Converted, Questions

Array = NDArray[Any]

BATCHES = (0, 1, 7)
_SINGLE_ROWS = 20


@dataclass(frozen=True)
class Trial:
    """One ONNX model and how it answered.

    `rows` compares all rows but the edge rows, `edges` those. `positions` and `edge_positions` say
    which rows of the questions they are. `batches` tells for each batch size whether the answers
    were those of the whole; `answered` are changed rows that the original refuses and this model
    answers, by the names of their features. `rounded` names outputs whose directions were compared.
    """

    converted: Converted
    predictor: Predictor
    tensors: Mapping[str, Array]
    answers: Mapping[str, Array]
    expected: Mapping[str, Array]
    rows: parity.Comparison
    edges: parity.Comparison
    positions: Array
    edge_positions: Array
    batches: Mapping[int, bool]
    answered: tuple[tuple[str, ...], ...]
    budget: Budget
    rounded: frozenset[str] = frozenset()

    @property
    def edge_flips(self) -> int:
        """How many edge rows have another label or a score out of tolerance."""
        return int(((self.edges.share > 1) | self.edges.flips).sum())

    @property
    def label_changes(self) -> int:
        """How many rows have another label than the original's, ties included."""
        return int(sum((c.flips | c.tied).sum() for c in (self.rows, self.edges)))

    @property
    def passed(self) -> bool:
        """Whether everything is within the budget."""
        edges = len(self.edge_positions)
        return (
            self.rows.passes(self.budget.label_flips)
            and self.edge_flips * 1000 <= self.budget.edge_flips * edges
            and all(self.batches.values())
            and not self.answered
        )

    def worst(self, count: int) -> list[int]:
        """Return the positions of the questions that differ most."""
        found = [int(self.positions[i]) for i in self.rows.worst(count)]
        edges = [int(self.edge_positions[i]) for i in self.edges.worst(count)]
        return [*found, *edges][:count] if found else edges


def ask(
    converted: Converted,
    questions: Questions,
    budget: Budget,
    folder: Path,
    rounded: frozenset[str] = frozenset(),
) -> Trial:
    """Write the model into `folder`, open it there, and compare its answers.

    `rounded` names outputs that are embeddings of a model whose weights were rounded: they are
    compared by their direction.

    Raises:
        InputError: ONNX Runtime refuses the model or the rows.

    """
    predictor = model_folder.write(folder, converted)
    tensors = questions.encode(predictor)
    answers = predictor.run(tensors)
    outputs = tuple(
        replace(tensor, shape=_declared(tensor.shape, answers[tensor.name].shape))
        for tensor in converted.signature.outputs
    )
    if outputs != converted.signature.outputs:
        converted = replace(converted, signature=replace(converted.signature, outputs=outputs))
        predictor = model_folder.write(folder, converted)
    expected = align(questions.expected, converted, answers)
    edge = np.array([origin == "edge" for origin in questions.origin])
    positions, edge_positions = np.flatnonzero(~edge), np.flatnonzero(edge)

    def compared(chosen: Array) -> parity.Comparison:
        return parity.compare(
            {name: array[chosen] for name, array in expected.items()},
            {name: array[chosen] for name, array in answers.items()},
            budget.tolerance,
            None if questions.margin is None else questions.margin[chosen],
            dict.fromkeys(rounded, budget.cosine),
        )

    return Trial(
        converted=converted,
        predictor=predictor,
        tensors=tensors,
        answers=answers,
        expected=expected,
        rows=compared(positions),
        edges=compared(edge_positions),
        positions=positions,
        edge_positions=edge_positions,
        batches=_batches(predictor, tensors, answers, budget.tolerance),
        answered=_answered(predictor, questions),
        budget=budget,
        rounded=rounded,
    )


def align(
    expected: Mapping[str, Array], converted: Converted, answers: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the original's answers under the outputs' names and in their layout."""
    laid_out = {}
    for tensor, array in zip(converted.signature.outputs, expected.values(), strict=True):
        actual = answers[tensor.name]
        values = array
        if actual.dtype.kind in "iu" and array.dtype.kind in "fb":
            values = array.astype(actual.dtype)
        if values.dtype.kind in "US":
            values = values.astype(object)
        if values.size == actual.size:  # (n,) and (n, 1) are one value a row
            values = values.reshape(actual.shape)
        laid_out[tensor.name] = values
    return laid_out


def _declared(declared: tuple[int, ...], seen: tuple[int, ...]) -> tuple[int, ...]:
    """Return an output's shape: axes that the converter left open take what the rows showed."""
    if len(declared) == len(seen):
        # A length that the inputs decide (tokens, pixels) stays open.
        return (-1, *(d if d != 0 else -1 for d in declared[1:]))
    return (-1, *seen[1:])


def _batches(
    predictor: Predictor,
    tensors: Mapping[str, Array],
    answers: Mapping[str, Array],
    tolerance: Tolerance,
) -> dict[int, bool]:
    """Tell for batches of 0, 1 and 7 rows whether they get the answers of the whole."""
    rows = len(next(iter(tensors.values())))

    def same(start: int, size: int) -> bool:
        part = slice(start, start + size)
        given = {name: array[part] for name, array in tensors.items()}
        try:
            single = predictor.run(given)
        except InputError:
            return False
        whole = {name: array[part] for name, array in answers.items()}
        return parity.compare(whole, single, tolerance, None).passes(0)

    starts = {
        0: [0],
        1: np.linspace(0, rows - 1, min(rows, _SINGLE_ROWS), dtype=int).tolist(),
        7: np.linspace(0, max(rows - 7, 0), 3, dtype=int).tolist(),
    }
    return {size: all(same(start, size) for start in starts[size]) for size in BATCHES}


def _answered(predictor: Predictor, questions: Questions) -> tuple[tuple[str, ...], ...]:
    """Return the names of features whose changed rows the original refuses and this one answers."""
    found = []
    for changed, record in questions.refused:
        known = {feature.name for feature in predictor.signature.features}
        try:
            predictor.run(predictor.encode([{k: v for k, v in record.items() if k in known}]))
        except InputError:
            continue
        if set(changed) & known:
            found.append(changed)
    return tuple(found)
