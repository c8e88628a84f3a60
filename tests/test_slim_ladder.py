"""The ladder keeps the smallest form that answers well enough and is not slower."""

import json
import time
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from slim_ladder_cases import Case, answers, changed, model_of, perceptron, product, row_of

from fnmodel.errors import InputError, UsageError
from fnmodel.slim.ladder import (
    HEADS,
    Judgement,
    Ladder,
    NotApplicableError,
    Options,
    Rung,
    climb,
    rungs,
    table,
)
from fnmodel.slim.rungs.store import half, int8
from fnmodel.slim.rungs.tidy import tidy

TIDY = Rung("tidy", tidy, foundation=True, cleans=True)
HALF = Rung("float16-weights", half)


def test_a_perceptron_becomes_a_quarter_with_the_same_labels() -> None:
    """A float32 perceptron keeps its int8 weights: the same labels, a quarter of the bytes."""
    case = perceptron("float32")

    form, ladder = case.climb()

    assert ladder.kept == "int8-weights"
    assert len(form) < 0.3 * len(case.onnx)
    before, after = (answers(m, case.feeds)["probabilities"] for m in (case.onnx, form))
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))


def test_a_float64_perceptron_is_computed_in_float32_first() -> None:
    """Other rungs build on the float32 graph, so that a float64 model shrinks to an eighth."""
    case = perceptron("float64")

    form, ladder = case.climb()

    assert row_of(ladder, "float32").verdict == "passed"
    assert ladder.kept == "int8-weights"
    assert len(form) < 0.16 * len(case.onnx)
    assert answers(form, case.feeds)["probabilities"].dtype == np.float64


def test_a_form_that_changes_labels_is_not_kept() -> None:
    """A rung whose answers fall short by the judge's word fails parity, whatever it gains."""
    case = perceptron("float32")

    def judge(form: bytes) -> Judgement:
        found = case.judge(form)
        coarse = b"int8" in form
        return Judgement(found.passed, found.max_abs, 1 if coarse else 0)

    options = Options()
    form, ladder = climb(
        case.onnx, rungs("mlp", options), judge=judge, feeds=case.feeds, options=options,
        progress=lambda _: None,
    )  # fmt: skip

    assert row_of(ladder, "int8-weights").verdict == "failed parity"
    assert row_of(ladder, "int8-weights").reason == "1 labels change"
    assert b"int8" not in form


def test_nothing_is_kept_over_a_judge_who_refuses_all() -> None:
    """Where every form differs too much, the model stays as it was converted, byte for byte."""
    case = product()

    def judge(form: bytes) -> Judgement:
        return Judgement(form == case.onnx, 0.0)

    options = Options()
    form, ladder = climb(
        case.onnx, rungs("mlp", options), judge=judge, feeds=case.feeds, options=options,
        progress=lambda _: None,
    )  # fmt: skip

    assert form == case.onnx
    assert ladder.kept == "as converted"
    assert [row.name for row in ladder.rows if row.verdict == "kept"] == ["as converted"]


def _raises(_: bytes, __: Any) -> bytes:
    message = "no quantizer today\nsecond line"
    raise RuntimeError(message)


def _declines(_: bytes, __: Any) -> bytes:
    raise NotApplicableError("not this kind")


