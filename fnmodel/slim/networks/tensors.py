"""Samples and questions for models that take tensors: arrays by input name, rows along axis 0."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.arrays import DTYPES
from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.model import Feature, Signature, Tensor
from fnmodel.slim import sample, signature
from fnmodel.slim.networks import network
from fnmodel.slim.subject import Origin, Questions

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Answer = Callable[[Arrays], dict[str, Array]]
"""Asks a model: input arrays by name in, output arrays by name out."""

GIVE_ONE = (
    "give inputs like the training data with --sample: .npz with an array for each argument, .npy, "
    ".json (an Open Inference Protocol request), or .csv and .parquet for rows of numbers"
)
_LIMIT = 1000
_ELEMENTS = 2**22
_EDGES = 4
_BLOCK = 64
# Sums come in another order for another batch size; what differs by more is another answer.
_ABSOLUTE, _RELATIVE = 1e-5, 1e-4


@dataclass(frozen=True)
class Sample:
    """Arrays by name; the name is empty where the file gives none.

    `columns` are the names and kinds of a table's columns, whose rows are one array of shape
    (rows, columns). `labels` are its target column.
    """

    arrays: Arrays
    columns: tuple[signature.Column, ...] = ()
    labels: Array | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Arrays with rows along axis 0, and where each row comes from."""

    arrays: Arrays
    origin: tuple[Origin, ...]
    index: tuple[int, ...]


def read(
    path: Path,
    target: str | None = None,
    *,
    without: Sequence[str] = (),
    rows_at: Mapping[str, int] | None = None,
) -> Sample:
    """Read a sample of tensors or of table rows.

    Arrays that `without` names are left out; `rows_at` says which axis the rows of others are on,
    where it is not the first, and brings it there.

    Raises:
        SlimError: it is missing, broken, of an unknown kind, has no rows, or rows of other things
            than numbers.

    """
    if not path.is_file():
        raise SlimError(f"the sample {path} does not exist", hint="mend `sample:` in fnmodel.yaml")
    try:
        match path.suffix.lower():
            case ".npz":
                with np.load(path, allow_pickle=False) as file:
                    others = {*without, target}
                    found = Sample({n: file[n] for n in file.files if n not in others})
            case ".npy":
                found = Sample({"": np.load(path, allow_pickle=False)})
            case ".json" if (inputs := _inputs(path)) is not None:
                found = Sample(inputs)
            case _:
                return _table(path, target)
    except (ValueError, TypeError, KeyError, OSError, EOFError) as error:
        raise SlimError(
            f"{path.name} cannot be read as a sample: {network.first_line(error)}", hint=GIVE_ONE
        ) from error
    moved = {
        name: np.moveaxis(found.arrays[name], axis, 0)
        for name, axis in (rows_at or {}).items()
        if name in found.arrays and found.arrays[name].ndim > axis
    }
    found = replace(found, arrays={**found.arrays, **moved})
    _check_rows(found.arrays, path.name)
    return found


def fit(
    given: Sample, required: Sequence[str], optional: Sequence[str], where: str
) -> dict[str, Array]:
    """Return the sample's arrays under the model's input names, in the order of the inputs.

    A single array without a name, or named X, goes to the first input; `arr_0`, `arr_1`, … go by
    position. Optional inputs may be missing.

    Raises:
        SlimError: a required input is missing or an array has no input; names it.

    """
    names, arrays = [*required, *optional], dict(given.arrays)
    alone = len(arrays) == 1 and next(iter(arrays)) in {"", "X", "x", "input", "inputs"}
    if alone and names and next(iter(arrays)) not in names:
        arrays = {names[0]: next(iter(arrays.values()))}
    elif set(arrays) == {f"arr_{i}" for i in range(len(arrays))} and len(arrays) <= len(names):
        arrays = {names[i]: arrays[f"arr_{i}"] for i in range(len(arrays))}
    for name in arrays:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise SlimError(
                f"{where} has an array {name or 'without a name'!r}, which is no input of the model"
                f" ({', '.join(names)}){guess}",
                hint="name the arrays as the model's inputs are named",
            )
    missing = [name for name in required if name not in arrays]
    if missing:
        raise SlimError(
            f"{where} has no array for the model's input {', '.join(map(repr, missing))}",
            hint=GIVE_ONE,
        )
    return {name: arrays[name] for name in names if name in arrays}


