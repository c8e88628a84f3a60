"""Puts the large weights of a network into a file of their own, which ONNX Runtime maps.

https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
Out of one file, each weight is read, copied out of the message and copied again; a mapped one is
read where it lies when it is needed. From 4 MB on that halves the time to open a model, at 20 MB
it is a third, and memory falls alike. Trees are attributes of a node, which no file can hold.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fnmodel.model import MODEL, WEIGHTS
from fnmodel.slim.rungs.weights import graphs, parse

_LEAST = 4 << 20
# ONNX Runtime looks into small tensors while it infers shapes and folds constants.
_LARGE = 64 << 10
_PAGE = 4096


def save(folder: Path, onnx: bytes) -> None:
    """Write a model as `model.onnx`, and its large weights as `model.onnx.data` if it has 4 MB.

    `folder` must exist. The weights lie in the order in which the graph uses them, each on a page
    of its own; equal models give equal files.
    """
    # A session that is still open maps the old file, which must not change under it.
    (folder / WEIGHTS).unlink(missing_ok=True)
    if len(onnx) >= _LEAST:
        model = parse(onnx)
        large = _large(model.graph)
        if sum(len(tensor.raw_data) for tensor in large) >= _LEAST:
            with (folder / WEIGHTS).open("wb") as file:
                for tensor in large:
                    _move(tensor, file)
            onnx = model.SerializeToString(deterministic=True)
    (folder / MODEL).write_bytes(onnx)


@contextmanager
def saved(onnx: bytes) -> Iterator[Path]:
    """Yield the path of a model that is stored as it would be shipped; it is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), onnx)
        yield Path(folder, MODEL)


def _large(graph: Any) -> list[Any]:
    """Return the large tensors in the order of the nodes that use them."""
    from onnx import numpy_helper

    places: dict[str, int] = {}
    for inner in graphs(graph):
        for node in inner.node:
            for name in node.input:
                places.setdefault(name, len(places))
    for tensor in graph.initializer:
        if 4 * len(tensor.float_data) >= _LARGE:  # the older of two ways to write numbers
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    found = [tensor for tensor in graph.initializer if len(tensor.raw_data) >= _LARGE]
    return sorted(found, key=lambda tensor: places.get(tensor.name, len(places)))


def _move(tensor: Any, file: IO[bytes]) -> None:
    from onnx import TensorProto

    file.write(bytes(-file.tell() % _PAGE))
    told = {"location": WEIGHTS, "offset": file.tell(), "length": len(tensor.raw_data)}
    file.write(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in told.items():
        tensor.external_data.add(key=key, value=str(value))
