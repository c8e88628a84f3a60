"""Three tiny models and the events to send to them, for the tests of serve, batch and inference."""

import atexit
import base64
import functools
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fnmodel.inference import Predictor
from fnmodel.model import FRONT, MODEL, PROBE, SIGNATURE, Feature, Signature, Tensor
from fnmodel.serve.app import create_app
from fnmodel.serve.direct import Direct
from fnmodel.serve.gateway import Gateway
from fnmodel.serve.model import Model
from fnmodel.serve.models import Models
from fnmodel.serve.service import Service

EVENTS = Path(__file__).parent / "events"

_TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "FP16": TensorProto.FLOAT16,
    "INT64": TensorProto.INT64,
    "INT32": TensorProto.INT32,
    "INT16": TensorProto.INT16,
    "INT8": TensorProto.INT8,
    "UINT64": TensorProto.UINT64,
    "UINT32": TensorProto.UINT32,
    "UINT16": TensorProto.UINT16,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
}


def write_model(
    folder: Path, signature: Signature, nodes: Sequence[Any], weights: Mapping[str, Any]
) -> Path:
    """Write a model directory whose graph has these nodes and initialisers."""
    graph = helper.make_graph(
        list(nodes),
        "model",
        [_info(tensor) for tensor in signature.inputs],
        [_info(tensor) for tensor in signature.outputs],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model.SerializeToString())
    (folder / SIGNATURE).write_text(json.dumps(signature.to_json()))
    (folder / PROBE).write_text(json.dumps({"request": {}, "expected": [], "tolerance": {}}))
    return folder


def _info(tensor: Tensor) -> Any:
    shape = [None if size < 0 else size for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.datatype], shape)


def write_classifier(folder: Path) -> Path:
    """Write a stacked classifier: features a, b (integral), c; classes no and yes."""
    signature = Signature(
        task="classification",
        inputs=(Tensor("X", "FP32", (-1, 3)),),
        outputs=(Tensor("label", "BYTES", (-1,)), Tensor("probabilities", "FP32", (-1, 2))),
        features=(Feature("a", "FP32"), Feature("b", "FP32", integral=True), Feature("c", "FP32")),
        classes=("no", "yes"),
        label="label",
        scores="probabilities",
    )
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "probabilities"],
            domain="ai.onnx.ml",
            coefficients=[-0.5, 0.25, -1.0, 0.5, -0.25, 1.0],
            intercepts=[0.1, -0.1],
            classlabels_strings=["no", "yes"],
            multi_class=0,
            post_transform="SOFTMAX",
        )
    ]
    return write_model(folder, signature, nodes, {})


