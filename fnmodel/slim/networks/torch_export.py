"""A torch module goes in; an ONNX graph comes out that was proven at other batch sizes and lengths.

`torch.export` captures the module first. It refuses what depends on the values of tensors, which
the older exporter would silently freeze into one branch; so this one is used only after a capture.
"""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fnmodel.engine import open_session
from fnmodel.errors import InputError, UnsupportedModelError
from fnmodel.model import Signature, Tensor
from fnmodel.slim.networks import network
from fnmodel.slim.networks.tensors import Arrays
from fnmodel.slim.subject import Candidate, Converted, Family

OPSET = 18
_BATCHES = (1, 2, 3, 7)
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_LENGTHS = (1, 2, 3)
_LONGEST = 4100
# Rounding of float32 over many layers stays far below this share of the largest answer; another
# branch or a length frozen in does not.
_ABSOLUTE, _RELATIVE = 1e-5, 2e-4

_Open = tuple[tuple[str, tuple[int, ...]], ...]
Sign = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Signature]
"""Makes the signature of a graph's inputs and outputs."""


@dataclass(frozen=True)
class Net:
    """A module in eval mode that takes tensors by position and returns a tuple of tensors.

    `example` holds two rows or more for each input, in the order of the inputs. `open_axes` are
    the axes beside the first whose length callers choose, by input name. `script` is the
    TorchScript original, which must be exported as it is.
    """

    module: Any
    example: Arrays
    outputs: tuple[str, ...]
    open_axes: Mapping[str, frozenset[int]]
    script: Any = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in order."""
        return tuple(self.example)

    def answer(self, arrays: Arrays) -> dict[str, Any]:
        """Return the module's own answers, under the outputs' names."""
        return dict(zip(self.outputs, call(self.module, arrays), strict=True))


def prepare() -> None:
    """Let torch compute with one thread, and keep the libraries around it from the network."""
    import torch

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)


def ask(function: Callable[..., Any], arrays: Arrays) -> Any:
    """Call a function with arrays as tensors, by position; it keeps no gradients."""
    import torch

    given = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays.values()]
    with torch.no_grad():
        return function(*given)


def call(module: Any, arrays: Arrays) -> tuple[Any, ...]:
    """Run a module on arrays by position; return its tuple of tensors as arrays."""
    return tuple(value.cpu().numpy() for value in ask(module, arrays))


def flexible_axes(
    answer: Callable[[Arrays], Any], example: Arrays, declared: Mapping[str, frozenset[int]] | None
) -> dict[str, frozenset[int]]:
    """Return the axes beside the first for which the original answers at other lengths too.

    Axes of one length change together, as the tokens and their mask do; where the original
    refuses that, each alone. `declared` limits the search to the axes that the model leaves open.
    """
    groups: dict[int, list[tuple[str, int]]] = {}
    for name, array in example.items():
        for axis in range(1, array.ndim):
            if declared is None or axis in declared.get(name, ()):
                groups.setdefault(array.shape[axis], []).append((name, axis))
    found: dict[str, set[int]] = {name: set() for name in example}
    for length, axes in groups.items():
        if length < 2:
            continue
        for chosen in [axes] if len(axes) == 1 else [axes, *([axis] for axis in axes)]:
            if all(
                _answers(answer, resized(example, dict.fromkeys(chosen, size)))
                for size in (length + 1, length - 1, 2 * length)
            ):
                for name, axis in chosen:
                    found[name].add(axis)
                if chosen is axes:
                    break
    return {name: frozenset(axes) for name, axes in found.items()}


def resized(arrays: Arrays, lengths: Mapping[tuple[str, int], int]) -> dict[str, Any]:
    """Return arrays with other lengths along some axes, by input and axis; values repeat."""
    out = dict(arrays)
    for (name, axis), length in lengths.items():
        positions = np.arange(length) % out[name].shape[axis]
        out[name] = np.take(out[name], positions, axis=axis)
    return out


def candidates(
    net: Net,
    sign: Sign,
    *,
    finish: Callable[[Any], None] | None = None,
    recurrent: bool = False,
    trusted: bool = False,
) -> tuple[Candidate, ...]:
    """Return the ways to export a module, best first.

    `sign` makes the signature; `finish` adds nodes behind the graph's outputs in place. A
    `recurrent` module is tried with the older exporter first, which keeps its loop as one node.
    `trusted` code, of a framework's own layers, needs no capture to be known free of branches on
    values.
    """

    @cache
    def captured(chosen: _Open) -> Any:
        return capture(net, dict(chosen))

    def by_capture(chosen: _Open) -> tuple[Any, list[int]]:
        program = captured(chosen)
        return translate(program), bounds(program)

    def by_trace(chosen: _Open) -> tuple[Any, list[int]]:
        known_free = net.script is not None or trusted
        ends = [] if known_free else bounds(captured(_choices(net)[-1]))
        return _trace(net, dict(chosen)), ends

    def way(how: str, export: Callable[[_Open], tuple[Any, list[int]]], chosen: _Open) -> Candidate:
        lengths = sorted({net.example[name].shape[axis] for name, axes in chosen for axis in axes})
        told = "".join(f", any length in place of {length}" for length in lengths)

        def convert() -> Converted:
            raw, ends = export(chosen)
            return finished(net, raw, ends, how + told, sign, finish)

        return Candidate(how + told, convert)

    new = [way("torch.export", by_capture, chosen) for chosen in _choices(net)]
    old = [way("TorchScript", by_trace, chosen) for chosen in _choices(net)]
    if net.script is not None:
        return tuple(old)
    return (*old, *new) if recurrent else (*new, *old)


def _choices(net: Net) -> list[_Open]:
    """Return which axes to leave open: all, those of one length each, and none."""
    lengths = sorted(
        {net.example[n].shape[axis] for n, axes in net.open_axes.items() for axis in axes}
    )
    sets = [lengths, *([length] for length in lengths if len(lengths) > 1), []]
    return [
        tuple(
            (
                name,
                tuple(
                    sorted(
                        axis
                        for axis in net.open_axes.get(name, ())
                        if net.example[name].shape[axis] in wanted
                    )
                ),
            )
            for name in net.inputs
        )
        for wanted in (sets if lengths else [[]])
    ]


def capture(net: Net, open_axes: Mapping[str, Sequence[int]]) -> Any:
    """Return the module as a `torch.export` program.

    Raises:
        UnsupportedModelError: it branches on the values of its tensors, or cannot be captured.

    """
    import torch

    dim = torch.export.Dim
    shapes = tuple(
        {0: dim.DYNAMIC, **dict.fromkeys(open_axes[name], dim.AUTO)} for name in net.inputs
    )
    given = tuple(torch.from_numpy(array) for array in net.example.values())
    with _quiet():
        try:
            return torch.export.export(net.module, given, dynamic_shapes=(shapes,), strict=False)
        except Exception as error:
            # Any class of torch's, or of the user's forward().
            raise _refusal(net, error) from error


def finished(
    net: Net,
    raw: Any,
    ends: Sequence[int],
    how: str,
    sign: Sign,
    finish: Callable[[Any], None] | None = None,
) -> Converted:
    """Clean a translated graph, prove it, and give it its signature.

    Raises:
        UnsupportedModelError: it answers differently at some shape.

    """
    model = network.clean(raw, net.inputs, net.outputs)
    prove(net, model, ends)
    shapes = output_shapes(net, network.tensors(model.graph.input, "input"))
    network.declare(model.graph.output, list(shapes.values()))
    if finish is not None:
        finish(model)
    inputs = network.tensors(model.graph.input, "input")
    outputs = network.tensors(model.graph.output, "output")
    return Converted(model.SerializeToString(deterministic=True), sign(inputs, outputs), how)


def translate(program: Any) -> Any:
    """Translate a `torch.export` program to ONNX.

    Raises:
        UnsupportedModelError: an operator has no translation; names it.

    """
    import torch

    with _quiet():
        try:
            return torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, verbose=False, external_data=False
            ).model_proto
        except Exception as error:
            raise UnsupportedModelError(
                f"torch cannot translate this model to ONNX: {_why(error)}",
                hint="replace the operator that the message names",
            ) from error


def prove(net: Net, model: Any, ends: Sequence[int] = ()) -> None:
    """Compare a graph with the module at several batch sizes, and lengths of its open axes.

    `ends` are lengths at which the module may change its ways.

    Raises:
        UnsupportedModelError: it answers differently somewhere; names the shapes.

    """
    opened = open_session(model.SerializeToString(), threads=1)
    for arrays in _shapes(net, network.tensors(model.graph.input, "input"), ends):
        expected = _try(net.answer, arrays)
        if expected is None:  # the original refuses this length itself
            continue
        where = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        try:
            with _quiet():
                actual = network.run(opened, arrays)
        except InputError as error:
            raise UnsupportedModelError(
                f"the exported graph refuses what the model answers ({where}): {error.message}",
                hint="a size is frozen into forward(); take sizes from its tensors' shapes",
            ) from error
        for value, (name, wanted) in zip(actual.values(), expected.items(), strict=True):
            if not network.equal(value, wanted, absolute=_ABSOLUTE, relative=_RELATIVE):
                raise UnsupportedModelError(
                    f"the exported graph answers differently ({where}), output {name!r}",
                    hint="forward() does something that the exporter freezes for other sizes",
                )


def family(parts: Iterable[Any]) -> Family:
    """Say what kind of network it is, by its layers, for the choice of smaller forms."""
    kinds = {type(part).__name__ for part in parts}
    if any("Attention" in kind or "Transformer" in kind for kind in kinds):
        return "transformer"
    if any(kind.startswith(("Conv", "DepthwiseConv", "SeparableConv")) for kind in kinds):
        return "cnn"
    if kinds & {*_RECURRENT, "SimpleRNN"} or any("Embedding" in kind for kind in kinds):
        return "other"
    return "mlp" if kinds & {"Linear", "Dense", "Bilinear"} else "other"


def is_recurrent(module: Any) -> bool:
    """Whether a part of the module is torch's own LSTM, GRU or RNN."""
    return any(type(part).__name__ in _RECURRENT for part in module.modules())


