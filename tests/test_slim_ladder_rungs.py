"""Each rung makes a smaller model that answers nearly the same, and the same bytes each time."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from slim_ladder_cases import answers, changed, model_of, perceptron, product

from fnmodel.slim.rungs.blocks import BLOCK, eight_bit, four_bit, pack
from fnmodel.slim.rungs.closeness import Closeness, close
from fnmodel.slim.rungs.dynamic import dynamic_int8
from fnmodel.slim.rungs.embedding import int8_tables
from fnmodel.slim.rungs.float32 import float32
from fnmodel.slim.rungs.rung import Build, NotApplicableError
from fnmodel.slim.rungs.simplify import simplify
from fnmodel.slim.rungs.static import static_int8
from fnmodel.slim.rungs.store import half, int8, single
from fnmodel.slim.rungs.tidy import tidy

GENERAL: tuple[Build, ...] = (tidy, simplify, half, int8, eight_bit, four_bit, dynamic_int8)


def convolutions() -> tuple[bytes, dict[str, Any]]:
    """Write two convolutions and a dense layer with random weights; return rows, too."""
    chance = np.random.default_rng(2)

    def tensor(name: str, *shape: int) -> Any:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array((chance.normal(size=shape) * scale).astype("f4"), name)

    shape = numpy_helper.from_array(np.array([0, 1, 8, 8], np.int64), "shape")
    flat = numpy_helper.from_array(np.array([0, -1], np.int64), "flat")
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "c1"], ["v1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["v1"], ["r1"]),
        helper.make_node("Conv", ["r1", "c2"], ["v2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["v2"], ["r2"]),
        helper.make_node("Reshape", ["r2", "flat"], ["long"]),
        helper.make_node("Gemm", ["long", "d"], ["y"], transB=1),
    ]
    tensors = [shape, flat, tensor("c1", 32, 1, 3, 3), tensor("c2", 32, 32, 3, 3)]
    tensors.append(tensor("d", 10, 32 * 64))
    rows = {"x": chance.random((24, 64)).astype(np.float32)}
    return model_of(nodes, tensors, ("x", 64), ("y", 10)), rows


def digest_all() -> str:
    """Return a hash over what every rung makes of two models."""
    digest = hashlib.sha256()
    dense, (image, rows) = product(), convolutions()
    for build in GENERAL:
        digest.update(build(*(_long_winded() if build is simplify else (dense.onnx, dense.feeds))))
    for build in (tidy, half, int8, static_int8):
        digest.update(build(image, rows))
    return digest.hexdigest()


def test_another_process_makes_the_same_bytes() -> None:
    """Neither hash seeds nor temporary names nor the time get into a model."""
    code = "from test_slim_ladder_rungs import digest_all; print(digest_all())"
    folder = str(Path(__file__).parent)
    environ = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": folder}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=folder, capture_output=True, text=True
    )

    assert digest_all() == done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("build", "share", "far"),
    [(half, 0.51, 1e-3), (int8, 0.30, 8e-3), (eight_bit, 0.30, 2e-2), (four_bit, 0.19, 0.15),
     (dynamic_int8, 0.28, 3e-2)],
)  # fmt: skip
def test_a_rounded_product_stays_close(build: Build, share: float, far: float) -> None:
    """Errors stay in proportion to the bits that are left, sizes to what they cost."""
    case = product(128, 256)

    form = build(case.onnx, case.feeds)

    before, after = answers(case.onnx, case.feeds)["y"], answers(form, case.feeds)["y"]
    assert len(form) < share * len(case.onnx)
    assert np.abs(before - after).max() < far * np.abs(before).max()
    assert np.abs(before - after).max() > 0


@pytest.mark.parametrize("build", [half, int8, eight_bit, dynamic_int8])
@pytest.mark.parametrize("rows", [32, 33, 63, 100, 192])
def test_widths_that_no_block_divides(build: Build, rows: int) -> None:
    """A weight of any height is rounded; nothing is read beyond its end."""
    case = product(rows, 64)

    form = build(case.onnx, case.feeds)

    before, after = answers(case.onnx, case.feeds)["y"], answers(form, case.feeds)["y"]
    assert np.abs(before - after).max() < 0.03 * np.abs(before).max()


@pytest.mark.parametrize("build", [int8, half, eight_bit])
def test_a_row_is_answered_alike_alone_and_in_a_batch(build: Build) -> None:
    """Rounding takes no notice of the rows beside a row."""
    case = product()
    form = build(case.onnx, case.feeds)

    whole = answers(form, case.feeds)["y"]
    alone = answers(form, {"x": case.feeds["x"][3:4]})["y"]

    assert np.abs(whole[3:4] - alone).max() <= 1e-5


def _gemm(**attributes: Any) -> bytes:
    chance = np.random.default_rng(3)
    shape = (256, 96) if attributes.get("transB") else (96, 256)
    weight = numpy_helper.from_array(chance.normal(size=shape).astype("f4"), "w")
    bias = numpy_helper.from_array(chance.normal(size=256).astype("f4"), "b")
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)
    return model_of([node], [weight, bias], ("x", 96), ("y", 256))


@pytest.mark.parametrize("build", [int8, half, eight_bit, dynamic_int8])
@pytest.mark.parametrize(
    "attributes", [{}, {"transB": 1}, {"alpha": 0.5}, {"beta": 0.0, "transB": 1}]
)
def test_a_gemm_keeps_its_factors_bias_and_orientation(
    build: Build, attributes: dict[str, Any]
) -> None:
    """Where a rung cannot say a Gemm's factors, it leaves that Gemm alone."""
    onnx_bytes = _gemm(**attributes)
    feeds = {"x": np.random.default_rng(4).normal(size=(9, 96)).astype(np.float32)}

    try:
        form = build(onnx_bytes, feeds)
    except NotApplicableError:
        assert attributes.get("alpha") or "beta" in attributes
        return

    before, after = answers(onnx_bytes, feeds)["y"], answers(form, feeds)["y"]
    assert np.abs(before - after).max() < 0.03 * np.abs(before).max()


