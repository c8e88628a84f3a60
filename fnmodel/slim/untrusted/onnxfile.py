"""Reads an ONNX file that somebody else made, as one model without other files.

What can be seen without running it is refused here: files outside its folder, sizes that do not
fit, loops and operators that nobody allowed. What shows only when it runs (a shape computed from
its input) meets the limits of the child process.
"""

import mmap
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from fnmodel.errors import MissingExtraError, SlimError, UnsupportedModelError, UntrustedModelError
from fnmodel.slim.untrusted.allowed import how_to_trust

LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
"""Operators that run a graph again and again; `onnx.Loop` and so on are the names to trust."""

MOST_NODES = 200_000
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_DEEPEST = 16
_MOST_ELEMENTS = 1 << 31
_MOST_BYTES = (1 << 31) - 1  # of a protobuf message
_LONGEST_NAME = 4096
_MOST_METADATA = 16 << 20
_MOST_FILES = 10_000
_HARMFUL = "do not use this file unless you made it; else export the model again"
_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
# A StringStringEntryProto of two fields: the key `location`, then the value and its length.
_LOCATION = re.compile(rb"\x0a\x08location\x12(?:([\x01-\x7f])|([\x80-\xff][\x01-\x1f]))")


def read(path: Path, trust: Collection[str] = frozenset()) -> bytes:
    """Return an ONNX model that holds all its tensors, without doc strings.

    Tensors that lie in other files are read from plain files below the model's own folder.
    `trust` allows loops by name: `onnx.Loop`, `onnx.Scan`, `onnx.SequenceMap`.

    Raises:
        SlimError: the file is damaged, leads out of its folder, or says sizes that cannot be.
        UntrustedModelError: it has loops that `trust` does not hold.
        UnsupportedModelError: it needs operators or versions that ONNX Runtime does not have, or
            is larger than 2 GB.
        MissingExtraError: onnx is not installed.

    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(
            "reading an ONNX file needs onnx, which is not installed", hint="pip install onnx"
        ) from error
    model = _parsed(path, _content(path))
    if not model.HasField("graph") or not model.graph.output:
        raise SlimError(f"{path.name} is not an ONNX model: it has no outputs", hint=_HARMFUL)
    try:
        _check(path, model, frozenset(trust))
    except _WrongError as error:
        raise SlimError(f"{path.name}: {error}", hint=_HARMFUL) from error
    _strip(model)
    if model.ir_version == 3:  # where each initializer had to be an input, which few exporters did
        model.ir_version = 4
    if model.ByteSize() > _MOST_BYTES:
        raise _too_large(path)
    _accept(path, model)
    try:
        with _all_shaped(model):
            onnx.checker.check_model(model.SerializeToString())
    except Exception as error:
        raise SlimError(
            f"{path.name} is not a valid ONNX model: {_first_line(error)}",
            hint="export the model again; onnx.checker.check_model shows the same",
        ) from error
    whole: bytes = model.SerializeToString()
    return whole


def _parsed(path: Path, content: bytes) -> Any:
    import onnx

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:
        # protobuf's DecodeError has moved between its versions.
        raise SlimError(
            f"{path.name} is not a complete ONNX file",
            hint="export or download the model again; a Git LFS pointer needs `git lfs pull`",
        ) from error


@contextmanager
def _all_shaped(model: Any) -> Iterator[None]:
    """Give a shape to inputs and outputs without one meanwhile: the checker wants it, nothing else.

    No shape stands for any number of dimensions.
    """
    open_ = []
    for place in _places(model.graph, None):
        for value in (*place.graph.input, *place.graph.output):
            if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
                open_.append(value.type.tensor_type)
                value.type.tensor_type.shape.SetInParent()
    try:
        yield
    finally:
        for tensor in open_:
            tensor.ClearField("shape")


def companions(path: Path) -> tuple[Path, ...]:
    """Return the files below a model's folder that it may name as holding its tensors.

    Looks for the names without reading the model: nothing in it comes to life.
    """
    found: set[Path] = set()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for match in _LOCATION.finditer(data):
                size = match[1][0] if match[1] else (match[2][0] & 127) | match[2][1] << 7
                name = data[match.end() : match.end() + size].decode("utf-8", "replace")
                with suppress(_WrongError, OSError):
                    os.close(_open(path.parent, name))
                    found.add(path.parent / name)
                if len(found) >= _MOST_FILES:
                    break
    except (OSError, ValueError):  # empty, or not there: whoever reads it says so
        return ()
    return tuple(sorted(found))


def check_external(path: Path, weights: Path) -> None:
    """Refuse a model that takes tensors from any file but `weights`, which lies beside it.

    ONNX Runtime opens what a model names, also when it is given the model's bytes: then relative
    to the working directory.

    Raises:
        SlimError: a tensor lies in another file, or outside of this one.

    """
    if not _names_files(path):
        return
    model = _parsed(path, _content(path))
    size = weights.stat().st_size if weights.is_file() else 0
    try:
        places = [*_places(model.graph, None)]
        for function in model.functions:
            places += _places(None, function)
        for tensor in (tensor for place in places for tensor in _tensors(place)):
            _check_place(tensor, weights.name, size)
    except _WrongError as error:
        raise SlimError(f"{path.name}: {error}", hint=_HARMFUL) from error


def _names_files(path: Path) -> bool:
    """Whether a model may name other files: without the key `location`, no tensor does."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(b"location") >= 0


