"""ONNX files as they are: checked, tidied, and made smaller where that changes no answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.arrays import DTYPES
from fnmodel.errors import InputError, SlimError, UnsupportedModelError
from fnmodel.model import Feature, Signature, Tensor
from fnmodel.slim.networks import network, rows_first, tensors
from fnmodel.slim.networks.tensors import Arrays
from fnmodel.slim.readers.torch import require, timed
from fnmodel.slim.subject import Candidate, Converted, Family, Subject
from fnmodel.slim.untrusted import onnxfile

Array = NDArray[Any]

_ROWS = 32
# Axes of any size: words, and what pictures that are halved five times can have.
_LENGTHS = (6, 32, 64)
# Whole numbers: bytes or words where the model has so many, else switches.
_BELOW = (256, 2)
_SAFE_NAME = re.compile(r"[\w.:/\- ]+")


@dataclass(frozen=True)
class _Given:
    """Arrays by input, a table's features if it is one, and the sample's labels."""

    arrays: Arrays
    features: tuple[Feature, ...] = ()
    labels: Array | None = None
    notes: tuple[str, ...] = ()


def subject(
    path: Path,
    *,
    sample: Path | None,
    target: str | None = None,
    trust: frozenset[str] = frozenset(),
) -> Subject:
    """Open an ONNX file with its questions; the file itself, run as it is, is the original.

    Without a sample it is compared on seeded random inputs of the declared shapes. A table as
    sample names the features of a model that takes rows of numbers, or one column an input.

    Raises:
        SlimError: the file is damaged or leads out of its folder, or the sample does not fit.
        UntrustedModelError: it has loops that `trust` does not hold.
        UnsupportedModelError: ONNX Runtime cannot run it, or it cannot be asked in rows.
        MissingExtraError: onnx is not installed.

    """
    require("onnx", "onnx")
    import onnx

    content = onnxfile.read(path, trust)
    model = onnx.load_model_from_string(content)
    classes = _without_zipmap(model)
    names = [value.name for value in _fed(model)]
    tidy = network.clean(model, names, [value.name for value in model.graph.output])
    settings = _settings(rows_first.settings(tidy), sample)
    rows_first.fix(tidy, settings)
    rows_at = rows_first.turned(tidy)
    rows_first.turn_inputs(tidy, rows_at)
    opened_rows = _open_rows(tidy)
    inputs = network.tensors(tidy.graph.input, "input")
    _check(inputs)
    if sample is None:
        given = _drawn(inputs, _session(tidy, path.name))
    else:
        given = _arrays(inputs, sample, target, without=tuple(settings), rows_at=rows_at)
    if rows_at:
        _turn_outputs(tidy, given.arrays, path.name)
    session = _session(tidy, path.name)

    def answer(asked: Arrays) -> dict[str, Any]:
        return network.run(session, asked)

    rows = tensors.rows_of(given.arrays, edges=sample is None or not given.features)
    try:
        expected = tensors.ask(answer, rows.arrays)
    except InputError as error:
        raise _does_not_run(path.name, error, sample, opened_rows=opened_rows) from error
    signature = _signature(tidy, inputs, expected, classes, given.features)
    tidied = tidy.SerializeToString(deterministic=True)
    return Subject(
        framework="ONNX",
        version=onnx.__version__,
        family=_family(tidy),
        candidates=(Candidate("as it is", lambda: Converted(tidied, signature, "as it is")),),
        questions=replace(
            tensors.questions(rows, expected, notes=(*given.notes, *_told(settings, rows_at))),
            margin=_margin(signature, expected),
        ),
        answer=timed(answer, given.arrays),
        open=lambda: _session(onnx.load_model_from_string(onnxfile.read(path, trust)), path.name),
        rows_from=sample.name if sample else "seeded random inputs of the declared shapes",
        labels=given.labels,
    )


def _fed(model: Any) -> list[Any]:
    """Return the inputs that are no weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _without_zipmap(model: Any) -> tuple[str | int, ...]:
    """Replace, in place, a last node that makes dictionaries of scores; return its classes.

    Converters of scikit-learn models put it there; no protocol of tensors can carry its output.
    """
    import onnx

    made = {output: node for node in model.graph.node for output in node.output}
    classes: tuple[str | int, ...] = ()
    for position, output in enumerate(model.graph.output):
        node = made.get(output.name)
        if node is None or node.op_type != "ZipMap":
            continue
        for attribute in node.attribute:
            if attribute.name == "classlabels_strings":
                classes = tuple(text.decode() for text in attribute.strings)
            else:
                classes = tuple(attribute.ints)
        scores = onnx.helper.make_tensor_value_info(
            node.input[0], onnx.TensorProto.FLOAT, [None, len(classes)]
        )
        model.graph.node.remove(node)
        model.graph.output.remove(output)
        model.graph.output.insert(position, scores)
    return classes


