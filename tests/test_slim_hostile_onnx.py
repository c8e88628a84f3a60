"""ONNX files that read elsewhere, never end or ask for the whole memory are refused."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hostile_cases import nothing_outside

from fnmodel.errors import FnmodelError, SlimError, UnsupportedModelError, UntrustedModelError
from fnmodel.slim.isolation import visible
from fnmodel.slim.untrusted import onnxfile

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
helper, FLOAT, INT64 = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64

SECONDS = 10


def _value(name, shape=(None, 4), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes=None, initializers=(), outputs=None, opsets=(("", 18),), functions=(), ir=10):
    weight = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [_value("x")],
        outputs or [_value("y", None)],
        [weight, *initializers],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ir)


def _outside(location="w.bin", **told):
    """Return a model whose weight lies in another file."""
    model = _model()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "64", **told}.items():
        weight.external_data.add(key=key, value=value)
    return model


def _shape(name, *values):
    return onnx.numpy_helper.from_array(np.array(values, np.int64), name)


def _bomb(kind, *shape):
    inputs = ["s"] if kind == "ConstantOfShape" else ["x", "s"]
    return _model([helper.make_node(kind, inputs, ["y"])], [_shape("s", *shape)])


def _branch(name, node=None):
    inner = node or helper.make_node("Constant", [], [name], value_float=1.0)
    return helper.make_graph([inner], "b", [], [_value(name, None)])


def _loop():
    """Return a model that counts to 2 to the power of 63, or until it is killed."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["a"], ["b"])],
        "body",
        [_value("i", [], INT64), _value("go", [], onnx.TensorProto.BOOL), _value("a", None)],
        [_value("on", [], onnx.TensorProto.BOOL), _value("b", None)],
    )
    many, true = (
        onnx.numpy_helper.from_array(np.array(2**63 - 1), "n"),
        onnx.numpy_helper.from_array(np.array(True), "t"),
    )
    return _model([helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)], [many, true])


def _nest(depth):
    true = onnx.numpy_helper.from_array(np.array(True), "t")
    node = helper.make_node("Constant", [], ["y0"], value_float=1.0)
    for level in range(depth):
        branches = {"then_branch": _branch(f"y{level}", node), "else_branch": _branch(f"e{level}")}
        node = helper.make_node("If", ["t"], [f"y{level + 1}"], **branches)
    return _model([node], [true], [_value(f"y{depth}", None)])


def _function(name, calls, times=1):
    nodes = [helper.make_node(calls, ["a"], [f"b{i}"], domain="own") for i in range(times)]
    nodes += [helper.make_node("Identity", ["a"], ["b"])]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], ["b"], nodes, imports)


def _calling(*functions):
    node = helper.make_node("f0", ["x"], ["y"], domain="own")
    return _model([node], opsets=[("", 18), ("own", 1)], functions=functions)


def _laughing():
    """Return a model of 20 functions that unfold to 10 to the power of 15 nodes."""
    return _calling(*(_function(f"f{i}", f"f{i + 1}", 10) for i in range(15)), _last("f15"))


def _last(name):
    nodes = [helper.make_node("Identity", ["a"], ["b"])]
    return helper.make_function("own", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 18)])


def _dims(*dims, data=b""):
    tensor = onnx.TensorProto(name="v", data_type=FLOAT, dims=dims, raw_data=data)
    return _model(initializers=[tensor])


def _written(change):
    model = _model()
    change(model)
    return model


def _wrong_length():
    # Field 7 (the graph) with a length of 2 GB and nothing behind it.
    return b"\x08\x0a\x3a\xff\xff\xff\xff\x07abc"