def _check_place(tensor: Any, name: str, size: int) -> None:
    told = {entry.key: entry.value for entry in tensor.external_data}
    if not told:
        return
    if len(told) < len(tensor.external_data):
        raise _WrongError("it says twice where a tensor lies")
    if told.get("location") != name:
        raise _WrongError(f"a tensor lies in {_short(told.get('location', ''))}")
    if _number(told, "offset", 0) + _number(told, "length", size + 1) > size:
        raise _WrongError(f"{name} ends before the tensor that lies in it")


class _WrongError(Exception):
    """What is wrong with the file, in words that follow its name."""


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SlimError(f"{path.name} is not a plain file", hint=_HARMFUL)
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SlimError(
            f"{path} cannot be read: {error.strerror}", hint="name an existing file"
        ) from error
    if not content:
        raise SlimError(f"{path.name} is empty", hint="export the model again")
    if len(content) > _MOST_BYTES:
        raise _too_large(path)
    return content


def _too_large(path: Path) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{path.name} holds more than 2 GB with its tensors",
        hint="export it in float16 or quantised; Lambda offers 10 GB for image and memory",
    )


@dataclass(frozen=True)
class _Place:
    """A graph or a function's body: its nodes, and how deep it lies."""

    nodes: Any
    graph: Any
    depth: int


def _check(path: Path, model: Any, trust: frozenset[str]) -> None:
    functions = {(f.domain, f.name): f for f in model.functions}
    if len(functions) < len(model.functions):
        raise _WrongError("a function is in it twice")
    places = [*_places(model.graph, None)]
    for function in model.functions:
        places += _places(None, function)
    _check_names(model, places)
    _check_operators(path, places, functions, trust)
    _check_calls(model, functions)
    folder = _Folder(path.parent, model.ByteSize())
    for place in places:
        for tensor in _tensors(place):
            _check_tensor(path, tensor, folder)
        constants = _constants(place)
        for node in place.nodes:
            _check_size(node, constants)
        if place.graph is not None:
            for value in (*place.graph.input, *place.graph.output, *place.graph.value_info):
                _check_value(value)


def _places(graph: Any, function: Any) -> Iterator[_Place]:
    left = [_Place(graph.node if graph is not None else function.node, graph, 0)]
    while left:
        place = left.pop()
        if place.depth > _DEEPEST:
            raise _WrongError(f"its graphs lie more than {_DEEPEST} deep in one another")
        yield place
        for node in place.nodes:
            for attribute in node.attribute:
                inner = [*attribute.graphs]
                if attribute.HasField("g"):
                    inner.append(attribute.g)
                left.extend(_Place(graph.node, graph, place.depth + 1) for graph in inner)