def output_shapes(net: Net, inputs: Sequence[Tensor]) -> dict[str, tuple[int, ...]]:
    """Return each output's shape, -1 for axes that follow the open axes of the inputs."""
    shown = net.answer(net.example)
    shapes = {name: [-1, *array.shape[1:]] for name, array in shown.items()}
    for length, axes in _open_groups(net, inputs).items():
        for other in (2 * length, length - 1):
            moved = _try(net.answer, resized(net.example, dict.fromkeys(axes, other)))
            for name, array in (moved or {}).items():
                for axis, size in enumerate(array.shape):
                    if size != shown[name].shape[axis]:
                        shapes[name][axis] = -1
    return {name: tuple(shape) for name, shape in shapes.items()}


def _open_groups(net: Net, inputs: Sequence[Tensor]) -> dict[int, list[tuple[str, int]]]:
    """Return the open axes beside the first, by input and axis, under their length."""
    groups: dict[int, list[tuple[str, int]]] = {}
    for tensor in inputs:
        for axis, size in enumerate(tensor.shape):
            if axis and size < 0:
                groups.setdefault(net.example[tensor.name].shape[axis], []).append(
                    (tensor.name, axis)
                )
    return groups


def _shapes(net: Net, inputs: Sequence[Tensor], ends: Sequence[int]) -> Iterator[dict[str, Any]]:
    for batch in _BATCHES:
        yield resized(net.example, {(name, 0): batch for name in net.inputs})
    for length, axes in _open_groups(net, inputs).items():
        near = {length - 1, length + 1, 2 * length, 4 * length + 1, *_LENGTHS}
        edges = {other for bound in ends for other in (bound - 1, bound, bound + 1)}
        for other in sorted(near | edges):
            if 0 < other <= _LONGEST:
                batch = 2 if other in near else 1
                first = {(name, 0): batch for name in net.inputs}
                yield resized(net.example, {**first, **dict.fromkeys(axes, other)})