def test_a_weight_that_two_layers_share_is_stored_once() -> None:
    """Both layers multiply by the same rounded weight."""
    weight = np.random.default_rng(5).normal(size=(128, 128)).astype(np.float32) / 12
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    shared = model_of(nodes, [numpy_helper.from_array(weight, "w")], ("x", 128), ("y", 128))
    feeds = {"x": np.random.default_rng(6).normal(size=(5, 128)).astype(np.float32)}

    for build in (int8, eight_bit, dynamic_int8):
        form = build(shared, feeds)

        before, after = answers(shared, feeds)["y"], answers(form, feeds)["y"]
        assert np.abs(before - after).max() < 0.04 * np.abs(before).max()
        assert len(form) < 0.4 * len(shared)


def _language(*, tied: bool) -> tuple[bytes, dict[str, Any]]:
    """Look up rows of a table; with tied weights, multiply by the same table again."""
    table = np.random.default_rng(7).normal(size=(300, 32)).astype(np.float32)
    table[17] = 0
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y" if not tied else "rows"])]
    if tied:
        nodes += [
            helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["rows", "turned"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "t", None])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    ids = np.array([[0, 17, 299], [-1, 5, 5]], np.int64)
    return bytes(model.SerializeToString()), {"ids": ids}


@pytest.mark.parametrize("tied", [False, True])
def test_a_table_of_rows_becomes_int8(tied: bool) -> None:
    """Rows come back nearly the same, zeros as zeros, also where a layer is tied to the table."""
    onnx_bytes, feeds = _language(tied=tied)

    form = int8(onnx_bytes, feeds)

    before, after = answers(onnx_bytes, feeds)["y"], answers(form, feeds)["y"]
    assert len(form) < 0.4 * len(onnx_bytes)
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()
    assert not after[0, 1].any()


def test_int8_tables_leave_layers_and_what_they_multiply_by_alone() -> None:
    """The rung shrinks what is only looked up, so that nothing is widened when a model opens."""
    onnx_bytes, feeds = _language(tied=False)

    form = int8_tables(onnx_bytes, feeds)

    before, after = answers(onnx_bytes, feeds)["y"], answers(form, feeds)["y"]
    assert len(form) < 0.4 * len(onnx_bytes)
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()
    with pytest.raises(NotApplicableError):
        int8_tables(*_language(tied=True))


