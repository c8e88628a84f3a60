"""PyTorch: whole modules, TorchScript, and programs of `torch.export`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import MissingExtraError, SlimError, UnsupportedModelError
from fnmodel.model import Signature, Tensor
from fnmodel.slim import formats
from fnmodel.slim.networks import network, tensors, torch_export
from fnmodel.slim.networks.tensors import Arrays, Sample
from fnmodel.slim.networks.torch_export import Net, call
from fnmodel.slim.subject import Candidate, Converted, Subject
from fnmodel.slim.untrusted import torch_file

_EXAMPLE_ROWS = 3


@dataclass(frozen=True)
class _Original:
    """A module and the names of its inputs; `program` is what it was captured as, if it was."""

    module: Any
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    program: Any = None
    scripted: bool = False
    example: Arrays | None = None


def subject(
    path: Path,
    *,
    sample: Path | None,
    target: str | None = None,
    trust: frozenset[str] = frozenset(),
) -> Subject:
    """Open a PyTorch file with its questions and the ways to convert it.

    A table as sample, for a module with one input of rows of numbers, names the features.

    Raises:
        SlimError: the file or the sample cannot be read, or they do not fit together.
        UntrustedModelError: the file names classes beyond torch.nn that `trust` does not hold.
        UnsupportedModelError: weights alone, or a module whose answers cannot be compared.
        MissingExtraError: torch or onnx is not installed.

    """
    require("torch", "torch", "onnx", "onnxscript")
    import torch

    torch_export.prepare()
    original = _open(path, trust)
    given = _given(original, sample, target)
    where = sample.name if sample else path.name
    arrays = _fitting(original, given, where)
    module, outputs = _flat(original, arrays)
    columns = given.columns if len(arrays) == 1 else ()

    def answer(asked: Arrays) -> dict[str, Any]:
        return dict(zip(outputs, call(module, asked), strict=True))

    rows = tensors.rows_of(arrays)
    expected = tensors.ask(answer, rows.arrays)
    example = tensors.repeat(arrays, _EXAMPLE_ROWS)
    open_axes: Mapping[str, frozenset[int]] = dict.fromkeys(arrays, frozenset())
    if not columns:
        open_axes = torch_export.flexible_axes(answer, example, None)
    net = Net(module, example, outputs, open_axes, original.module if original.scripted else None)

    def sign(inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]) -> Signature:
        plain = torch_export.plain(inputs, results)
        return tensors.with_features(plain, columns) if columns else plain

    ways: tuple[Candidate, ...]
    if original.program is not None:
        ways = (_captured(original.program, net, sign),)
    else:
        recurrent = not original.scripted and torch_export.is_recurrent(original.module)
        ways = torch_export.candidates(net, sign, recurrent=recurrent)
    return Subject(
        framework="PyTorch",
        version=torch.__version__,
        family=torch_export.family(_parts(original.module)),
        candidates=ways,
        questions=tensors.questions(rows, expected, columns, notes=given.notes),
        answer=timed(answer, arrays),
        open=lambda: _open(path, trust),
        rows_from=sample.name if sample else "the file's own example, and changes of it",
        labels=given.labels,
    )


def require(extra: str, *names: str) -> None:
    """Check that a framework is installed, without importing it.

    Raises:
        MissingExtraError: it is not; names the extra.

    """
    for name in names:
        if find_spec(name) is None:
            raise MissingExtraError(
                f"converting this model needs {name}, which is not installed",
                hint=f"pip install 'fnmodel[{extra}]'",
            )


def timed(
    answer: Callable[[Arrays], object], arrays: Arrays
) -> Callable[[int], Callable[[], object]]:
    """Return what `Subject.answer` is: rows are made ready first, then answered."""

    def prepare(count: int) -> Callable[[], object]:
        ready = tensors.repeat(arrays, count)
        return lambda: answer(ready)

    return prepare


def flatten(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return a module's tensors with names: a mapping's keys, or the positions in a sequence.

    Raises:
        UnsupportedModelError: there is something else than tensors.

    """
    import torch

    if isinstance(value, torch.Tensor):
        return [(name or "output", value)]
    if value is None:
        return []
    prefix = f"{name}_" if name else ""
    if isinstance(value, Mapping):
        parts = [(f"{prefix}{key}", item) for key, item in value.items()]
    elif hasattr(value, "_fields"):
        parts = [(f"{prefix}{key}", getattr(value, key)) for key in value._fields]
    elif isinstance(value, list | tuple):
        prefix = prefix or "output_"
        parts = [(f"{prefix}{number}", item) for number, item in enumerate(value)]
        if len(parts) == 1 and not name:
            parts = [("", value[0])]
    else:
        raise UnsupportedModelError(
            f"forward() returns a {type(value).__name__}, not a tensor",
            hint="return a tensor, or a tuple or dict of tensors",
        )
    return [pair for key, item in parts for pair in flatten(item, key)]


