"""Writes a fitted estimator as a graph that computes what its methods compute, in float64.

Each estimator's class has a writer for each of its methods, chosen by the exact class: a subclass
may have overridden anything. A writer that finds a setting it cannot say in ONNX refuses by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn

import numpy as np

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.converters.builder import Graph

Kind = Literal["number", "text", "code"]
"""What a column holds in the graph: float64, string or int64."""

Method = Literal["transform", "predict", "predict_proba", "decision_function", "inverse_transform"]
"""What a writer writes.

`transform` gives a Table. `predict` gives, for a regressor, float64 of shape (rows, targets); for
a classifier the position in `classes_`, int64 of shape (rows,), or of shape (rows, outputs) when
it has several; for a clusterer or an outlier detector its integer, shape (rows,).
`predict_proba` gives (rows, classes), or a tuple of these, one an output.
`decision_function` gives (rows, 1) where scikit-learn's has one axis, else as scikit-learn's.
"""

# These take infinite numbers, or hand them on.
_UNCHECKED = (
    "Pipeline", "ColumnTransformer", "FeatureUnion", "FunctionTransformer", "HistGradientBoosting",
    "LGBM", "CatBoost", "IsolationForest", "TransformedTargetRegressor",
)  # fmt: skip
HINT = "replace that step, or move it out of the model and in front of it"


@dataclass(frozen=True)
class Block:
    """Neighbouring columns in one value of shape (rows, width).

    `sources` names, for each column, the caller's feature whose values stand in it, missing ones
    perhaps filled in; None for what was computed. `codes` are all values that a computed block
    can hold, where they are few. `partial` numbers may not be finite where all features are.
    """

    name: str
    kind: Kind
    width: int
    sources: tuple[str | None, ...]
    codes: tuple[float, ...] | None = None
    partial: bool = False

    @staticmethod
    def numbers(name: str, width: int, codes: tuple[float, ...] | None = None) -> "Block":
        """Return a block of computed float64 columns."""
        return Block(name, "number", width, (None,) * width, codes)


@dataclass(frozen=True)
class Table:
    """Columns side by side, with their names when they are a frame's."""

    blocks: tuple[Block, ...]
    names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """The number of columns."""
        return sum(block.width for block in self.blocks)

    @staticmethod
    def numbers(name: str, width: int) -> "Table":
        """Return a table of computed float64 columns."""
        return Table((Block.numbers(name, width),))

    def as_partial(self) -> "Table":
        """Return the table with its numbers marked as perhaps not finite."""
        blocks = tuple(replace(block, partial=block.kind == "number") for block in self.blocks)
        return replace(self, blocks=blocks)


Writer = Callable[["Emitter", Any, Table], Any]
Writers = Mapping[Method, Mapping[type, Writer]]


def merged(parts: Sequence[Writers]) -> Writers:
    """Return the writers of all parts in one table."""
    whole: dict[Method, dict[type, Writer]] = {}
    for part in parts:
        for method, writers in part.items():
            whole.setdefault(method, {}).update(writers)
    return whole


