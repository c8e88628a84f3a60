"""Keras models in `.keras` files, loaded with the torch backend; TensorFlow is not needed."""

import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.model import Signature, Tensor
from fnmodel.slim.networks import keras_recurrent, network, tensors, torch_export
from fnmodel.slim.networks.tensors import Arrays, Sample
from fnmodel.slim.networks.torch_export import Net, call
from fnmodel.slim.readers.torch import require, timed, wrapped
from fnmodel.slim.subject import Subject

_ROWS = 32
_LENGTH = 6
_EXAMPLE_ROWS = 3
_LARGEST_CONFIG = 2**28
# Where Keras' own classes live. Its utilities are left out: they read files and addresses.
_KERAS = re.compile(
    r"builtins|keras|keras\.(src\.)?(activations|constraints|dtype_policies|initializers|layers|"
    r"losses|metrics|models|ops|optimizers|quantizers|random|regularizers)(\.\w+)*"
)
_RUNS_CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_DATATYPES: Mapping[str, Any] = {
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "bool": "BOOL",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
}  # fmt: skip


@dataclass(frozen=True)
class _Ports:
    """A Keras model's inputs, and the names of its outputs."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]


def subject(
    path: Path,
    *,
    sample: Path | None,
    target: str | None = None,
    trust: frozenset[str] = frozenset(),  # noqa: ARG001 (code of others has no place in such a file)
) -> Subject:
    """Open a Keras model with its questions and the ways to convert it.

    Without a sample it is compared on seeded random inputs of the declared shapes.

    Raises:
        SlimError: the file or the sample cannot be read, or they do not fit together.
        UnsupportedModelError: it holds layers of other packages, or Python code.
        MissingExtraError: keras, torch or onnx is not installed.

    """
    require("keras", "keras", "torch", "h5py", "onnx", "onnxscript")
    torch_export.prepare()
    model = _load(path)
    import keras

    ports = _ports(model)
    given = _given(model, ports, sample, target)
    names = [tensor.name for tensor in ports.inputs]
    where = sample.name if sample else path.name
    arrays = _typed(tensors.fit(given, names, (), where), ports, where)
    module = _wrapped(model)

    def answer(asked: Arrays) -> dict[str, Any]:
        return dict(zip(ports.outputs, call(module, asked), strict=True))

    columns = given.columns if len(arrays) == 1 else ()
    rows = tensors.rows_of(arrays)
    try:
        expected = tensors.ask(answer, rows.arrays)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise SlimError(
            f"the model fails on {where}: {network.first_line(error)}",
            hint="the sample must look like the training data; is `target:` right?",
        ) from error
    example = tensors.repeat(arrays, _EXAMPLE_ROWS)
    declared = {
        tensor.name: frozenset(axis for axis, size in enumerate(tensor.shape) if axis and size < 0)
        for tensor in ports.inputs
    }
    open_axes = torch_export.flexible_axes(answer, example, declared)
    other = _load(path)
    recurrent = keras_recurrent.use_kernels(other)
    net = _Proven(_wrapped(other), example, ports.outputs, open_axes, original=module)

    def sign(inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]) -> Signature:
        plain = torch_export.plain(inputs, results)
        return tensors.with_features(plain, columns) if columns else plain

    return Subject(
        framework="Keras",
        version=keras.__version__,
        family=torch_export.family(model._flatten_layers()),  # noqa: SLF001
        candidates=torch_export.candidates(net, sign, recurrent=recurrent > 0, trusted=True),
        questions=tensors.questions(rows, expected, columns, notes=given.notes),
        answer=timed(answer, arrays),
        open=lambda: _load(path),
        rows_from=sample.name if sample else "seeded random inputs",
        notes=() if sample else ("compared on random inputs: a sample would prove more",),
        labels=given.labels,
    )


@dataclass(frozen=True)
class _Proven(Net):
    """A net that is exported from one copy of a model and compared with another."""

    original: Any = None

    def answer(self, arrays: Arrays) -> dict[str, Any]:
        """Return the untouched model's answers."""
        return dict(zip(self.outputs, call(self.original, arrays), strict=True))


def _wrapped(model: Any) -> Any:
    import keras

    def ask(*given: Any) -> Any:
        packed = keras.tree.pack_sequence_as(_struct(model, "inputs"), given)
        answers = model(packed, training=False)
        return tuple(keras.tree.flatten(answers))

    module = wrapped(ask)
    module.inner = model
    return module.eval()


def _struct(model: Any, side: str) -> Any:
    """Return the nesting of a model's inputs or outputs: one tensor, a list or a dict."""
    return getattr(model, f"_{side}_struct", getattr(model, side)[0])


