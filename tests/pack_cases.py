"""What the tests of `pack` share: a small model directory, and layers and images made by hand."""

import io
import os
import shutil
import sys
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from fnmodel.model import MODEL, PROBE, SIGNATURE, Feature, OnnxModel, Signature, Tensor
from fnmodel.pack import bytecode, compression, layer
from fnmodel.pack.dependencies import Lock
from fnmodel.pack.image import (
    LAYER_TYPE,
    Architecture,
    Descriptor,
    Image,
    Layer,
    digest_of,
    empty,
    encode,
)
from fnmodel.pack.layout import Store

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version of Python that runs the tests: bytecode for it can always be made."""


def model_directory(folder: Path, *, factor: float = 2.0, megabytes: int = 0) -> OnnxModel:
    """Write a model that multiplies by `factor`, with that many megabytes of unused weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])]
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])]
    if megabytes:
        values = np.random.default_rng(int(factor * 1000)).random(megabytes << 18, np.float32)
        ballast = values.tobytes()
        weights.append(
            helper.make_tensor("ballast", TensorProto.FLOAT, [len(values)], ballast, raw=True)
        )
        nodes.append(helper.make_node("Identity", ["ballast"], ["z"]))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [len(values)]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])]
    graph = helper.make_graph(nodes, "multiply", inputs, outputs, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / MODEL).write_bytes(proto.SerializeToString())
    signature = Signature(
        task="regression",
        inputs=(Tensor("x", "FP32", (-1, 1)),),
        outputs=(Tensor("y", "FP32", (-1, 1)),),
        features=(Feature("x", "FP32"),),
    )
    (folder / SIGNATURE).write_bytes(encode(signature.to_json()))
    (folder / PROBE).write_bytes(encode({"request": {}, "expected": [], "tolerance": {}}))
    return OnnxModel.load(folder)


def tiny_wheels(lock: Lock, architecture: Architecture, folder: Path) -> None:
    """Stand in for uv: one package, so that tests of the build need no index."""
    package = folder / "tiny"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"ARCHITECTURE = {architecture!r}\n")
    (package / "words.pyi").write_text("")


def refuse_to_install(lock: Lock, architecture: Architecture, folder: Path) -> None:
    """Stand in for uv where nothing may be installed."""
    message = "the dependencies were installed again"
    raise AssertionError(message)


@contextmanager
def host_compiles(base: Image, python: str, store: Store) -> Iterator[bytecode.Compiler]:
    """Let this machine's Python compile, for bases that hold none that starts."""
    yield bytecode.host(python)


def small_image(store: Store, files: dict[str, layer.Content] | None = None) -> Image:
    """Return an image of one layer, in the store."""
    made = layer.write(store, files or {"a/b.txt": b"hello"}, "test", compression.deflated)
    image = empty("x86_64").append(made)
    store.save(image)
    return image


def tar_of(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar of entries that our own writer would never write."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for entry in entries:
            member, content = entry if isinstance(entry, tuple) else (entry, b"")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, to: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    """Return one entry; `to` is where a link leads."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, to, mode
    return member


def small_base(store: Store, *more: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> Image:
    """Return what the least base image has, and more entries: a loader, a C library, Python."""
    libc = b"GNU C Library (GNU libc) stable release version 2.34."
    tar = tar_of(
        (entry("lib64/libc.so.6", mode=0o755), libc),
        (entry(f"usr/bin/python{HERE}", mode=0o755), b"\x7fELF"),
        entry("usr/bin/python3", tarfile.SYMTYPE, f"python{HERE}"),
        (entry("lambda-entrypoint.sh", mode=0o755), b"#!/bin/sh"),
        *more,
    )
    return foreign_image(store, [tar])


def foreign_layer(store: Store, tar: bytes) -> Layer:
    """Store a tar as a layer, whatever it holds."""
    blob = b"".join(bytes(chunk) for chunk in compression.deflated([tar]))
    store.write(LAYER_TYPE, blob)
    return Layer(Descriptor(LAYER_TYPE, digest_of(blob), len(blob)), digest_of(tar), "foreign")


def foreign_image(store: Store, tars: Iterable[bytes]) -> Image:
    """Return an image of such layers, in the store."""
    image = empty("x86_64")
    for tar in tars:
        image = image.append(foreign_layer(store, tar))
    store.save(image)
    return image


def program(name: str) -> str:
    """Return the path of a Debian program; without it the test is skipped, but fails in CI."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def golden(name: str, found: str) -> None:
    """Compare with a file of `tests/golden`; RENEW_GOLDEN=1 writes it, to be reviewed as a diff."""
    path = Path(__file__).parent / "golden" / name
    if os.environ.get("RENEW_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8"), "review it, then run with RENEW_GOLDEN=1"