FILES = {
    "parent-folder": lambda: _outside("../secret.bin"),
    "parent-folder-inside": lambda: _outside("x/../../secret.bin"),
    "backslash": lambda: _outside("..\\secret.bin"),
    "absolute": lambda: _outside("/etc/hostname", length="4"),
    "hidden-file": lambda: _outside(".env"),
    "no-name": lambda: _outside(""),
    "zero-byte": lambda: _outside("w.bin\x00x"),
    "symlink": lambda: _outside("link.bin"),
    "symlinked-folder": lambda: _outside("up/secret.bin"),
    "hard-link": lambda: _outside("hard.bin"),
    "pipe": lambda: _outside("pipe.bin"),
    "folder": lambda: _outside("x"),
    "device": lambda: _outside("/dev/zero"),
    "missing": lambda: _outside("nothing.bin"),
    "offset-beyond": lambda: _outside(offset="1000000"),
    "offset-negative": lambda: _outside(offset="-64"),
    "offset-of-letters": lambda: _outside(offset="0x10"),
    "length-of-another": lambda: _outside(length="1000"),
    "length-beyond": lambda: _written(
        lambda m: (m.CopyFrom(_outside(length=str(4 << 20))),
                   m.graph.initializer[0].dims.__setitem__(0, 1 << 18))
    ),
    "huge-dims": lambda: _dims(1 << 40),
    "negative-dims": lambda: _dims(-4, -4),
    "overflowing-dims": lambda: _dims(1 << 32, 1 << 32),
    "fewer-bytes-than-dims": lambda: _dims(1000, data=b"1234"),
    "more-bytes-than-dims": lambda: _dims(1, data=b"12345678"),
    "no-element-type": lambda: _written(lambda m: m.graph.initializer[0].ClearField("data_type")),
    "huge-value": lambda: _model(outputs=[_value("y", [1 << 40])]),
    "constant-of-shape": lambda: _bomb("ConstantOfShape", 1 << 20, 1 << 20),
    "expand": lambda: _bomb("Expand", 1 << 20, 1 << 15, 4),
    "tile": lambda: _bomb("Tile", 1 << 20, 1 << 20),
    "loop": _loop,
    "deep-if": lambda: _nest(25),
    "unknown-domain": lambda: _model(
        [helper.make_node("Shell", ["x"], ["y"], domain="evil")],
        opsets=[("", 18), ("evil", 1)],
    ),
    "unknown-operator": lambda: _model([helper.make_node("NoSuchOperator", ["x"], ["y"])]),
    "function-calls-itself": lambda: _calling(_function("f0", "f0")),
    "functions-in-a-ring": lambda: _calling(_function("f0", "f1"), _function("f1", "f0")),
    "laughing-functions": _laughing,
    "truncated": lambda: _model().SerializeToString()[:-20],
    "wrong-length": _wrong_length,
    "garbage": lambda: b"\x08" + os.urandom(500),
    "empty": lambda: b"",
    "opset-9999": lambda: _model(opsets=[("", 9999)]),
    "ir-99": lambda: _model(ir=99),
    "many-nodes": lambda: _written(
        lambda m: m.graph.node.extend(
            [helper.make_node("Identity", ["x"], ["z"])] * (onnxfile.MOST_NODES + 1)
        )
    ),
    "long-names": lambda: _model([helper.make_node("Identity", ["x"], ["y"], name="n" * 10**6)]),
    "long-metadata": lambda: _written(
        lambda m: m.metadata_props.add(key="a", value="x" * (20 << 20))
    ),
    "no-outputs": lambda: _written(lambda m: m.graph.ClearField("output")),
}  # fmt: skip


def _save(folder: Path, content) -> Path:
    """Write a model beside files that it may try to reach."""
    inside = folder / "model"
    (inside / "x").mkdir(parents=True)
    (folder / "secret.bin").write_bytes(b"s" * 64)
    (inside / "w.bin").write_bytes(np.ones(16, np.float32).tobytes())
    (inside / ".env").write_bytes(b"s" * 64)
    (inside / "link.bin").symlink_to(folder / "secret.bin")
    (inside / "up").symlink_to(folder)
    (inside / "hard.bin").hardlink_to(folder / "secret.bin")
    os.mkfifo(inside / "pipe.bin")
    path = inside / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


@pytest.mark.parametrize("kind", FILES)
def test_hostile_file_is_refused(tmp_path, kind):
    """An error with a hint comes soon, and no file but the model's own is opened."""
    path = _save(tmp_path, FILES[kind]())
    start = time.monotonic()

    with nothing_outside(tmp_path / "model"), pytest.raises(FnmodelError) as caught:
        onnxfile.read(path)

    assert time.monotonic() - start < SECONDS
    assert isinstance(caught.value, SlimError)
    assert caught.value.hint
    assert "model.onnx" in caught.value.message


@pytest.mark.parametrize(
    "kind",
    [
        "absolute",
        "hard-link",
        "symlink",
        "symlinked-folder",
        "parent-folder",
        "pipe",
        "hidden-file",
    ],
)
def test_no_other_file_is_shown_to_the_child(tmp_path, kind):
    """What the sandbox makes visible for a model is its own folder's plain files."""
    path = _save(tmp_path, FILES[kind]())

    assert visible.needed(path, None) == (path,)