def _check_names(model: Any, places: list[_Place]) -> None:
    metadata = sum(len(p.key) + len(p.value) for p in model.metadata_props)
    if metadata > _MOST_METADATA:
        raise _WrongError(f"it holds {metadata >> 20} MB of metadata")
    for place in places:
        for node in place.nodes:
            words = (node.op_type, node.domain, node.name, *node.input, *node.output)
            if any(len(word) > _LONGEST_NAME for word in words):
                raise _WrongError(f"a node has a name of more than {_LONGEST_NAME} characters")


def _check_operators(
    path: Path,
    places: list[_Place],
    functions: Mapping[tuple[str, str], Any],
    trust: frozenset[str],
) -> None:
    loops: set[str] = set()
    foreign: set[str] = set()
    count = 0
    for place in places:
        count += len(place.nodes)
        for node in place.nodes:
            if (node.domain, node.op_type) in functions:
                continue
            if node.domain not in _DOMAINS:
                foreign.add(f"{node.domain}:{node.op_type}")
            elif node.domain in ("", "ai.onnx") and node.op_type in LOOPS:
                loops.add(f"onnx.{node.op_type}")
    if count > MOST_NODES:
        raise _WrongError(f"it has {count} nodes")
    if foreign:
        listed = ", ".join(sorted(foreign)[:5])
        raise UnsupportedModelError(
            f"{path.name} needs operators that ONNX Runtime does not have: {listed}",
            hint="export the model with operators of ai.onnx, ai.onnx.ml and com.microsoft only",
        )
    if loops - trust:
        names = sorted(loops - trust)
        raise UntrustedModelError(
            f"{path.name} has loops, which may run without end: {', '.join(names)}",
            hint=f"if you know where it comes from, allow them by name: {how_to_trust(names)}",
        )


def _check_calls(model: Any, functions: Mapping[tuple[str, str], Any]) -> None:
    """Refuse functions that call themselves, or each other so often that no graph holds it all."""
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above:
            raise _WrongError(f"its function {key[1][:80]!r} calls itself")
        if len(above) > _DEEPEST:
            raise _WrongError(f"its functions call one another more than {_DEEPEST} deep")
        if key not in sizes:
            sizes[key] = total(_places(None, functions[key]), (*above, key))
        return sizes[key]

    def total(places: Iterator[_Place], above: tuple[tuple[str, str], ...]) -> int:
        count = 0
        for place in places:
            for node in place.nodes:
                key = (node.domain, node.op_type)
                count += size(key, above) if key in functions else 1
        if count > MOST_NODES:
            raise _WrongError(f"its functions unfold to {count} nodes")
        return count

    for key in functions:
        size(key, ())
    total(_places(model.graph, None), ())


def _tensors(place: _Place) -> Iterator[Any]:
    if place.graph is not None:
        yield from place.graph.initializer
        for sparse in place.graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in place.nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for sparse in (*attribute.sparse_tensors, attribute.sparse_tensor):
                if sparse.HasField("values"):
                    yield from (sparse.values, sparse.indices)