def write_mixed(folder: Path) -> Path:
    """Write a by-column regressor: age FP32, income FP32 nullable, plan BYTES, visits INT64.

    value = age + 1000 * (income is missing) + 10 * (plan is "gold") + visits
    """
    signature = Signature(
        task="regression",
        inputs=(
            Tensor("age", "FP32", (-1, 1)),
            Tensor("income", "FP32", (-1, 1)),
            Tensor("plan", "BYTES", (-1, 1)),
            Tensor("visits", "INT64", (-1, 1)),
        ),
        outputs=(Tensor("variable", "FP32", (-1, 1)),),
        features=(
            Feature("age", "FP32"),
            Feature("income", "FP32", nullable=True),
            Feature("plan", "BYTES", categories=("free", "gold")),
            Feature("visits", "INT64", integral=True),
        ),
    )
    nodes = [
        helper.make_node("IsNaN", ["income"], ["gone"]),
        helper.make_node("Cast", ["gone"], ["gone_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gone_f", "thousand"], ["penalty"]),
        helper.make_node(
            "LabelEncoder",
            ["plan"],
            ["tier"],
            domain="ai.onnx.ml",
            keys_strings=["free", "gold"],
            values_floats=[0.0, 10.0],
            default_float=0.0,
        ),
        helper.make_node("Cast", ["visits"], ["visits_f"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["age", "penalty", "tier", "visits_f"], ["variable"]),
    ]
    return write_model(folder, signature, nodes, {"thousand": np.float32(1000)})


def write_regressor(folder: Path) -> Path:
    """Write a stacked regressor whose value is log(x) * y: NaN for a negative x, -inf for 0."""
    signature = Signature(
        task="regression",
        inputs=(Tensor("X", "FP32", (-1, 2)),),
        outputs=(Tensor("value", "FP32", (-1, 1)),),
        features=(Feature("x", "FP32"), Feature("y", "FP32")),
    )
    nodes = [
        helper.make_node("Split", ["X"], ["x", "y"], axis=1),
        helper.make_node("Log", ["x"], ["logged"]),
        helper.make_node("Mul", ["logged", "y"], ["value"]),
    ]
    return write_model(folder, signature, nodes, {})


def write_tensors(
    folder: Path, types: Sequence[str] = ("FP32", "INT8", "UINT64", "BOOL", "BYTES")
) -> Path:
    """Write a model without features: two columns of each datatype in, the same out."""
    signature = Signature(
        task="other",
        inputs=tuple(Tensor(f"in_{t}", t, (-1, 2)) for t in types),  # type: ignore[arg-type]
        outputs=tuple(Tensor(f"out_{t}", t, (-1, 2)) for t in types),  # type: ignore[arg-type]
    )
    nodes = [helper.make_node("Identity", [f"in_{t}"], [f"out_{t}"]) for t in types]
    return write_model(folder, signature, nodes, {})


def write_every(folder: Path) -> Path:
    """Write a model without features that has every datatype."""
    return write_tensors(folder, list(_TYPES))


def write_slow(folder: Path) -> Path:
    """Write a regressor that counts to its largest x, which takes the time that it takes."""
    signature = Signature(
        task="regression",
        inputs=(Tensor("x", "FP32", (-1, 1)),),
        outputs=(Tensor("value", "FP32", (-1, 1)),),
        features=(Feature("x", "FP32"),),
    )
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Add", ["before", "one"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["rounds", "yes", "zero"], ["counted"], body=body),
        helper.make_node("Mul", ["x", "zeros"], ["empty"]),
        helper.make_node("Add", ["empty", "counted"], ["value"]),
    ]
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    weights = {"yes": np.bool_(True), "zero": zero, "zeros": zero, "one": one}
    return write_model(folder, signature, nodes, weights)


