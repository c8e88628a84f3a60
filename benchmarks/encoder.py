"""A sentence encoder of MiniLM's sizes with random weights, written as exporters write one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

EVENT = Path(__file__).resolve().parent.parent / "tests" / "events" / "predict.json"

WORDS, POSITIONS, WIDTH, HEADS, INNER, LAYERS = 30522, 512, 384, 12, 1536, 6
TOKENS = 64
INPUTS, OUTPUT = ("input_ids", "attention_mask"), "embedding"
_OPSET = 17


def encoder() -> ModelProto:
    """Return the model: 90 MB in float32; int64 (rows, tokens) twice in, (rows, WIDTH) out."""
    graph = _Graph()
    ids, mask = INPUTS
    words = graph("Gather", graph.weight(WORDS, WIDTH), ids)
    length = graph("Gather", graph("Shape", ids), graph.whole(1), axis=0)
    order = graph("Range", graph.whole(0), length, graph.whole(1))
    places = graph("Gather", graph.weight(POSITIONS, WIDTH), order)
    hidden = graph.normal(graph("Add", words, places))
    seen = graph("Unsqueeze", graph("Cast", mask, to=TensorProto.FLOAT), graph.wholes(1, 2))
    unseen = graph("Mul", graph("Sub", graph.number(1), seen), graph.number(-10000))
    for _ in range(LAYERS):
        hidden = graph.normal(graph("Add", graph.attention(hidden, unseen), hidden))
        wide = graph.gelu(graph.linear(hidden, WIDTH, INNER))
        hidden = graph.normal(graph("Add", graph.linear(wide, INNER, WIDTH), hidden))
    graph.nodes.append(helper.make_node("ReduceMean", [hidden], [OUTPUT], axes=[1], keepdims=0))
    return graph.model()


def tiny() -> ModelProto:
    """Return a model that does nothing."""
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "tiny", *([v] for v in shown)
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", _OPSET)])


def tokens(rows: int) -> Any:
    """Return token ids, int64 (rows, TOKENS); the first row counts from 0."""
    ids = np.random.default_rng(1).integers(0, WORDS, (rows, TOKENS))
    ids[0] = np.arange(TOKENS)
    return ids


def request() -> dict[str, Any]:
    """Return an HTTP API event with the first row of `tokens`."""
    event: dict[str, Any] = json.loads(EVENT.read_bytes())
    ids = tokens(1)
    inputs = [
        {"name": name, "shape": [1, TOKENS], "datatype": "INT64", "data": array[0].tolist()}
        for name, array in zip(INPUTS, (ids, np.ones_like(ids)), strict=True)
    ]
    event["rawPath"] = event["requestContext"]["http"]["path"] = "/v2/models/bench/infer"
    event["body"] = json.dumps({"inputs": inputs})
    return event


def answer(path: str) -> list[float]:
    """Return the vector that a model file gives for that row."""
    import onnxruntime

    ids = tokens(1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True)))[0]
    vector: list[float] = found[0].tolist()
    return vector


class _Graph:
    """Collects nodes and weights; each call adds a node and returns the name of what it gives."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._random = np.random.default_rng(0)

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def model(self) -> ModelProto:
        rows, places = ["rows", "tokens"], TensorProto.INT64
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [helper.make_tensor_value_info(name, places, rows) for name in INPUTS],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", WIDTH])],
            self._tensors,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, ir_version=8, opset_imports=[opset])

    def _tensor(self, array: Any) -> str:
        name = f"w{len(self._tensors)}"
        self._tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int) -> str:
        return self._tensor(self._random.normal(0, 0.05, shape).astype(np.float32))

    def number(self, value: float) -> str:
        return self._tensor(np.float32(value))

    def whole(self, value: int) -> str:
        return self._tensor(np.int64(value))

    def wholes(self, *values: int) -> str:
        return self._tensor(np.array(values, np.int64))

    def linear(self, value: str, before: int, after: int) -> str:
        return self("Add", self("MatMul", value, self.weight(before, after)), self.weight(after))

    def normal(self, value: str) -> str:
        scale = self._tensor(np.ones(WIDTH, np.float32))
        return self("LayerNormalization", value, scale, self.weight(WIDTH), epsilon=1e-12)

    def gelu(self, value: str) -> str:
        half = self("Div", value, self.number(2**0.5))
        risen = self("Add", self("Erf", half), self.number(1))
        return self("Mul", self("Mul", value, risen), self.number(0.5))

    def attention(self, hidden: str, unseen: str) -> str:
        def heads(order: list[int]) -> str:
            flat = self.linear(hidden, WIDTH, WIDTH)
            split = self("Reshape", flat, self.wholes(0, 0, HEADS, WIDTH // HEADS))
            return self("Transpose", split, perm=order)

        query, key, value = heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3])
        product = self("Div", self("MatMul", query, key), self.number((WIDTH / HEADS) ** 0.5))
        weights = self("Softmax", self("Add", product, unseen), axis=-1)
        mixed = self("Transpose", self("MatMul", weights, value), perm=[0, 2, 1, 3])
        flat = self("Reshape", mixed, self.wholes(0, 0, WIDTH))
        return self.linear(flat, WIDTH, WIDTH)