def test_packed_weights_unpack_to_nearly_themselves() -> None:
    """What `pack` writes is what the operator's definition reads, in 8 and in 4 bits."""
    weight = np.random.default_rng(8).normal(size=(3 * BLOCK - 5, 7)).astype(np.float32)

    eight, scales, _ = pack(weight, 8)
    four, wide_scales, zeros = pack(weight, 4)

    wide = (eight.astype(np.float32) - 128) * scales[..., None]
    assert np.abs(wide.reshape(7, -1)[:, : len(weight)].T - weight).max() <= scales.max() / 2 + 1e-6
    assert zeros is not None
    nibbles = np.stack([four & 15, four >> 4], axis=-1).reshape(7, 3, BLOCK).astype(np.float32)
    shift = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(7, -1)[:, :3, None]
    wide = (nibbles - shift) * wide_scales[..., None]
    far = np.abs(wide.reshape(7, -1)[:, : len(weight)].T - weight)
    assert far.max() <= wide_scales.max() + 1e-6


@pytest.mark.parametrize("build", [eight_bit, dynamic_int8])
def test_the_largest_sums_are_not_clipped(build: Build) -> None:
    """Full inputs times full weights give the exact sum, whatever the processor adds them with."""
    weight = np.full((128, 64), 1.0, np.float32)
    weight[:, 1::2] = -1
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    full = model_of([node], [numpy_helper.from_array(weight, "w")], ("x", 128), ("y", 64))
    feeds = {"x": np.full((4, 128), 3.0, np.float32)}
    feeds["x"][1::2] *= -1

    form = build(full, feeds)

    before, after = answers(full, feeds)["y"], answers(form, feeds)["y"]
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()


def test_convolutions_are_calibrated_on_the_rows() -> None:
    """Static int8 makes a quarter of a network of convolutions that answers nearly the same."""
    onnx_bytes, rows = convolutions()

    form = static_int8(onnx_bytes, rows)

    before, after = answers(onnx_bytes, rows)["y"], answers(form, rows)["y"]
    assert len(form) < 0.35 * len(onnx_bytes)
    assert np.abs(before - after).max() < 0.1 * np.abs(before).max()
    model = onnx.load_model_from_string(form)
    assert not model.metadata_props
    assert model.producer_name == "tests"


def test_static_int8_leaves_other_networks_alone() -> None:
    """Without convolutions there is nothing that static scales are good for."""
    case = product()

    with pytest.raises(NotApplicableError, match="no convolutions"):
        static_int8(case.onnx, case.feeds)


def test_int8_weights_of_convolutions_and_recurrent_layers() -> None:
    """Every kind of layer has its weights rounded by channel."""
    onnx_bytes, rows = convolutions()
    chance = np.random.default_rng(9)
    tensors = [
        numpy_helper.from_array((chance.normal(size=s) / 8).astype("f4"), n)
        for n, s in (("w", (1, 256, 64)), ("r", (1, 256, 64)))
    ]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["seq"]),
        helper.make_node("Transpose", ["seq"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "w", "r"], ["", "last"], hidden_size=64),
        helper.make_node("Squeeze", ["last", "zero"], ["y"]),
    ]
    tensors.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    recurrent = model_of(nodes, tensors, ("x", 64), ("y", 64))

    for network in (onnx_bytes, recurrent):
        form = int8(network, rows)
        before, after = answers(network, rows)["y"], answers(form, rows)["y"]
        assert len(form) < 0.35 * len(network)
        assert np.abs(before - after).max() < 0.02 * np.abs(before).max()


def test_weights_that_float16_cannot_hold_stay() -> None:
    """A weight beyond 65,504 would become infinite."""
    case = product(scale=1e5)

    with pytest.raises(NotApplicableError, match="no large weights"):
        half(case.onnx, case.feeds)