def write_large(folder: Path) -> Path:
    """Write a regressor that adds up as many zeros as x says: 16 GiB for four thousand million."""
    signature = Signature(
        task="regression",
        inputs=(Tensor("x", "FP32", (-1, 1)),),
        outputs=(Tensor("value", "FP32", (-1, 1)),),
        features=(Feature("x", "FP32"),),
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["count"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["count", "single"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceMean", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["x", "zero"], ["value"]),
    ]
    return write_model(folder, signature, nodes, {"single": np.array([1], np.int64)})


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "wine", "bad", "##ly", *"abcdefgh"]


def write_embedder(folder: Path) -> Path:
    """Write a model of texts whose `embedding` of 6 numbers is the mean of its tokens' own."""
    signature = Signature(
        task="other",
        inputs=(Tensor("text", "BYTES", (-1, 1)),),
        outputs=(Tensor("embedding", "FP32", (-1, 6)),),
        features=(Feature("text", "BYTES"),),
    )
    names = ("input_ids", "attention_mask")
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["tokens", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["wide", "middle"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["embedding"]),
    ]
    weights = np.random.default_rng(3).normal(size=(len(VOCABULARY), 6)).astype(np.float32)
    axes = {"last": np.array([2], np.int64), "middle": np.array([1], np.int64)}
    graph = replace(signature, inputs=tuple(Tensor(name, "INT64", (-1, -1)) for name in names))
    write_model(folder, graph, nodes, {"weights": weights, **axes})
    (folder / SIGNATURE).write_text(json.dumps(signature.to_json()))
    step = {
        "op": "wordpiece", "inputs": ["text"], "outputs": names, "gives": names,
        "vocabulary": VOCABULARY, "unknown": 1, "continuing": "##", "longest_word": 100,
        "characters": {"ranges": {"alone": [[33, 48]]}, "changed": {}, "decomposed": False},
        "special": {token: at for at, token in enumerate(VOCABULARY[:4])},
        "strips": {}, "prefix": [2], "suffix": [3], "padding": 0, "max_length": 16,
    }  # fmt: skip
    (folder / FRONT).write_text(json.dumps({"version": 1, "steps": [step]}))
    return folder


WRITERS = {
    "classifier": write_classifier,
    "mixed": write_mixed,
    "regressor": write_regressor,
    "slow": write_slow,
    "large": write_large,
    "tensors": write_tensors,
    "every": write_every,
    "embedder": write_embedder,
}


@functools.cache
def model_folder(name: str) -> Path:
    """Return one of the model directories, written once a session."""
    root = Path(tempfile.mkdtemp(prefix="fnmodel-test-"))
    atexit.register(shutil.rmtree, root)
    return WRITERS[name](root / name)


@functools.cache
def predictor(name: str) -> Predictor:
    """Return the predictor of one of the models."""
    return Predictor(model_folder(name), threads=1)


@functools.cache
def model(name: str) -> Model:
    """Return one of the models as the endpoint holds it."""
    return Model.load(model_folder(name))


def event(name: str = "predict", **changes: Any) -> dict[str, Any]:
    """Return a recorded HTTP API event; `method`, `path`, `body`, `headers` replace its own.

    A body of bytes is sent in base64, as API Gateway does for types that are not text.
    """
    recorded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_bytes())
    http = recorded["requestContext"]["http"]
    if "method" in changes:
        http["method"] = changes.pop("method")
    if "path" in changes:
        http["path"] = recorded["rawPath"] = changes.pop("path")
    body = changes.pop("body", recorded.get("body"))
    if isinstance(body, bytes):
        recorded["isBase64Encoded"] = True
        body = base64.b64encode(body).decode()
    elif body is not None and not isinstance(body, str):
        body = json.dumps(body)
    recorded["body"] = body
    recorded["headers"] = {**recorded["headers"], **changes.pop("headers", {})}
    return {**recorded, **changes}


class BothWays:
    """The Lambda handler as `handlers.model` builds it, held against the web framework alone.

    Each event goes both ways, and the answers have to be the same but for ids by chance. `reports`
    are the records of the first way.
    """

    def __init__(self, model: Model, name: str, version: str) -> None:
        models = Models((Service(model, name, version),))
        self.reports: list[dict[str, Any]] = []

        def framework() -> Gateway:
            return Gateway(create_app(models))

        self.framework = framework()
        self.direct = Direct(
            models,
            report=self.reports.append,
            clock=time.perf_counter,
            others=framework,
        )

    def __call__(self, event: Any, context: Any = None) -> dict[str, Any]:
        """Return the answer to one event."""
        answer, other = self.direct(event, context), self.framework(event, context)
        assert _without_id(answer) == _without_id(other)
        return answer


def _without_id(answer: Mapping[str, Any]) -> Any:
    found = json.dumps(answer, sort_keys=True)
    known = answer["headers"].get("x-request-id")
    return json.loads(found.replace(known, "ID") if known else found)


def gateway(name: str, called: str = "churn", version: str = "3") -> BothWays:
    """Return the Lambda handler of one of the models."""
    return BothWays(model(name), called, version)


def error_of(answer: Mapping[str, Any]) -> str:
    """Return the message of an error answer, after checking all that errors have in common."""
    assert answer["headers"]["content-type"] == "application/json"
    assert not answer["isBase64Encoded"]
    body = json.loads(answer["body"])
    assert list(body) == ["error"]
    message: str = body["error"]
    assert message
    for leak in (
        "Traceback",
        'File "',
        "/fnmodel",
        "/tmp",
        "/opt",
        "site-packages",
        ".py",
        ".cc",
        "arn:",
    ):
        assert leak not in message
    return message
