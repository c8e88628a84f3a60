"""A trained model in memory, whatever framework it came from: all that a conversion needs to know.

A reader (`fnmodel.slim.readers`) turns a file into a `Subject`; `job` asks its questions of the
original and of each candidate, and keeps the best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fnmodel.inference import Predictor
from fnmodel.model import Feature, Signature

Array = NDArray[Any]

Family = Literal["trees", "linear", "mlp", "cnn", "transformer", "table", "other"]
"""What the ladder of smaller forms goes by; *table* is any other model of a table's rows."""

Origin = Literal["sample", "missing", "unseen", "edge"]
"""Where a row comes from: the sample, or a copy of one of its rows with values taken away, with
categories that the model never saw, or with numbers next to a split of the model."""


@dataclass(frozen=True)
class Converted:
    """A serialised ONNX model, the signature that callers see, and how it was made, in words.

    `front` is what `front.json` says: the steps in Python between the signature's inputs and the
    graph's, or None where the graph takes the inputs as they come.
    """

    onnx: bytes
    signature: Signature
    how: str
    front: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to convert; `convert` raises UnsupportedModelError where it cannot."""

    how: str
    convert: Callable[[], Converted]


@dataclass(frozen=True)
class Questions:
    """Rows that the original and the ONNX model are both asked, and what the original answers.

    `index` counts the sample's rows from 0; `changed` names the features that differ from that
    row. `expected` holds arrays with the rows along axis 0, in the order of the ONNX outputs.
    `margin`, shape (rows,), is how far the original's two best classes lie apart, or None.
    `encode` gives the input tensors of all rows, in order.
    """

    origin: tuple[Origin, ...]
    index: tuple[int, ...]
    changed: tuple[tuple[str, ...], ...]
    expected: Mapping[str, Array]
    encode: Callable[[Predictor], dict[str, Array]]
    margin: Array | None = None
    notes: tuple[str, ...] = ()
    refused: tuple[tuple[tuple[str, ...], Mapping[str, Any]], ...] = ()
    """Changed rows as records, with what was changed, to which the original gives no answer."""

    def of(self, origin: Origin) -> Array:
        """Return the positions of the rows that come from there."""
        return np.flatnonzero(np.array(self.origin) == origin)


@dataclass(frozen=True)
class Raw:
    """What callers send where the project's own code makes the model's features of it.

    `records` are the sample's rows that are asked, as callers would send them.
    """

    features: tuple[Feature, ...]
    records: tuple[Mapping[str, Any], ...] = field(compare=False)


@dataclass(frozen=True)
class Subject:
    """A trained model, the ways to convert it, and what to ask.

    `answer` gives the original's answers to the first `count` of the sample's rows, repeated where
    it has fewer, and is what the original's latency is measured by: called once to prepare, its
    result is timed. `open` reads the original from its file once more.
    """

    framework: str
    version: str
    family: Family
    candidates: tuple[Candidate, ...]
    questions: Questions
    answer: Callable[[int], Callable[[], object]]
    open: Callable[[], object]
    rows_from: str = "the sample"
    notes: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    labels: Array | None = field(default=None, compare=False)
    """The sample's own labels, shape (rows of the sample,), for metrics; None without a target."""
    columns: Mapping[str, Array] = field(default_factory=dict, compare=False)
    """Every column of those rows by name, for the reference and for groups; empty without a sample.
    """
    raw: Raw | None = None