def test_weights_that_are_not_finite_stay() -> None:
    """NaN and infinities have no scale."""

    def spoil(model: Any) -> None:
        weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[0, 0] = np.inf
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))

    case = product()
    for build in (half, int8, eight_bit, dynamic_int8):
        with pytest.raises(NotApplicableError):
            build(changed(case.onnx, spoil), case.feeds)


@pytest.mark.parametrize(("build", "share"), [(single, 0.52), (float32, 0.52), (half, 0.27)])
def test_float64_models_are_stored_or_computed_in_less(build: Build, share: float) -> None:
    """A float64 perceptron keeps float64 inputs and outputs in half or a quarter of the bytes."""
    case = perceptron("float64")

    form = build(case.onnx, case.feeds)

    before, after = (answers(m, case.feeds)["probabilities"] for m in (case.onnx, form))
    assert len(form) < share * len(case.onnx)
    assert after.dtype == np.float64
    assert np.abs(before - after).max() < (1e-2 if build is half else 1e-5)


def test_float32_does_not_touch_the_splits_of_trees() -> None:
    """A split in float32 would send rows the other way."""
    chance = np.random.default_rng(1)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], nodes_hitrates=[1.0, 1.0, 1.0],
        nodes_missing_value_tracks_true=[0, 0, 0], n_targets=1, target_treeids=[0, 0],
        target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    opsets.append(helper.make_opsetid("", 18))
    trees = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    rows = {"x": chance.random((50, 1)).astype(np.float32)}

    with pytest.raises(NotApplicableError, match="splits"):
        float32(trees, rows)

    tidied = tidy(trees, rows)
    assert b"hitrates" not in tidied
    assert b"missing_value" not in tidied
    assert len(onnx.load_model_from_string(tidied).opset_import) == 2
    assert np.array_equal(answers(trees, rows)["y"], answers(tidied, rows)["y"])


def test_tidy_leaves_no_trace_of_who_made_the_model() -> None:
    """Metadata, comments, dead nodes and unused or repeated constants all go."""

    def litter(model: Any) -> None:
        secret = "/home/anna/project/model.py"
        graph = model.graph
        model.doc_string = graph.doc_string = graph.node[0].doc_string = secret
        for owner in (model, graph.node[0]):
            entry = owner.metadata_props.add()
            entry.key, entry.value = "pkg.torch.onnx.stack_trace", secret
        graph.value_info.append(helper.make_tensor_value_info(secret, 1, ["n"]))
        graph.node.append(helper.make_node("Relu", ["x"], ["dead"], name=secret))
        graph.initializer.append(numpy_helper.from_array(np.ones(9, "f4"), secret))
        again = graph.initializer.add()
        again.CopyFrom(graph.initializer[0])
        again.name = "w_again"
        graph.node[0].output[0] = "one"
        graph.node.append(helper.make_node("MatMul", ["x", "w_again"], ["two"]))
        graph.node.append(helper.make_node("Add", ["one", "two"], ["y"]))

    case = product()
    littered = changed(case.onnx, litter)

    tidied = tidy(littered, case.feeds)

    assert b"anna" not in tidied
    assert len(tidied) < 0.55 * len(littered)
    before, after = answers(littered, case.feeds)["y"], answers(tidied, case.feeds)["y"]
    assert np.array_equal(before, after)
    assert tidy(tidied, case.feeds) == tidied


def test_tidy_sees_what_branches_and_loops_use() -> None:
    """A constant that only a branch takes stays, and so does what a branch gives back."""
    kept = numpy_helper.from_array(np.full((1, 4), 7, np.float32), "kept")
    other = numpy_helper.from_array(np.full((1, 4), 5, np.float32), "other")
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    then = helper.make_graph([helper.make_node("Identity", ["kept"], ["o"])], "then", [], [out])
    orelse = helper.make_graph([helper.make_node("Neg", ["other"], ["o"])], "else", [], [out])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["branch"], then_branch=then, else_branch=orelse),
        helper.make_node("Add", ["x", "branch"], ["y"]),
    ]
    onnx_bytes = model_of(nodes, [kept, other], ("x", 4), ("y", 4))

    tidied = tidy(onnx_bytes, {})

    for value in (0.0, 1.0):
        rows = {"x": np.full((2, 4), value, np.float32)}
        assert np.array_equal(answers(onnx_bytes, rows)["y"], answers(tidied, rows)["y"])