class _Folder:
    """Reads the tensors that lie in files below a model's folder, as far as 2 GB go."""

    def __init__(self, path: Path, used: int) -> None:
        self._path = path
        self._left = _MOST_BYTES - used

    def read(self, name: str, told: Mapping[str, str], size: int) -> bytes | None:
        """Return `size` bytes, or None when the model grows beyond what one message holds.

        Raises:
            _WrongError: the file may not be read, or is shorter.

        """
        offset, length = _number(told, "offset", 0), _number(told, "length", size)
        if length != size:
            raise _WrongError(f"a tensor of {size} bytes has {length} in {_short(name)}")
        if size > self._left:
            return None
        self._left -= size
        try:
            descriptor = _open(self._path, name)
        except OSError as error:
            raise _WrongError(f"{_short(name)} cannot be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            if offset + size > os.fstat(file.fileno()).st_size:
                raise _WrongError(f"{_short(name)} ends before the tensor that lies in it")
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise _WrongError(f"{_short(name)} ends before the tensor that lies in it")
        return data


def _number(told: Mapping[str, str], key: str, otherwise: int) -> int:
    text = told.get(key, "")
    if not text:
        return otherwise
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise _WrongError(f"the {key} of a tensor is {_short(text)}")
    return int(text)


def _open(folder: Path, name: str) -> int:
    """Open a plain file below a folder and return its descriptor; no link is followed.

    Raises:
        _WrongError: the name leads elsewhere, or to a link, a device, or a file with two names.
        OSError: there is no such file.

    """
    parts = name.split("/")
    odd = "\\" in name or "\0" in name or PurePosixPath(name).is_absolute()
    # Hidden files beside a model are settings and secrets, never tensors.
    if odd or any(not part or part.startswith(".") or len(part) > 255 for part in parts):
        raise _WrongError(f"it names a file outside its folder: {_short(name)}")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = _open_one(part, flags, here, name)
            os.close(here)
            here = inner
        # A FIFO would wait for its other end.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = _open_one(parts[-1], flags, here, name)
    finally:
        os.close(here)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        what = "no plain file" if not stat.S_ISREG(status.st_mode) else "a file with two names"
        raise _WrongError(f"{_short(name)} is {what}; copy it there if it belongs to the model")
    return descriptor


def _open_one(part: str, flags: int, folder: int, name: str) -> int:
    try:
        return os.open(part, flags, dir_fd=folder)
    except OSError as error:
        with suppress(OSError):
            if stat.S_ISLNK(os.lstat(part, dir_fd=folder).st_mode):
                raise _WrongError(
                    f"{_short(name)} is a link; copy the file there if it belongs to the model"
                ) from error
        raise


def _check_tensor(path: Path, tensor: Any, folder: _Folder) -> None:
    from onnx import TensorProto

    where = f"the tensor {_short(tensor.name)}"
    if any(dim < 0 for dim in tensor.dims) or prod(tensor.dims) > _MOST_ELEMENTS:
        raise _WrongError(f"{where} has the shape {list(tensor.dims)[:8]}")
    if len(tensor.dims) > 64:
        raise _WrongError(f"{where} has {len(tensor.dims)} dimensions")
    count = prod(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        told = {entry.key: entry.value for entry in tensor.external_data}
        size = _bytes(tensor, count, where)
        data = folder.read(told.get("location", ""), told, size)
        if data is None:
            raise _too_large(path)
        for field in ("raw_data", *_FIELDS):
            tensor.ClearField(field)
        tensor.raw_data = data
    else:
        _check_data(tensor, count, where)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")


_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def _bits(tensor: Any, where: str) -> int:
    """Return the bits of one element; 0 for strings."""
    from onnx import TensorProto, helper

    names = {value: name for name, value in TensorProto.DataType.items()}
    name = names.get(tensor.data_type, "UNDEFINED")
    if name == "UNDEFINED":
        raise _WrongError(f"{where} has no element type")
    if name == "STRING":
        return 0
    if name in _BITS:
        return _BITS[name]
    return int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize) * 8


def _bytes(tensor: Any, count: int, where: str) -> int:
    bits = _bits(tensor, where)
    if not bits:
        raise _WrongError(f"{where} is text in another file")
    return (count * bits + 7) // 8


def _check_data(tensor: Any, count: int, where: str) -> None:
    from onnx import TensorProto, helper

    if tensor.HasField("segment"):
        raise _WrongError(f"{where} is in pieces")
    if tensor.HasField("raw_data"):
        held, wanted = len(tensor.raw_data), _bytes(tensor, count, where)
    else:
        bits = _bits(tensor, where)
        field = helper.tensor_dtype_to_field(tensor.data_type)
        held, wanted = len(getattr(tensor, field)), count
        if tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
            wanted = 2 * count
        elif bits in (2, 4):
            wanted = (count * bits + 7) // 8
    if held != wanted:
        raise _WrongError(f"{where} holds {held} of {wanted} values or bytes")


def _constants(place: _Place) -> dict[str, Any]:
    """Return the small integer tensors of a graph by name."""
    found: dict[str, Any] = {}
    tensors = [*place.graph.initializer] if place.graph is not None else []
    for tensor in tensors:
        if prod(tensor.dims) <= 64:
            found[tensor.name] = tensor
    for node in place.nodes:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value" and prod(attribute.t.dims) <= 64:
                    found[node.output[0]] = attribute.t
                elif attribute.name in ("value_ints", "value_int"):
                    found[node.output[0]] = [*attribute.ints] or [attribute.i]
    return found


def _check_size(node: Any, constants: Mapping[str, Any]) -> None:
    """Refuse a node that makes a huge tensor out of a constant shape."""
    asked = _SIZES.get(node.op_type)
    if asked is None or node.domain not in ("", "ai.onnx"):
        return
    values = [_numbers(constants[name]) if name in constants else None for name in node.input[:3]]
    size = asked(values)
    if size > _MOST_ELEMENTS:
        raise _WrongError(f"its node {_short(node.name or node.op_type)} makes {size:.3g} values")


def _numbers(constant: Any) -> list[float] | None:
    import onnx

    if isinstance(constant, list):
        return constant
    if constant.data_type not in (
        onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.FLOAT,
        onnx.TensorProto.DOUBLE,
    ):  # fmt: skip
        return None
    values: list[float] = onnx.numpy_helper.to_array(constant).reshape(-1).tolist()
    return values


_Numbers = list[float] | None


def _product(position: int) -> Callable[[list[_Numbers]], float]:
    def size(values: list[_Numbers]) -> float:
        given = values[position] if position < len(values) else None
        return prod(max(abs(value), 1) for value in given) if given else 0

    return size


def _range(values: list[_Numbers]) -> float:
    if len(values) < 3 or not all(values):
        return 0
    start, limit, delta = (value[0] for value in values if value)
    return abs((limit - start) / delta) if delta else 0


_SIZES: Mapping[str, Callable[[list[_Numbers]], float]] = {
    "ConstantOfShape": _product(0),
    "Expand": _product(1),
    "OneHot": _product(1),
    "Range": _range,
    "Resize": _product(2),
    "Tile": _product(1),
    "Upsample": _product(1),
}


def _check_value(value: Any) -> None:
    shape = value.type.tensor_type.shape
    sizes = [dim.dim_value for dim in shape.dim if dim.HasField("dim_value")]
    # Older exporters write -1 for an open dimension.
    if any(size < -1 for size in sizes) or prod(max(s, 1) for s in sizes) > _MOST_ELEMENTS:
        raise _WrongError(f"{_short(value.name)} has the shape {sizes[:8]}")


def _strip(model: Any) -> None:
    """Remove what tells of the exporter's machine: doc strings, source lines, traces.

    The model's own metadata stay: some hold vocabularies.
    """
    model.ClearField("doc_string")
    model.ClearField("training_info")
    for place in [*_places(model.graph, None)] + [
        inner for function in model.functions for inner in _places(None, function)
    ]:
        graph = place.graph
        parts = [*place.nodes, *(a for node in place.nodes for a in node.attribute)]
        if graph is not None:
            parts += [graph, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
        for part in parts:
            _clear(part)
    for function in model.functions:
        _clear(function)


def _clear(part: Any) -> None:
    for field in ("doc_string", "metadata_props"):
        if field in part.DESCRIPTOR.fields_by_name:
            part.ClearField(field)


def _accept(path: Path, model: Any) -> None:
    """Refuse versions that the installed ONNX Runtime does not take: a tiny model asks it."""
    import onnx
    import onnxruntime

    known = {o.domain: o.version for o in model.opset_import if o.domain in _DOMAINS}
    versions = {"": 18, **{domain or "": version for domain, version in known.items()}}
    nothing = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    same = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "asked", [nothing], [same]
    )
    asked = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    for domain, version in versions.items():
        asked.opset_import.add(domain=domain, version=version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            asked.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        listed = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in sorted(versions.items()))
        raise UnsupportedModelError(
            f"{path.name} has IR version {model.ir_version} and the operator sets {listed}; "
            f"ONNX Runtime {onnxruntime.__version__} does not take them",
            hint="export the model with opset 18, or convert it with onnx.version_converter",
        ) from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