def bounds(program: Any) -> list[int]:
    """Return the lengths where a captured program says that its shapes begin and end."""
    ends = {
        str(end) for span in program.range_constraints.values() for end in (span.lower, span.upper)
    }
    # The other ends are infinite.
    return sorted(int(end) for end in ends if end.isdecimal() and int(end) <= _LONGEST)


def _trace(net: Net, open_axes: Mapping[str, Sequence[int]]) -> Any:
    import onnx
    import torch

    given = tuple(torch.from_numpy(array) for array in net.example.values())
    # Equal lengths get one name: the exporter would otherwise not know tokens fit their mask.
    axes = {
        name: {
            0: "batch",
            **{axis: f"length{net.example[name].shape[axis]}" for axis in open_axes[name]},
        }
        for name in net.inputs
    }
    out: dict[str, dict[int, str]] = {
        name: {0: "batch"} for name in (f"out{i}" for i in range(len(net.outputs)))
    }
    file = io.BytesIO()
    with _quiet(), torch.no_grad():
        try:
            torch.onnx.export(
                net.module if net.script is None else net.script,
                given,
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(net.inputs),
                output_names=list(out),
                dynamic_axes={**axes, **out},
            )
        except Exception as error:
            raise UnsupportedModelError(
                f"torch cannot translate this model to ONNX: {_why(error)}",
                hint="replace the operator that the message names",
            ) from error
        finally:
            # The exporter puts modules back into the mode that it found on the outermost one.
            net.module.eval()
    return onnx.load_from_string(file.getvalue())


def _refusal(net: Net, error: Exception) -> UnsupportedModelError:
    text = str(error)
    kind = type(getattr(net.module, "inner", net.module)).__name__
    if "data-dependent" in text or "DataDependent" in type(error).__name__:
        return UnsupportedModelError(
            f"the {kind} decides by the values of its tensors (an `if`, a loop or a size), which "
            "an export would freeze into one branch",
            hint="use torch.where in forward(), or save torch.jit.script(model), which keeps "
            "the branches",
        )
    return UnsupportedModelError(
        f"torch.export cannot capture the {kind}: {_why(error)}",
        hint="forward() may take and return tensors only, and calls no other library on them",
    )


def _why(error: Exception) -> str:
    """Return the line that says most: exporters bury the cause under advice."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    line = network.first_line(cause)
    return "".join(c for c in line if c.isprintable()).replace("[96m", "").replace("[0m", "")


def plain(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Signature:
    """Return the signature of a model of which no more is known than its tensors."""
    return Signature(task="other", inputs=inputs, outputs=outputs)


def _answers(answer: Callable[[Arrays], Any], arrays: Arrays) -> bool:
    return _try(answer, arrays) is not None


def _try(answer: Callable[[Arrays], Any], arrays: Arrays) -> Any:
    try:
        return answer(arrays)
    except Exception:  # any module may raise anything at a length it cannot take
        return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' advice, progress and dumped graphs off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _silenced(1, 2),  # C++ writes there, past Python
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _silenced(*descriptors: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        for descriptor in descriptors:
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(nowhere, descriptor)
        yield