def test_constants_that_old_exporters_list_as_inputs_become_constants() -> None:
    """Before IR version 4 every constant was an input, which nothing could fold or round."""

    def age(model: Any) -> None:
        model.ir_version = 3
        model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [128, 256]))

    case = product()
    old = changed(case.onnx, age)

    form = int8(tidy(old, case.feeds), case.feeds)

    assert [value.name for value in onnx.load_model_from_string(form).graph.input] == ["x"]
    assert len(form) < 0.3 * len(old)
    before, after = answers(old, case.feeds)["y"], answers(form, case.feeds)["y"]
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()


def test_weights_in_constant_nodes_are_found() -> None:
    """Some exporters write weights as nodes; tidied, every rung sees them."""

    def as_node(model: Any) -> None:
        tensor = model.graph.initializer[0]
        node = helper.make_node("Constant", [], ["w"], value=tensor)
        rest = list(model.graph.node)
        model.graph.ClearField("initializer")
        first = onnx.NodeProto.FromString(rest[0].SerializeToString())
        model.graph.ClearField("node")
        model.graph.node.extend([node, first])

    case = product()
    form = eight_bit(tidy(changed(case.onnx, as_node), case.feeds), case.feeds)

    assert len(form) < 0.3 * len(case.onnx)


def test_onnxslim_keeps_the_makers_name_and_the_version() -> None:
    """What identifies a model survives the tool that simplifies it."""

    def sign(model: Any) -> None:
        model.model_version = 12

    long, rows = _long_winded()
    form = simplify(changed(long, sign), rows)
    model = onnx.load_model_from_string(form)

    assert (model.producer_name, model.model_version) == ("tests", 12)
    assert len(model.graph.node) < 5
    assert np.allclose(answers(long, rows)["y"], answers(form, rows)["y"])


def _long_winded() -> tuple[bytes, dict[str, Any]]:
    """Add one constant to the input, worked out in a hundred steps from another one."""
    names = [f"step_{number}" for number in range(100)]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    nodes.append(helper.make_node("Add", ["x", names[-1]], ["y"]))
    first = numpy_helper.from_array(np.arange(8, dtype=np.float32), names[0])
    return model_of(nodes, [first], ("x", 8), ("y", 8)), {"x": np.ones((3, 8), np.float32)}


def test_onnxslim_is_spared_where_nodes_weigh_nothing() -> None:
    """It takes seconds, and weights are not its business."""
    case = product()

    with pytest.raises(NotApplicableError, match="all nodes together are"):
        simplify(case.onnx, case.feeds)


def test_without_onnxslim_that_rung_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional: the ladder is shorter without it."""
    monkeypatch.setitem(sys.modules, "onnxslim", None)

    with pytest.raises(NotApplicableError, match="pip install onnxslim"):
        simplify(*_long_winded())


@pytest.mark.parametrize("build", [int8, half, eight_bit, static_int8, dynamic_int8])
def test_old_operator_sets_are_left_alone(build: Build) -> None:
    """Operators that are needed may not exist yet in an old model."""

    def age(model: Any) -> None:
        model.opset_import[0].version = 8

    case = product()
    with pytest.raises(NotApplicableError, match="needs opset"):
        build(changed(case.onnx, age), case.feeds)


Change = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda a: a, True),
        (lambda a: a + 1e-4, True),
        (lambda a: a * 1.2, False),
        (lambda a: -a, False),
        (lambda a: a[:, ::-1], False),
        (lambda a: np.where(a == a.max(), np.nan, a), False),
        (lambda a: a[:, :-1], False),
    ],
)
@pytest.mark.parametrize("width", [3, 40])
def test_closeness_sees_direction_length_and_holes(change: Change, same: bool, width: int) -> None:
    """Small noise is close; another length, direction, shape or a NaN is not."""
    before = np.random.default_rng(10).normal(size=(30, width))

    assert close({"y": before}, {"y": change(before)}, Closeness()) is same