def _open_rows(model: Any) -> bool:
    """Open, in place, a first axis that was exported for one number of rows; whether any was.

    Whether the graph can answer for other numbers shows when it is asked.
    """
    opened = False
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) and dims[0].HasField("dim_value"):
            dims[0].Clear()
            dims[0].dim_param = "axis0"
            opened = True
    if opened:
        for value in (*model.graph.output, *model.graph.value_info):
            value.type.tensor_type.ClearField("shape")
    return opened


def _check(inputs: tuple[Tensor, ...]) -> None:
    if not inputs:
        raise UnsupportedModelError(
            "this ONNX model has no inputs: its answer is always the same",
            hint="export it with the inputs that callers send",
        )
    for tensor in inputs:
        if not tensor.shape:
            raise UnsupportedModelError(
                f"input {tensor.name!r} has no axis of rows: it is a single value, or of any shape",
                hint="export the model with rows as the first axis of each input",
            )
        if not _SAFE_NAME.fullmatch(tensor.name):
            raise UnsupportedModelError(
                f"input {tensor.name[:60]!r} has a name that no request should carry",
                hint="export the model again with plain names",
            )


def _session(model: Any, where: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise UnsupportedModelError(
            f"ONNX Runtime cannot load {where}: {network.first_line(error)}",
            hint="export it for an opset that this onnxruntime knows, with rows of any number",
        ) from error


def _settings(names: tuple[str, ...], path: Path | None) -> dict[str, Array]:
    """Return the values of inputs that are no rows, from the sample.

    Raises:
        UnsupportedModelError: there is no sample that says them.
        SlimError: it holds others than single numbers.

    """
    if not names:
        return {}
    listed = ", ".join(map(repr, names))
    if path is None or path.suffix.lower() != ".npz":
        raise UnsupportedModelError(
            f"input {listed} has no axis of rows: it is a single value",
            hint=f"give its value, which becomes a constant of the model: --sample with an .npz "
            f"that holds {listed} beside the other inputs",
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in names if name in file.files}
    except (ValueError, OSError, EOFError) as error:
        raise SlimError(f"{path.name} cannot be read: {network.first_line(error)}") from error
    for name in names:
        if name not in found or found[name].size != 1 or found[name].dtype.kind not in "iufb":
            raise SlimError(
                f"{path.name} does not say the value of the input {name!r}",
                hint=f"store a single number under {name!r}",
            )
    return {name: array.reshape(()) for name, array in found.items()}


def _told(settings: Mapping[str, Array], rows_at: Mapping[str, int]) -> tuple[str, ...]:
    fixed = (f"input {name!r} is fixed at {value.item()}" for name, value in settings.items())
    moved = (f"input {name!r} takes rows on its first axis, not on axis {rows_at[name]}"
             for name in rows_at)  # fmt: skip
    return (*fixed, *moved)


def _turn_outputs(model: Any, arrays: Arrays, where: str) -> None:
    try:
        rows_first.turn_outputs(
            model, arrays, lambda asked, given: network.run(_session(asked, where), given)
        )
    except InputError as error:
        raise SlimError(
            f"{where} fails on two rows: {error.message}",
            hint="export the model with rows of any number",
        ) from error


def _drawn(inputs: tuple[Tensor, ...], session: Any) -> _Given:
    """Return seeded random arrays that the model takes, the first kind that it does."""
    last = None
    whole = [tensor for tensor in inputs if DTYPES[tensor.datatype].kind in "iu"]
    for length in _LENGTHS:
        for below in _BELOW if len(whole) == 1 else _BELOW[1:]:
            drawn = tensors.seeded(
                inputs,
                _ROWS,
                lengths=lambda *_, length=length: length,
                below={tensor.name: below for tensor in whole},
            )
            last = last or drawn
            try:
                network.run(session, {name: array[:2] for name, array in drawn.items()})
            except InputError:
                continue
            return _Given(drawn)
    assert last is not None
    return _Given(last)  # the model is asked once more, and says what is wrong


def _arrays(
    inputs: tuple[Tensor, ...],
    path: Path,
    target: str | None,
    *,
    without: tuple[str, ...],
    rows_at: Mapping[str, int],
) -> _Given:
    if len(inputs) > 1 and path.suffix.lower() in (".csv", ".parquet", ".json"):
        table = _by_column(inputs, path, target)
        if table is not None:
            return table
    given = tensors.read(path, target, without=without, rows_at=rows_at)
    arrays = tensors.fit(given, [tensor.name for tensor in inputs], (), path.name)
    typed = {t.name: _typed(arrays[t.name], t, path.name) for t in inputs}
    features: tuple[Feature, ...] = ()
    if given.columns and len(inputs) == 1:
        features = tuple(column.feature(inputs[0].datatype) for column in given.columns)
    return _Given(typed, features, given.labels, given.notes)


def _by_column(inputs: tuple[Tensor, ...], path: Path, target: str | None) -> _Given | None:
    """Read a table for a model that takes one column an input; None where it is no such table."""
    from fnmodel.slim import sample as samples

    texts = [tensor.name for tensor in inputs if tensor.datatype == "BYTES"]
    frame = samples.read(path, texts)
    names = [tensor.name for tensor in inputs]
    if not set(names) <= set(frame.columns) or any(t.shape != (-1, 1) for t in inputs):
        return None
    samples.select(frame, names=names, count=None, target=target, where=path.name)
    good = frame[names].notna().all(axis=1).to_numpy()
    if not good.any():
        raise SlimError(f"{path.name} has no row without missing values")
    kept = frame[good]
    arrays = {}
    for tensor in inputs:
        column = kept[tensor.name]
        values = column.astype(str) if tensor.datatype == "BYTES" else column
        whole = values.to_numpy(dtype=object if tensor.datatype == "BYTES" else None)
        arrays[tensor.name] = _typed(whole.reshape(-1, 1), tensor, path.name)
    features = tuple(
        Feature(t.name, t.datatype, integral=kept[t.name].dtype.kind in "iu") for t in inputs
    )
    left = int((~good).sum())
    notes = (f"{left} rows of the sample left out: missing values",) if left else ()
    labels = kept[target].to_numpy() if target is not None else None
    return _Given(arrays, features, labels, notes)


def _typed(array: Array, tensor: Tensor, where: str) -> Array:
    """Return a sample's array in an input's datatype.

    Raises:
        SlimError: its values or its shape do not fit.

    """
    shape = tensor.shape
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise SlimError(
            f"{where} has shape {list(array.shape)} for input {tensor.name!r}, which takes "
            f"{list(shape)}",
            hint="name the label column with `target:`, or give arrays of the inputs' shapes",
        )
    try:
        typed = array.astype(DTYPES[tensor.datatype])
    except (TypeError, ValueError) as error:
        raise SlimError(
            f"{where}: input {tensor.name!r} takes {tensor.datatype}, not {array.dtype}",
            hint="give values of the input's datatype",
        ) from error
    if typed.dtype.kind in "iub" and not np.array_equal(typed, array):
        raise SlimError(
            f"{where}: input {tensor.name!r} takes {tensor.datatype}, and the sample has others",
            hint="give whole numbers in its range",
        )
    return typed


def _signature(
    model: Any,
    inputs: tuple[Tensor, ...],
    expected: Arrays,
    classes: tuple[str | int, ...],
    features: tuple[Feature, ...],
) -> Signature:
    """Return the signature, and declare in the graph the outputs' shapes that it has."""
    open_inside = any(size < 0 for tensor in inputs for size in tensor.shape[1:])
    shapes = []
    for value in model.graph.output:
        told = [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]
        seen = expected[value.name].shape
        if len(told) != len(seen):
            told = [-1] * len(seen) if open_inside else list(seen)
        shapes.append((-1, *told[1:]))
    network.declare(model.graph.output, shapes)
    outputs = network.tensors(model.graph.output, "output")
    if features and len(inputs) == 1:
        inputs = (replace(inputs[0], shape=(-1, len(features))),)
    if classes and len(outputs) == 2 and len(outputs[0].shape) == 1:
        return Signature(
            "classification", inputs, outputs, features, classes, outputs[0].name, outputs[1].name
        )
    if classes and len(outputs) == 1:
        return Signature("other", inputs, outputs, features, classes, scores=outputs[0].name)
    return Signature("other", inputs, outputs, features)


def _margin(signature: Signature, expected: Mapping[str, Array]) -> Array | None:
    from fnmodel.slim.proof.parity import best_two_margin

    if signature.label is None or signature.scores is None:
        return None
    return best_two_margin(expected[signature.scores])


def _family(model: Any) -> Family:
    kinds = {node.op_type for graph in network.graphs(model.graph) for node in graph.node}
    if any(kind.startswith("TreeEnsemble") for kind in kinds):
        return "trees"
    if kinds & {"Attention", "MultiHeadAttention", "LayerNormalization"} and "Softmax" in kinds:
        return "transformer"
    if kinds & {"Conv", "ConvTranspose", "QLinearConv"}:
        return "cnn"
    if kinds & {"LinearClassifier", "LinearRegressor"}:
        return "linear"
    recurrent = kinds & {"LSTM", "GRU", "RNN", "Loop", "Scan"}
    return "mlp" if kinds & {"MatMul", "Gemm"} and not recurrent else "other"


def _does_not_run(
    where: str, error: InputError, sample: Path | None, *, opened_rows: bool
) -> SlimError:
    if opened_rows:
        return UnsupportedModelError(
            f"{where} was exported for one number of rows, and fails with others: {error.message}",
            hint="export it with the first axis of each input dynamic",
        )
    if sample is None:
        return SlimError(
            f"{where} fails on random inputs of its declared shapes: {error.message}",
            hint=tensors.GIVE_ONE,
        )
    return SlimError(
        f"{where} fails on {sample.name}: {error.message}",
        hint="the sample must look like the training data; is `target:` right?",
    )
