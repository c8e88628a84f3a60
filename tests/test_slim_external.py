"""Large weights lie in a file of their own: what goes there, what may not, how it is opened."""

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pack_cases import host_compiles, tiny_wheels

from fnmodel.errors import InputError, SlimError
from fnmodel.inference import Predictor, open_session
from fnmodel.local.dataplane import DataPlane
from fnmodel.local.launch import FunctionVersion, RootFs
from fnmodel.model import MODEL, WEIGHTS, OnnxModel
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack
from fnmodel.slim import external
from fnmodel.slim.order import Order
from fnmodel.slim.slim import Slimmed, slim
from fnmodel.slim.untrusted.onnxfile import check_external

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PAGE = 4096
EVENT = Path(__file__).parent / "events" / "predict.json"
FLOAT = TensorProto.FLOAT


def _weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def _network(inner: int = 4096, outer: int = 512, *, seed: int = 0) -> onnx.ModelProto:
    """Return 8 MB of products, whose weights are used in another order than that of their names."""
    nodes = [
        helper.make_node("MatMul", ["x", "z"], ["h"]),
        helper.make_node("Add", ["h", "bias"], ["b"]),
        helper.make_node("MatMul", ["b", "a"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(_weights(inner, outer, seed=seed), "a"),
        numpy_helper.from_array(_weights(inner), "bias"),
        numpy_helper.from_array(_weights(16, inner, seed=seed + 1), "z"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", outer])],
        tensors,
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


def _saved(folder: Path, model: onnx.ModelProto) -> Path:
    folder.mkdir(exist_ok=True)
    external.save(folder, model.SerializeToString())
    return folder / MODEL


def _told(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _answer(session: Any) -> Any:
    return session.run(None, {"x": np.ones((2, 16), np.float32)})[0]


def test_large_weights_lie_on_pages_in_the_order_of_their_use(tmp_path: Path) -> None:
    """The first one used comes first; small ones stay in the graph; nothing is lost."""
    model = _network()
    path = _saved(tmp_path, model)
    graph = onnx.load(path, load_external_data=False).graph
    kept = {tensor.name: tensor for tensor in graph.initializer}

    assert path.stat().st_size < 32 << 10
    assert kept["bias"].raw_data
    assert _told(kept["z"]) == {"location": WEIGHTS, "offset": "0", "length": str(4 * 16 * 4096)}
    assert int(_told(kept["a"])["offset"]) % PAGE == 0
    assert int(_told(kept["a"])["offset"]) == 4 * 16 * 4096
    whole = {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}
    assert whole == {tensor.name: tensor.raw_data for tensor in model.graph.initializer}


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    """Nothing but the model decides about the bytes of either file."""
    one, other = (_saved(tmp_path / name, _network()).parent for name in "ab")

    assert (one / MODEL).read_bytes() == (other / MODEL).read_bytes()
    assert (one / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()


def test_numbers_that_are_not_raw_are_moved_too(tmp_path: Path) -> None:
    """Older exporters write a list of floats, which weighs as much."""
    model = _network()
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(helper.make_tensor(tensor.name, FLOAT, array.shape, array.ravel()))
    path = _saved(tmp_path, model)

    assert path.stat().st_size < 32 << 10
    assert np.array_equal(
        _answer(open_session(path, threads=1)),
        _answer(open_session(_network().SerializeToString(), threads=1)),
    )


def test_a_small_model_stays_one_file(tmp_path: Path) -> None:
    """Under 4 MB a second file costs as much as it saves; one that was there before is removed."""
    _saved(tmp_path, _network())
    small = _network(256, 64)
    path = _saved(tmp_path, small)

    assert path.read_bytes() == small.SerializeToString()
    assert not (tmp_path / WEIGHTS).exists()


def test_an_open_model_keeps_its_weights_when_another_takes_its_place(tmp_path: Path) -> None:
    """What a session maps does not change under it."""
    session = open_session(_saved(tmp_path, _network()), threads=1)
    before = _answer(session)
    other = open_session(_saved(tmp_path, _network(seed=5)), threads=1)

    assert np.array_equal(_answer(session), before)
    assert not np.array_equal(_answer(other), before)


def test_weights_are_mapped_and_not_read(tmp_path: Path) -> None:
    """A process that has the model open maps the file of its weights."""
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("this system does not tell what a process maps")
    # ONNX Runtime keeps a copy of the product's weights in an order of its own; a table stays.
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    graph = helper.make_graph(
        [node],
        "table",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 64])],
        [numpy_helper.from_array(_weights(40_000, 64), "table")],
    )
    opsets = [helper.make_opsetid("", 18)]
    path = _saved(tmp_path, helper.make_model(graph, ir_version=9, opset_imports=opsets))

    session = open_session(path, threads=1)

    assert str(tmp_path / WEIGHTS) in maps.read_text()
    assert session.run(None, {"x": np.array([7])})[0].shape == (1, 64)


def test_a_model_without_its_weights_is_refused(tmp_path: Path) -> None:
    """A lost file, or one that was cut off, is an error that names the model."""
    path = _saved(tmp_path, _network())
    content = (tmp_path / WEIGHTS).read_bytes()

    for left in (content[:PAGE], None):
        (tmp_path / WEIGHTS).unlink()
        if left is not None:
            (tmp_path / WEIGHTS).write_bytes(left)
        with pytest.raises(InputError, match=r"model\.onnx cannot be loaded"):
            open_session(path, threads=1)


def _initializer(model: Any) -> Any:
    return model.graph.initializer[0]


def _attribute(model: Any) -> Any:
    node = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", FLOAT, [1], [1]))
    model.graph.node.append(node)
    return model.graph.node[-1].attribute[0].t


def _branch(model: Any) -> Any:
    inner = helper.make_graph([], "inner", [], [], [helper.make_tensor("c", FLOAT, [1], [1])])
    model.graph.node.append(helper.make_node("If", ["x"], ["i"], then_branch=inner))
    return model.graph.node[-1].attribute[0].g.initializer[0]


def _function(model: Any) -> Any:
    node = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", FLOAT, [1], [1]))
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("own", "F", [], ["c"], [node], opsets))
    return model.functions[0].node[0].attribute[0].t


def _sparse(model: Any) -> Any:
    return model.graph.sparse_initializer.add().indices


@pytest.mark.parametrize("place", [_initializer, _attribute, _branch, _function, _sparse])
@pytest.mark.parametrize(
    "told",
    [
        [("location", "other.bin"), ("offset", "0"), ("length", "4")],
        [("location", "/proc/self/environ"), ("offset", "0"), ("length", "4")],
        [("location", f"./{WEIGHTS}"), ("offset", "0"), ("length", "4")],
        [("location", WEIGHTS), ("offset", "8192"), ("length", "4")],
        [("location", WEIGHTS), ("offset", "-4"), ("length", "4")],
        [("location", WEIGHTS), ("offset", "0")],
        [("location", WEIGHTS), ("location", "other.bin"), ("length", "4")],
    ],
    ids=["other", "absolute", "roundabout", "beyond", "before", "endless", "twice"],
)
def test_only_the_file_beside_it_may_hold_tensors(
    place: Callable[[Any], Any], told: list[tuple[str, str]], tmp_path: Path
) -> None:
    """A tensor that lies elsewhere is found in every corner of a model."""
    model = _network(256, 64)
    tensor = place(model)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in told:
        tensor.external_data.add(key=key, value=value)
    (tmp_path / MODEL).write_bytes(model.SerializeToString())
    (tmp_path / WEIGHTS).write_bytes(bytes(8192))

    with pytest.raises(SlimError, match=r"model\.onnx: ") as caught:
        check_external(tmp_path / MODEL, tmp_path / WEIGHTS)

    assert caught.value.hint


@pytest.mark.parametrize("megabytes", [0, 8])
def test_what_slim_writes_may_be_opened(megabytes: int, tmp_path: Path) -> None:
    """The check passes for models with and without a file of weights, whatever their names say."""
    model = _network() if megabytes else _network(256, 64)
    model.graph.node[0].name = "location"
    path = _saved(tmp_path, model)

    check_external(path, path.with_name(WEIGHTS))

    assert (tmp_path / WEIGHTS).is_file() == bool(megabytes)


def _slim(folder: Path, model: onnx.ModelProto, **order: Any) -> Slimmed:
    source = folder / "given.onnx"
    source.write_bytes(model.SerializeToString())
    return slim(
        Order(source, ladder={"rungs": ()}, **order),
        cache=folder / "cache",
        progress=lambda _: None,
    )


def test_the_proof_and_the_digest_are_of_both_files(tmp_path: Path) -> None:
    """`slim` reports what lies in the second file, and a changed byte there is another model."""
    made = _slim(tmp_path, _network(), gates={"model_mb": 0.5})
    graph, weights = ((made.model.folder / name).stat().st_size for name in (MODEL, WEIGHTS))

    assert made.report.passed
    assert made.report.weights == weights
    assert made.report.size.after == made.model.size == graph + weights
    assert [gate["passed"] for gate in made.report.gates] == [False]
    assert made.model.files[:2] == (MODEL, "signature.json")
    assert WEIGHTS in made.model.files
    content = bytearray((made.model.folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (made.model.folder / WEIGHTS).write_bytes(content)
    assert OnnxModel.load(made.model.folder).digest != made.model.digest


ASTRAY = """
import sys

def preprocess(records):
    return records

job = sys.modules.get("fnmodel.slim.job")
if job is not None:
    report = job._report

    def lead_astray(order, *rest):
        import onnx

        found, path = report(order, *rest), order.folder / "model.onnx"
        model = onnx.load(path, load_external_data=False)
        tensor = model.graph.initializer.add(name="leak", data_type=1, dims=[1], data_location=1)
        tensor.external_data.add(key="location", value="secret.bin")
        path.write_bytes(model.SerializeToString())
        return found

    job._report = lead_astray
"""


def test_a_conversion_cannot_lead_the_model_to_other_files(tmp_path: Path) -> None:
    """Code that runs in the child may write what it likes: its result is checked, and dropped."""
    processing, sample = tmp_path / "processing.py", tmp_path / "rows.csv"
    processing.write_text(ASTRAY)
    names = [f"f{number}" for number in range(16)]
    rows = np.random.default_rng(0).normal(size=(20, 16))
    sample.write_text("\n".join(",".join(map(str, row)) for row in [names, *rows.tolist()]))

    with pytest.raises(SlimError, match=r"a tensor lies in 'secret\.bin'"):
        _slim(tmp_path, _network(256, 64), sample=sample, processing=processing)

    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_sixty_megabytes_go_from_slim_to_an_answer(tmp_path: Path) -> None:
    """The packed model answers its probe in a sandbox, and other weights make one other layer."""
    made = _slim(tmp_path, _network(16384, 960))
    recipe, store = Recipe("wide", HERE, "x86_64"), Store(tmp_path / "store")
    image = build(made.model, recipe, store, install=tiny_wheels, choose=host_compiles)
    root = unpack(image, store, tmp_path / "root")
    # The image's dependencies are other tests' matter: here, those of this environment stand in.
    for distribution in importlib.metadata.distributions():
        for top in {path.parts[0] for path in distribution.files or ()} - {"..", "fnmodel"}:
            found, link = Path(str(distribution.locate_file(top))), root / "opt/python" / top
            if found.exists() and not link.exists():
                link.symlink_to(found)
    config = image.settings["config"]
    rootfs = RootFs(
        root,
        dict(entry.split("=", 1) for entry in config["Env"]),
        tuple(config["Entrypoint"]),
        tuple(config["Cmd"]),
        config["WorkingDir"],
        HERE,
    )
    plane = DataPlane(
        lambda _: rootfs, tmp_path / "sandboxes", extra_env={"AWS_REGION": "us-east-1"},
        max_concurrency=1,
    )  # fmt: skip
    probe = made.model.probe()
    event = json.loads(EVENT.read_bytes())
    event["rawPath"] = event["requestContext"]["http"]["path"] = "/v2/models/wide/infer"
    event["body"] = json.dumps(probe["request"])
    function = FunctionVersion("wide", "1", "r@sha256:0", memory=1024, timeout=30, environment={})
    try:
        outcome = plane.invoke(function, "arn:aws:wide:1", json.dumps(event).encode(), "req-1")
    finally:
        plane.close()

    assert made.report.weights > 60_000_000
    assert not outcome.error, outcome.log
    answer = json.loads(outcome.payload)
    assert answer["statusCode"] == 200
    found, right = json.loads(answer["body"])["outputs"][0], probe["expected"][0]
    assert found["shape"] == right["shape"]
    assert np.allclose(found["data"], right["data"], atol=1e-4)
    rows = {tensor.name: np.ones((1, 16), np.float32) for tensor in made.model.signature.inputs}
    assert Predictor(made.model.folder).run(rows)["y"].shape == (1, 960)
    with (made.model.folder / WEIGHTS).open("r+b") as file:
        file.write(b"\0\0\0\0")
    other = OnnxModel.load(made.model.folder)
    changed = build(other, recipe, store, install=tiny_wheels, choose=host_compiles)
    assert [a == b for a, b in zip(image.layers, changed.layers, strict=True)] == [
        True,
        True,
        False,
    ]