def wrapped(ask: Callable[..., Any]) -> Any:
    """Return a module around a function of tensors by position; it returns a tuple of tensors."""
    import torch

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *given: Any) -> tuple[Any, ...]:
            return tuple(tensor for _, tensor in flatten(ask(*given)))

    return Wrapped().eval()


def _open(path: Path, trust: frozenset[str]) -> _Original:
    match formats.detect(path).kind:
        case "torch-export":
            return _program(path)
        case "torchscript":
            module = torch_file.script(path)
            arguments = module.forward.schema.arguments[1:]
            required = tuple(a.name for a in arguments if not a.has_default_value())
            optional = tuple(a.name for a in arguments if a.has_default_value())
            return _Original(module, required, optional, scripted=True)
        case _:
            module = torch_file.module(path, trust)
            required, optional = _arguments(module)
            return _Original(module, required, optional)


def _program(path: Path) -> _Original:
    program = torch_file.program(path)
    names = tuple(str(name) for name in program.graph_signature.user_inputs)
    placed = {n.name: n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"}
    fixed = [name for name in names if not hasattr(placed[name], "shape")]
    if fixed:
        raise UnsupportedModelError(
            f"input {fixed[0]!r} of {path.name} is a constant, not a tensor",
            hint="export the program with tensors only",
        )
    for name in names:
        shape = placed[name].shape
        if not len(shape) or isinstance(shape[0], int):
            raise UnsupportedModelError(
                f"{path.name} was exported for rows of one number only: {name} {list(shape)}",
                hint="export it with dynamic_shapes, the first axis of each input as "
                "torch.export.Dim.DYNAMIC",
            )
    example = None
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        told = [t.numpy() for _, t in (*flatten(args, "i"), *flatten(kwargs, "k"))]
        example = dict(zip(names, told, strict=True))
    return _Original(program.module(), names, program=program, example=example)


def _arguments(module: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the required and the optional arguments of forward()."""
    required, optional = [], []
    for name, argument in inspect.signature(module.forward).parameters.items():
        if argument.kind is argument.VAR_KEYWORD:
            continue
        if argument.kind is argument.VAR_POSITIONAL:
            optional.append(name)
        elif argument.default is argument.empty:
            required.append(name)
        else:
            optional.append(name)
    return tuple(required), tuple(optional)


def _given(original: _Original, path: Path | None, target: str | None) -> Sample:
    if path is not None:
        return tensors.read(path, target)
    if original.example is None:
        raise SlimError(
            "a PyTorch module does not say what its inputs look like", hint=tensors.GIVE_ONE
        )
    return Sample(original.example)


def _fitting(original: _Original, given: Sample, where: str) -> dict[str, Any]:
    """Return the sample's arrays in the dtypes that the module accepts.

    Raises:
        SlimError: it accepts none, or the names do not fit.

    """
    arrays = tensors.fit(given, original.required, original.optional, where)
    double = any(str(p.dtype) == "torch.float64" for p in original.module.parameters())
    number = np.float64 if double else np.float32
    arrays = {
        name: array.astype(number) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }
    whole = {n: a.astype(number) if a.dtype.kind in "iu" else a for n, a in arrays.items()}
    long = {n: a.astype(np.int64) if a.dtype.kind in "iu" else a for n, a in arrays.items()}
    failed: Exception | None = None
    for tried in (arrays, long, whole):
        try:
            torch_export.ask(_asking(original, tuple(tried)), tensors.take(tried, [0, 0]))
        except Exception as error:  # forward() may raise anything
            failed = failed or error
        else:
            return tried
    assert failed is not None
    shapes = ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in arrays.items())
    raise SlimError(
        f"the module fails on {where} ({shapes}): {network.first_line(failed)}",
        hint="the sample must look like the training data; is `target:` right?",
    ) from failed


def _parts(module: Any) -> list[Any]:
    """Return what a module is made of; a captured one has lost its layers."""
    return list(module.modules()) if hasattr(module, "modules") else []


def _asking(original: _Original, names: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function that calls the module with tensors in the order of `names`."""
    module = original.module
    if names == (*original.required, *original.optional)[: len(names)]:
        return module  # type: ignore[no-any-return]
    return lambda *given: module(**dict(zip(names, given, strict=True)))


def _flat(original: _Original, arrays: Arrays) -> tuple[Any, tuple[str, ...]]:
    """Return a module that takes the arrays by position, and the names of what it returns."""
    import torch

    ask = _asking(original, tuple(arrays))
    told = flatten(torch_export.ask(ask, tensors.take(arrays, [0, 0])))
    if not told:
        raise UnsupportedModelError("forward() returns no tensor", hint="return a tensor")
    flat = wrapped(ask)
    if isinstance(original.module, torch.nn.Module):
        flat.inner = original.module
    return flat, tuple(name for name, _ in told)


def _captured(program: Any, net: Net, sign: torch_export.Sign) -> Candidate:
    how = "torch.export, as saved"

    def convert() -> Converted:
        return torch_export.finished(
            net, torch_export.translate(program), torch_export.bounds(program), how, sign
        )

    return Candidate(how, convert)