@dataclass
class Emitter:
    """A graph under construction and what was found out on the way.

    `closed` gives, for features with an encoder that refuses what it does not know, the values
    that it knows; None among them stands for a missing value. `sparse` holds the blocks of tables
    that are sparse matrices in scikit-learn.
    """

    writers: Writers
    graph: Graph = field(default_factory=Graph)
    closed: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    sparse: set[tuple[Block, ...]] = field(default_factory=set)
    _memo: dict[tuple[str, int, Table], Any] = field(default_factory=dict)

    def write(self, method: Method, estimator: Any, table: Table) -> Any:
        """Write a method of an estimator over a table; the same once more is the same value.

        Raises:
            UnsupportedModelError: there is no writer; names the step.

        """
        key = (method, id(estimator), table)
        if key not in self._memo:
            self._memo[key] = self._write(method, estimator, table)
        return self._memo[key]

    def _write(self, method: Method, estimator: Any, table: Table) -> Any:
        kind = type(estimator)
        writer = self.writers.get(method, {}).get(kind)
        if writer is None:
            self.refuse(estimator, self._why_not(method, kind))
        made = writer(self, estimator, table)
        # What one step lets pass, the next may refuse.
        passed = isinstance(made, Table) and any(block.partial for block in table.blocks)
        return made.as_partial() if passed else made

    def _why_not(self, method: Method, kind: type) -> str:
        def known(one: type) -> bool:
            return any(one in by_class for by_class in self.writers.values())

        if known(kind):
            return f"its {method} has no counterpart in ONNX"
        for base in kind.__mro__[1:]:
            if known(base):
                return f"it is a {base.__name__} with Python code of its own"
        return "it has no converter to ONNX"

    def once(self, what: str, estimator: Any, table: Table, write: Callable[[], Any]) -> Any:
        """Return what `write` gave the first time for this estimator and table."""
        key = (what, id(estimator), table)
        if key not in self._memo:
            self._memo[key] = write()
        return self._memo[key]

    def transform(self, estimator: Any, table: Table) -> Table:
        """Write `transform`."""
        done: Table = self.write("transform", estimator, table)
        return done

    def predict(self, estimator: Any, table: Table) -> str:
        """Write `predict`."""
        return str(self.write("predict", estimator, table))

    def proba(self, estimator: Any, table: Table) -> Any:
        """Write `predict_proba`."""
        return self.write("predict_proba", estimator, table)

    def decision(self, estimator: Any, table: Table) -> str:
        """Write `decision_function`."""
        return str(self.write("decision_function", estimator, table))

    def refuse(self, estimator: Any, reason: str) -> NoReturn:
        """Say which step cannot be converted, and why.

        Raises:
            UnsupportedModelError: always.

        """
        raise self.refusal(estimator, reason)

    def refusal(self, estimator: Any, reason: str) -> UnsupportedModelError:
        """Return the error of `refuse`."""
        kind = type(estimator).__name__
        name = self.names.get(id(estimator), kind)
        where = f"the {kind}" if name == kind else f"step {name!r} ({kind})"
        return UnsupportedModelError(f"{where} cannot be converted: {reason}", hint=HINT)

    # Columns.

    def numbers(self, table: Table, estimator: Any = None) -> str:
        """Return all columns as one float64 value of shape (rows, width).

        Raises:
            UnsupportedModelError: a column holds text.

        """
        parts = []
        for block in table.blocks:
            if block.kind == "text":
                named = next((f" {name!r}" for name in block.sources if name), "")
                self.refuse(estimator, f"column{named} holds text where it computes with numbers")
            parts.append(self._double(block))
        if not parts:
            self.refuse(estimator, "no columns are left for it")
        key = ("numbers", 0, Table(table.blocks))
        if key not in self._memo:
            self._memo[key] = self.graph.concat(parts)
        whole = str(self._memo[key])
        if not any(block.partial for block in table.blocks):
            return whole
        return str(self.once("checked", estimator, table, lambda: self._checked(estimator, whole)))

    def _checked(self, estimator: Any, values: str) -> str:
        """Return the numbers, with an error when the graph runs where scikit-learn has one."""
        kind = type(estimator).__name__
        if estimator is None or kind.startswith(_UNCHECKED):
            return values
        from sklearn.utils import get_tags

        graph = self.graph
        if get_tags(estimator).input_tags.allow_nan:
            good = graph.op("Not", graph.op("IsInf", values))
        else:
            good = graph.op("Equal", graph.mul(values, 0.0), 0.0)
        worst = graph.op("ReduceMin", graph.integer(good), keepdims=0)
        # There is no place 1 in a list of one: the runtime stops there and names the node.
        zero = graph.op("Gather", np.zeros(1), graph.sub(1, worst))
        graph.nodes[-1].name = f"{kind} takes finite numbers only"
        return graph.add(values, zero)

    def _double(self, block: Block) -> str:
        if block.kind == "number":
            return block.name
        key = ("double", 0, Table((block,)))
        if key not in self._memo:
            self._memo[key] = self.graph.double(block.name)
        return str(self._memo[key])

    def columns(self, table: Table) -> list[Block]:
        """Return each column as a block of width 1."""
        return [self._column(block, at) for block in table.blocks for at in range(block.width)]

    def _column(self, block: Block, at: int) -> Block:
        if block.width == 1:
            return block
        return self._part(block, (at,))

    def _part(self, block: Block, at: tuple[int, ...]) -> Block:
        if at == tuple(range(block.width)):
            return block
        key = ("part", hash(at), Table((block,)))
        if key not in self._memo:
            name = self.graph.gather(block.name, np.array(at))
            sources = tuple(block.sources[i] for i in at)
            self._memo[key] = replace(block, name=name, width=len(at), sources=sources)
        part: Block = self._memo[key]
        return part

    def select(self, table: Table, index: Sequence[int]) -> Table:
        """Return the columns at the given positions, in that order."""
        owner = [(b, at) for b, block in enumerate(table.blocks) for at in range(block.width)]
        runs: list[tuple[int, list[int]]] = []
        for position in index:
            block, at = owner[int(position)]
            if runs and runs[-1][0] == block:
                runs[-1][1].append(at)
            else:
                runs.append((block, [at]))
        blocks = tuple(self._part(table.blocks[block], tuple(at)) for block, at in runs)
        names = tuple(table.names[int(i)] for i in index) if table.names else ()
        return Table(blocks, names)

    def beside(self, tables: Sequence[Table]) -> Table:
        """Return tables side by side."""
        return Table(tuple(block for table in tables for block in table.blocks))

    def close(self, estimator: Any, block: Block, known: Sequence[Any]) -> None:
        """Say that the estimator refuses values of a column, of width 1, that it does not know.

        Raises:
            UnsupportedModelError: the values are computed, so that no caller's can be checked.

        """
        source = block.sources[0]
        if source is None:
            if block.codes is not None and set(block.codes) <= set(known):
                return
            self.refuse(
                estimator,
                "it refuses categories that it has not learned, and ONNX cannot refuse what the "
                "steps before it compute; give it handle_unknown",
            )
        both = tuple(known)
        if source in self.closed:
            both = tuple(value for value in self.closed[source] if value in set(known))
        self.closed[source] = both

    # What several writers need.

    def two(self, positive: str) -> str:
        """Return the probabilities of two classes from (rows, 1) of the second one."""
        return self.graph.concat([self.graph.sub(1.0, positive), positive])

    def first(self, scores: str, classes: int) -> str:
        """Return the class that scores of shape (rows, 1 or classes) stand for."""
        if classes == 1:
            return self.graph.integer(self.graph.reshape(self.graph.mul(scores, 0.0), -1))
        if classes == 2:
            positive = self.graph.op("Greater", scores, 0.0)
            return self.graph.reshape(self.graph.integer(positive), -1)
        return self.graph.argmax(scores)

    def softmax(self, scores: str) -> str:
        """Return exp(scores) over its sum along axis 1, as scikit-learn shifts it."""
        graph = self.graph
        shifted = graph.op("Exp", graph.sub(scores, graph.largest(scores)))
        return graph.div(shifted, graph.sum(shifted))

    def normalised(self, values: str) -> str:
        """Return rows over their sum; a row of zeros becomes uniform."""
        graph = self.graph
        total = graph.sum(values)
        empty = graph.op("Equal", total, 0.0)
        filled = graph.where(empty, 1.0, values)
        return graph.div(filled, graph.sum(filled))