def _run(model: bytes, rows):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": rows})[0]


@pytest.mark.parametrize("place", ["w.bin", "x/w.bin"])
def test_tensors_beside_the_model_are_taken_in(tmp_path, place):
    """A weight in a file of the folder ends up in the model, which then needs no other file."""
    path = _save(tmp_path, _outside(place, offset="8"))
    weight = np.arange(16, dtype=np.float32).reshape(4, 4)
    (path.parent / place).write_bytes(b"12345678" + weight.tobytes() + b"rest")
    rows = np.eye(4, dtype=np.float32)

    assert visible.needed(path, None) == (path, path.parent / place)
    whole = onnxfile.read(path)
    path.unlink()
    (path.parent / place).unlink()
    np.testing.assert_array_equal(_run(whole, rows), weight)


def test_loop_is_named_and_can_be_trusted(tmp_path):
    """A loop is refused by its operator's name, and allowed by that name."""
    path = _save(tmp_path, _loop())

    with pytest.raises(UntrustedModelError, match=r"onnx\.Loop") as caught:
        onnxfile.read(path)
    assert "--trust onnx.Loop" in caught.value.hint
    assert onnxfile.read(path, {"onnx.Loop"})


def test_branches_and_functions_are_read(tmp_path):
    """`If`, and functions that end, are no harm."""
    rows = np.ones((1, 4), np.float32)
    assert _run(onnxfile.read(_save(tmp_path / "a", _nest(3))), rows) == 1.0
    calling = _calling(_function("f0", "f1", 3), _last("f1"))
    assert _run(onnxfile.read(_save(tmp_path / "b", calling)), rows).shape == (1, 4)


def test_source_paths_do_not_come_along(tmp_path):
    """Doc strings and traces of the exporter go; the model's own metadata stay."""
    model = _model()
    model.graph.doc_string = model.doc_string = "/home/someone/train.py"
    model.graph.node[0].doc_string = "/home/someone/train.py"
    model.graph.node[0].metadata_props.add(key="trace", value="/home/someone/train.py")
    model.metadata_props.add(key="vocabulary", value="a b c")

    whole = onnxfile.read(_save(tmp_path, model))

    assert b"/home/someone" not in whole
    assert b"a b c" in whole


@pytest.mark.parametrize(
    "dtype", ["INT4", "UINT4", "FLOAT16", "BFLOAT16", "INT8", "BOOL", "STRING", "DOUBLE"]
)
def test_every_element_type_is_measured_right(tmp_path, dtype):
    """Packed, half and text tensors are as long as their shapes say, in either form."""
    kind = getattr(onnx.TensorProto, dtype)
    values = [b"a", b"b", b"c"] if dtype == "STRING" else [1, 0, 1]
    tensor = helper.make_tensor("v", kind, [3], values)
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    outputs = [_value("y", None), helper.make_tensor_value_info("c", kind, [3])]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), constant]

    assert onnxfile.read(_save(tmp_path, _model(nodes, outputs=outputs, opsets=[("", 21)])))


def test_more_than_two_gigabytes_are_refused(tmp_path):
    """Tensors that no single model can hold are refused before they are read."""
    model = _outside()
    weight = model.graph.initializer[0]
    weight.dims[:] = [1 << 10, 1 << 20]
    weight.external_data[2].value = str(1 << 32)
    path = _save(tmp_path, model)
    with (path.parent / "w.bin").open("wb") as file:
        file.truncate(1 << 32)  # takes no room

    with pytest.raises(UnsupportedModelError, match="more than 2 GB"):
        onnxfile.read(path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("hard-link", "'hard.bin' cannot be read"),
        ("loop", "onnx.Loop"),
        ("wrong-length", "not a complete ONNX file"),
    ],
)
def test_command_line_refuses_without_a_traceback(tmp_path, kind, says):
    """`fnmodel slim` on a hostile file ends with an error, a hint and a code."""
    path = _save(tmp_path, FILES[kind]())
    (path.parent / "fnmodel.yaml").write_text("name: tiny\nmodel: model.onnx\n")
    environment = {"PATH": "/usr/bin:/bin", "FNMODEL_HOME": str(tmp_path / "home")}

    done = subprocess.run(
        [sys.executable, "-m", "fnmodel", "slim"],
        cwd=path.parent, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr
    assert "code: FNM-S00" in done.stderr
    assert says in done.stderr
    assert "ssssssss" not in done.stderr