def _load(path: Path) -> Any:
    _check(path)
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.config.backend() != "torch":
        raise SlimError(
            f"Keras runs on {keras.config.backend()} in this process",
            hint="set KERAS_BACKEND=torch before Keras is imported",
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, ImportError, AttributeError) as error:
        raise SlimError(
            f"{path.name} cannot be read by Keras: {network.first_line(error)}",
            hint="save it again with the version of Keras that is installed here; layers that "
            "need TensorFlow (text vectorization) belong in front of the model",
        ) from error
    if not model.built or not getattr(model, "inputs", None):
        raise UnsupportedModelError(
            f"{path.name} does not say what its inputs look like",
            hint="begin the model with keras.Input(shape=…), then save it again",
        )
    return model.eval()


def _check(path: Path) -> None:
    """Refuse what holds Python code or layers of others, before anything is made of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _LARGEST_CONFIG:
                raise SlimError(f"{path.name}: its config.json is too large")
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, RecursionError) as error:
        raise SlimError(
            f"{path.name} is not a complete Keras file: {network.first_line(error)}",
            hint="save it again: model.save('model.keras')",
        ) from error
    strange = []
    for part in _parts(config):
        name, home = str(part["class_name"]), part.get("module")
        if name in _RUNS_CODE:
            told = (part.get("config") or {}).get("name") if isinstance(part, dict) else None
            raise UnsupportedModelError(
                f"{path.name} holds Python code in a {name} layer ({told or 'without a name'})",
                hint="write that layer with keras.ops, or move the step in front of the model",
            )
        if home is None and part.get("registered_name") is None:
            continue  # of Keras itself: shapes, tensors, axes
        if not (isinstance(home, str) and _KERAS.fullmatch(home)):
            strange.append(str(part.get("registered_name") or f"{home}.{name}"))
    if strange:
        listed = ", ".join(dict.fromkeys(strange))
        raise UnsupportedModelError(
            f"{path.name} has layers of its own or of another package: {listed}",
            hint="build the model of Keras' own layers, or export it to ONNX where its code is",
        )


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _ports(model: Any) -> _Ports:
    import keras

    inputs = []
    struct = _struct(model, "inputs")
    for number, one in enumerate(keras.tree.flatten(struct)):
        kind = _DATATYPES.get(str(one.dtype))
        if kind is None:
            raise UnsupportedModelError(
                f"input {one.name!r} is of type {one.dtype}, which needs TensorFlow",
                hint="turn texts into numbers in front of the model",
            )
        # A generated name is another one each time.
        plain = "input" if len(model.inputs) == 1 else f"input_{number}"
        name = plain if one.name.startswith("keras_tensor") else one.name
        if isinstance(struct, dict):
            name = keras.tree.flatten({key: key for key in struct})[number]
        shape = tuple(-1 if size is None else int(size) for size in one.shape)
        if not shape or shape[0] >= 0:
            raise UnsupportedModelError(
                f"input {name!r} has the fixed shape {list(shape)}",
                hint="give keras.Input a shape without batch_size",
            )
        inputs.append(Tensor(name, kind, shape))
    return _Ports(tuple(inputs), _output_names(_struct(model, "outputs")))


def _output_names(struct: Any) -> tuple[str, ...]:
    import keras

    flat = keras.tree.flatten(struct)
    if isinstance(struct, dict) and len(struct) == len(flat):
        return tuple(str(key) for key in keras.tree.flatten({key: key for key in struct}))
    if len(flat) == 1:
        return ("output",)
    names: list[str] = []
    for one in flat:
        name = str(one._keras_history.operation.name)  # noqa: SLF001
        names.append(name if name not in names else f"{name}_{len(names)}")
    return tuple(names)


def _given(model: Any, ports: _Ports, path: Path | None, target: str | None) -> Sample:
    if path is not None:
        return tensors.read(path, target)
    tables = [
        int(layer.input_dim)
        for layer in model._flatten_layers()  # noqa: SLF001
        if type(layer).__name__ == "Embedding"
    ]
    below = {tensor.name: min(tables, default=2) for tensor in ports.inputs}
    return Sample(tensors.seeded(ports.inputs, _ROWS, lengths=lambda *_: _LENGTH, below=below))


def _typed(arrays: Arrays, ports: _Ports, where: str) -> dict[str, Any]:
    """Return the arrays in the declared types and ranks.

    Raises:
        SlimError: a rank or a fixed size differs.

    """
    from fnmodel.arrays import DTYPES

    typed = {}
    for tensor in ports.inputs:
        array = arrays[tensor.name]
        fits = array.ndim == len(tensor.shape) and all(
            size < 0 or size == have for size, have in zip(tensor.shape, array.shape, strict=True)
        )
        if not fits:
            raise SlimError(
                f"{where} has shape {list(array.shape)} for input {tensor.name!r}, the model takes "
                f"{list(tensor.shape)}",
                hint="the sample must look like the training data; is `target:` right?",
            )
        typed[tensor.name] = array.astype(DTYPES[tensor.datatype])
    return typed