def _garbage(onnx_bytes: bytes, _: Any) -> bytes:
    return onnx_bytes[: len(onnx_bytes) // 2]


def _other_output(onnx_bytes: bytes, feeds: Any) -> bytes:
    def rename(model: Any) -> None:
        model.graph.output[0].name = "z"
        next(n for n in model.graph.node if "y" in n.output).output[0] = "z"

    return changed(half(onnx_bytes, feeds), rename)


def _other_width(onnx_bytes: bytes, _: Any) -> bytes:
    weight = np.ones((128, 16), np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return model_of([node], [numpy_helper.from_array(weight, "w")], ("x", 128), ("y", 16))


def _strange_operator(_: bytes, __: Any) -> bytes:
    node = helper.make_node("Unheard", ["x"], ["y"], domain="com.example")
    model = onnx.load_model_from_string(product().onnx)
    model.graph.ClearField("initializer")
    model.graph.node[0].CopyFrom(node)
    model.opset_import.add(domain="com.example", version=1)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("build", "verdict", "reason"),
    [
        (_raises, "broken", "no quantizer today"),
        (_declines, "not applicable", "not this kind"),
        (_garbage, "broken", "cannot be loaded"),
        (_other_output, "broken", "other outputs"),
        (_other_width, "broken", "shape"),
        (_strange_operator, "broken", ""),
        (lambda onnx_bytes, _: onnx_bytes, "not smaller", ""),
    ],
)
def test_a_rung_that_goes_wrong_is_named_and_passed_over(
    build: Any, verdict: str, reason: str
) -> None:
    """Whatever a rung does, the ladder says what became of it, and keeps a form that works."""
    case = product()

    form, ladder = case.climb(ladder=(TIDY, Rung("wrong", build), HALF))

    wrong = row_of(ladder, "wrong")
    assert wrong.verdict == verdict
    assert reason in wrong.reason
    assert "\n" not in wrong.reason
    assert ladder.kept == "float16-weights"
    assert len(form) < 0.52 * len(case.onnx)


def test_a_form_that_only_runs_on_one_row_is_broken() -> None:
    """A form that refuses the sample's rows is broken, though it loads and has the same names."""

    def one_row_only(onnx_bytes: bytes, feeds: Any) -> bytes:
        def fix(model: Any) -> None:
            tensor = numpy_helper.from_array(np.array([1, 256], np.int64), "one")
            model.graph.initializer.append(tensor)
            model.graph.node[-1].output[0] = "raw"
            model.graph.node.append(helper.make_node("Reshape", ["raw", "one"], ["y"]))

        return changed(half(onnx_bytes, feeds), fix)

    _, ladder = product().climb(ladder=(TIDY, Rung("wrong", one_row_only), HALF))

    assert row_of(ladder, "wrong").verdict == "broken"
    assert ladder.kept == "float16-weights"


def _burden(model: Any) -> None:
    """Multiply the input by the identity many times: the same answers, much later."""
    identity = numpy_helper.from_array(np.eye(128, dtype=np.float32), "eye")
    model.graph.initializer.append(identity)
    names = ["x", *(f"e{number}" for number in range(60))]
    for node in model.graph.node:
        node.input[:] = [names[-1] if name == "x" else name for name in node.input]
    nodes = [
        helper.make_node("MatMul", [before, "eye"], [after]) for before, after in pairwise(names)
    ]
    rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend([*nodes, *rest])


def test_a_slower_form_is_kept_only_for_the_sake_of_size() -> None:
    """The smallest form is passed over when it is slower, unless `goal` is "size"."""
    case = product(128, 1024)

    def slow(onnx_bytes: bytes, feeds: Any) -> bytes:
        return changed(int8(onnx_bytes, feeds), _burden)

    ladder = (TIDY, Rung("slow", slow), HALF)
    _, balanced = case.climb(ladder=ladder)
    _, size = case.climb(ladder=ladder, goal="size")
    _, latency = case.climb(ladder=ladder, goal="latency")

    assert row_of(balanced, "slow").verdict == "slower"
    assert "times as long" in row_of(balanced, "slow").reason
    assert [balanced.kept, size.kept, latency.kept] == [
        "float16-weights",
        "slow",
        "float16-weights",
    ]


def test_latency_takes_the_faster_of_two_forms_though_it_is_larger() -> None:
    """With `goal` "latency" a fraction of the work beats half the bytes."""
    plain = product(128, 1024)
    heavy = Case(changed(plain.onnx, _burden), plain.feeds, "mlp")

    def quick(_: bytes, __: Any) -> bytes:
        return plain.onnx

    ladder = (TIDY, HALF, Rung("quick", quick))
    _, balanced = heavy.climb(ladder=ladder)
    _, latency = heavy.climb(ladder=ladder, goal="latency")

    assert [balanced.kept, latency.kept] == ["float16-weights", "quick"]


def _with_ballast(onnx_bytes: bytes, total: int) -> bytes:
    def add(model: Any) -> None:
        model.doc_string = "x" * max(0, total - len(onnx_bytes))

    return changed(onnx_bytes, add)


def test_among_forms_of_nearly_one_size_the_first_wins() -> None:
    """Sizes within 15 % count as the same, so that the order of the ladder decides."""
    case = product()

    def padded(onnx_bytes: bytes, feeds: Any) -> bytes:
        form = half(onnx_bytes, feeds)
        return _with_ballast(form, len(form) * 11 // 10)

    _, first = case.climb(ladder=(TIDY, Rung("padded", padded), HALF))
    _, second = case.climb(ladder=(TIDY, HALF, Rung("padded", padded)))
    _, strict = case.climb(ladder=(TIDY, Rung("padded", padded), HALF), goal="size")

    assert [first.kept, second.kept, strict.kept] == [
        "padded",
        "float16-weights",
        "float16-weights",
    ]


def test_a_large_network_keeps_no_form_that_is_widened_when_it_opens() -> None:
    """From 20 MB on, mapped weights count for more than a small file, unless size is asked for."""
    case, names = product(1024, 5400), ("int8-weights", "float16-weights")

    whole, ladder = case.climb(rungs=names)
    small, other = case.climb(rungs=names, goal="size")

    assert whole == case.onnx
    assert [row_of(ladder, name).verdict for name in names] == ["slower", "slower"]
    assert "open slowly" in row_of(ladder, "int8-weights").reason
    assert other.kept == "int8-weights"
    assert len(small) < 0.3 * len(whole)


def test_a_small_model_is_only_tidied_and_says_so() -> None:
    """Under 64 kB there is one row; what tells of the user's machine goes all the same."""
    small = product(16, 32)
    told = changed(small.onnx, lambda m: setattr(m, "doc_string", "/home/anna/secret/train.py"))
    case = Case(told, small.feeds, "mlp")

    form, ladder = case.climb()

    assert len(ladder.rows) == 1
    assert ladder.rows[0].verdict == "kept"
    assert "64 kB" in ladder.rows[0].reason
    assert b"anna" not in form


def test_the_ladder_can_be_switched_off_or_shortened() -> None:
    """An empty list of rungs leaves the model as it is; a list tries only what it names."""
    case = product()

    untouched, off = case.climb(rungs=())
    _, short = case.climb(rungs=("tidy", "float16-weights"))

    assert untouched == case.onnx
    assert off.kept == "as converted"
    assert [row.name for row in short.rows] == ["as converted", "tidy", "float16-weights"]


def test_an_unknown_rung_is_refused_with_the_known_ones() -> None:
    """A misspelt rung is the user's mistake, and the hint lists what there is."""
    with pytest.raises(UsageError, match="no rung 'fp8'") as caught:
        rungs("mlp", Options(rungs=("fp8",)))

    assert "int8-weights" in caught.value.hint


def test_bold_rungs_wait_until_they_are_asked_for() -> None:
    """4-bit weights and fewer trees are tried on request only, dynamic int8 when latency counts."""
    plain = {rung.name for rung in rungs("transformer", Options())}
    asked = {rung.name for rung in rungs("transformer", Options(four_bit=True, goal="latency"))}
    trees = {rung.name for rung in rungs("trees", Options())}
    fewer = {rung.name: rung for rung in rungs("trees", Options(truncate_trees=0.01))}

    assert asked - plain == {"4-bit", "int8-dynamic"}
    assert set(fewer) - trees == {"trees-10%", "trees-20%", "trees-50%"}
    assert fewer["trees-50%"].by_metric == 0.01


def test_a_model_that_does_not_take_its_own_sample_is_refused() -> None:
    """Feeds of the wrong width are the caller's mistake, not a reason to keep anything."""
    case = product()
    wrong = Case(case.onnx, {"x": np.ones((4, 3), np.float32)}, "mlp")

    with pytest.raises(InputError):
        wrong.climb()


def test_a_model_that_takes_one_row_at_a_time_is_timed_on_one_row() -> None:
    """A fixed batch of 1 leaves the time for 1,000 rows open, and the ladder still works."""

    def fix(model: Any) -> None:
        for value in (model.graph.input[0], model.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    case = product()
    asked = {"x": case.feeds["x"][:1]}
    _, ladder = Case(changed(case.onnx, fix), asked, "mlp").climb(rungs=("tidy", "float16-weights"))

    assert {row.thousand_rows_ms for row in ladder.rows} == {None}
    assert ladder.kept == "float16-weights"


def test_text_and_absent_rows_are_no_obstacle() -> None:
    """Text inputs are repeated like numbers."""
    nodes = [
        helper.make_node("Equal", ["text", "word"], ["same"]),
        helper.make_node("Cast", ["same"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["number", "w"], ["y"]),
    ]
    weight = np.random.default_rng(1).normal(size=(1, 40000)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 40000])],
        [
            numpy_helper.from_array(weight, "w"),
            helper.make_tensor("word", TensorProto.STRING, [1], ["größer"]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    feeds = {"text": np.array([["größer"], ["kleiner"]], dtype=object)}

    form, ladder = Case(bytes(model.SerializeToString()), feeds, "other").climb()

    assert row_of(ladder, "int8-weights").verdict == "not applicable"
    assert ladder.kept == "float16-weights"
    assert np.abs(answers(form, feeds)["y"][1]).max() == 0


def test_a_ladder_travels_as_json_and_reads_as_a_table() -> None:
    """What is saved in the report is what was measured, and every row fits the heads."""
    _, ladder = product().climb(ladder=(TIDY, Rung("wrong", _raises), HALF))

    again = Ladder.from_json(json.loads(json.dumps(ladder.to_json(), allow_nan=False)))

    assert again == ladder
    rows = table(ladder)
    assert {len(row) for row in rows} == {len(HEADS)}
    assert rows[-1][-1] == "kept"
    assert rows[2][-1] == "broken: no quantizer today"


def test_the_same_model_gives_the_same_bytes_and_the_same_choice() -> None:
    """Climbing twice keeps the same form, byte for byte."""
    case = perceptron("float32")
    started = time.perf_counter()

    first, one = case.climb()
    second, two = case.climb()

    assert first == second
    assert one.kept == two.kept
    assert [row.bytes for row in one.rows] == [row.bytes for row in two.rows]
    assert time.perf_counter() - started < 60