def rows_of(arrays: Arrays, *, edges: bool = True) -> Rows:
    """Return at most 1,000 rows of the sample, and copies of the first with other values.

    Numbers with a fraction become 0, their opposite, and the mean of two rows; whole numbers and
    booleans, which may be indices, only change places with those of another row.
    """
    count = len(next(iter(arrays.values())))
    each = max(1, sum(array[:1].size for array in arrays.values()))
    most = min(_LIMIT, max(_EDGES, _ELEMENTS // each))
    chosen = np.arange(count)
    if count > most:
        chosen = np.sort(np.random.default_rng(0).choice(count, most, replace=False))
    kept = {name: array[chosen] for name, array in arrays.items()}
    origin: list[Origin] = ["sample"] * len(chosen)
    index = [int(i) for i in chosen]
    if edges:
        first = np.arange(min(_EDGES, len(chosen)))
        copies = [_edge(kept, first, kind) for kind in range(3)]
        kept = {
            name: np.concatenate([array, *(copy[name] for copy in copies)])
            for name, array in kept.items()
        }
        origin += ["edge"] * (3 * len(first))
        index += [index[i] for i in first] * 3
    return Rows(kept, tuple(origin), tuple(index))


def ask(answer: Answer, arrays: Arrays) -> dict[str, Array]:
    """Return the answers to all rows, asked in blocks.

    Raises:
        UnsupportedModelError: an answer has another number of rows than the question, or depends
            on the rows beside it, or on chance.

    """
    count = len(next(iter(arrays.values())))
    blocks = [take(arrays, range(i, min(i + _BLOCK, count))) for i in range(0, count, _BLOCK)]
    answers = [answer(block) for block in blocks]
    for name, array in answers[0].items():
        if array.shape[:1] != (len(next(iter(blocks[0].values()))),):
            raise UnsupportedModelError(
                f"output {name!r} has shape {list(array.shape)}; rows must be its first axis",
                hint="wrap the model so that rows are the first axis of all inputs and outputs",
            )
    _check_repeats(answer, blocks[0], answers[0])
    whole = {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}
    for row in {0, count // 2, count - 1}:
        alone = answer(take(arrays, [row]))
        for name, array in alone.items():
            if not close(array, whole[name][row : row + 1]):
                raise UnsupportedModelError(
                    f"the answer to a row depends on the rows beside it (output {name!r})",
                    hint="rows must be the first axis of the inputs, and must not be mixed: no "
                    "batch statistics, no time along the first axis",
                )
    return whole


def _check_repeats(answer: Answer, arrays: Arrays, answers: Arrays) -> None:
    for name, array in answer(arrays).items():
        if not close(array, answers[name]):
            raise UnsupportedModelError(
                f"the model answers the same rows differently each time (output {name!r})",
                hint="random numbers cannot be compared; take the noise out of forward()",
            )


def close(a: Array, b: Array) -> bool:
    """Whether two arrays are the same up to the rounding of another order of sums."""
    return network.equal(a, b, absolute=_ABSOLUTE, relative=_RELATIVE)


def take(arrays: Arrays, rows: Any) -> dict[str, Array]:
    """Return some rows of all arrays, by position."""
    positions = np.asarray(list(rows), dtype=int)
    return {name: array[positions] for name, array in arrays.items()}


def repeat(arrays: Arrays, count: int) -> dict[str, Array]:
    """Return `count` rows, from the first on and again."""
    return take(arrays, [i % len(next(iter(arrays.values()))) for i in range(count)])


def questions(
    rows: Rows,
    expected: Arrays,
    columns: Sequence[signature.Column] = (),
    *,
    margin: Array | None = None,
    notes: tuple[str, ...] = (),
) -> Questions:
    """Return the questions; with columns the rows are asked by the features' names."""
    given = dict(rows.arrays)

    def encode(predictor: Predictor) -> dict[str, Array]:
        if not columns:
            kinds = {t.name: DTYPES[t.datatype] for t in predictor.signature.inputs}
            return {name: array.astype(kinds[name], copy=False) for name, array in given.items()}
        names = [column.name for column in columns]
        table = next(iter(given.values())).tolist()
        return predictor.encode([dict(zip(names, row, strict=True)) for row in table])

    return Questions(
        origin=rows.origin,
        index=rows.index,
        changed=tuple(() for _ in rows.origin),
        expected=dict(expected),
        encode=encode,
        margin=margin,
        notes=notes,
    )


def with_features(plain: Signature, columns: Sequence[signature.Column]) -> Signature:
    """Return the signature with a table's columns as its features."""
    features: list[Feature] = [column.feature(plain.inputs[0].datatype) for column in columns]
    only = plain.inputs[0]
    stacked = replace(only, shape=(-1, len(features)))
    return replace(plain, inputs=(stacked,), features=tuple(features))


def seeded(
    inputs: Sequence[Tensor],
    rows: int,
    *,
    lengths: Callable[[str, int], int],
    below: Mapping[str, int],
    seed: int = 0,
) -> dict[str, Array]:
    """Return random arrays for declared inputs, the same for the same seed.

    `lengths` gives the size of an open axis by input name and axis; the first axis has `rows` where
    it is open. `below` bounds whole numbers, by input name.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for tensor in inputs:
        shape = [
            size if size >= 0 else rows if axis == 0 else lengths(tensor.name, axis)
            for axis, size in enumerate(tensor.shape)
        ]
        dtype = DTYPES[tensor.datatype]
        if dtype.kind == "f":
            arrays[tensor.name] = rng.normal(size=shape).astype(dtype)
        elif dtype.kind == "O":
            words = np.array(["a", "b", "", "naïve", "2"], dtype=object)
            arrays[tensor.name] = rng.choice(words, shape)
        elif dtype.kind == "b":
            arrays[tensor.name] = rng.random(shape) < 0.8
        else:
            most = min(below.get(tensor.name, 2), int(np.iinfo(dtype).max))
            arrays[tensor.name] = rng.integers(0, max(most, 1), shape).astype(dtype)
    return arrays


def _edge(arrays: Arrays, first: Array, kind: int) -> dict[str, Array]:
    edged = {}
    for name, array in arrays.items():
        own, other = array[first], array[np.roll(first, 1)]
        if array.dtype.kind == "f":
            edged[name] = (np.zeros_like(own), -own, ((own + other) / 2).astype(own.dtype))[kind]
        else:
            edged[name] = own if kind else other
    return edged


def _inputs(path: Path) -> dict[str, Array] | None:
    """Return the arrays of a JSON request, or None when the file holds table rows."""
    data = json.loads(path.read_bytes())
    if not isinstance(data, dict) or "inputs" not in data:
        return None
    inputs = data["inputs"]
    if isinstance(inputs, dict):
        return {str(name): _array(values) for name, values in inputs.items()}
    if inputs and isinstance(inputs, list) and isinstance(inputs[0], dict):
        return {str(tensor["name"]): _typed(tensor) for tensor in inputs}
    return {"": _array(inputs)}


def _typed(tensor: Mapping[str, Any]) -> Array:
    name, kind = tensor["name"], tensor["datatype"]
    if kind not in DTYPES:
        message = f"input {name!r} has the unknown datatype {kind!r}"
        raise ValueError(message)
    flat = np.array(tensor["data"], dtype=DTYPES[kind])
    return flat.reshape(tensor["shape"])


def _array(values: Any) -> Array:
    array = np.array(values)  # ragged lists raise ValueError
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype.kind not in "iufb":
        message = "the values of an input are numbers, booleans or strings, and none is missing"
        raise ValueError(message)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _table(path: Path, target: str | None) -> Sample:
    frame = sample.read(path)
    labels = None
    names = list(frame.columns)
    if target is not None:
        frame, all_rows = (
            sample.select(frame, names=(), count=None, target=target, where=path.name),
            frame,
        )
        labels = all_rows[target].to_numpy()
        names = list(frame.columns)
    for name in names:
        if frame[name].dtype.kind not in "iufb":
            raise SlimError(
                f"column {name!r} of {path.name} is not a column of numbers",
                hint="name the label column with `target:`; this model takes numbers only",
            )
    with np.errstate(over="ignore"):
        array = frame.to_numpy(dtype=np.float64).astype(np.float32)
    good = np.isfinite(array).all(axis=1)
    left = int((~good).sum())
    if left == len(good):
        raise SlimError(f"{path.name} has no row without missing or infinite numbers")
    notes = (f"{left} rows of the sample left out: missing or infinite numbers",) if left else ()
    return Sample(
        {"": array[good]},
        signature.columns(frame[good], {}),
        None if labels is None else labels[good],
        notes,
    )


def _check_rows(arrays: Arrays, where: str) -> None:
    if not arrays:
        raise SlimError(f"{where} holds no arrays", hint=GIVE_ONE)
    for name, array in arrays.items():
        if not array.ndim:
            raise SlimError(
                f"{where}: array {name or 'without a name'!r} is a single value, not rows",
                hint="give it a first axis, one entry a row",
            )
        if array.dtype.kind not in "iufbO":
            raise SlimError(f"{where}: array {name!r} holds {array.dtype}, not numbers")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise SlimError(
            f"{where}: the arrays have different numbers of rows ({told})",
            hint="the first axis of every input counts the rows",
        )
    if 0 in counts.values():
        raise SlimError(f"{where} has no rows", hint="a sample needs at least one")
