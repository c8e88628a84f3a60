"""The model that the benchmarks serve, and requests for it."""

import base64
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = "bench"
FEATURES = 30
INFER = f"/v2/models/{NAME}/infer"


def train() -> tuple[Any, Any]:
    """Return a gradient-boosted classifier and its rows: 100 trees, 30 features, two classes."""
    import numpy as np
    from sklearn.ensemble import GradientBoostingClassifier

    chance = np.random.default_rng(7)
    rows = chance.normal(size=(2000, FEATURES)).astype(np.float32)
    model = GradientBoostingClassifier(n_estimators=100, random_state=7)
    return model.fit(rows, rows[:, 0] + rows[:, 1] ** 2 > 0.5), rows


def write_model(folder: Path) -> None:
    """Write the classifier of `train` as a model directory."""
    from skl2onnx import to_onnx

    from fnmodel.model import Feature, Signature, Tensor

    model, rows = train()
    onnx_model = to_onnx(model, rows[:1], options={"zipmap": False})
    signature = Signature(
        task="classification",
        inputs=(Tensor("X", "FP32", (-1, FEATURES)),),
        outputs=(Tensor("label", "INT64", (-1,)), Tensor("probabilities", "FP32", (-1, 2))),
        features=tuple(Feature(f"f{n}", "FP32") for n in range(FEATURES)),
        classes=(0, 1),
        label="label",
        scores="probabilities",
    )
    (folder / "model.onnx").write_bytes(onnx_model.SerializeToString())
    (folder / "signature.json").write_text(json.dumps(signature.to_json()))
    (folder / "probe.json").write_text("{}")


def request(rows: Any = None) -> dict[str, Any]:
    """Return an HTTP API event with one row, or with those of an array, by name."""
    event: dict[str, Any] = json.loads((ROOT / "tests" / "events" / "predict.json").read_bytes())
    values = [[round(0.1 * n, 1) for n in range(FEATURES)]] if rows is None else rows.tolist()
    records = [{f"f{n}": value for n, value in enumerate(row)} for row in values]
    event["body"] = json.dumps({"records": records})
    return event


def tensor(rows: Any) -> dict[str, Any]:
    """Return an HTTP API event with the rows of an array as one tensor in JSON."""
    # The shortest text that gives the same FP32, as clients that know the type send it.
    data = [float(str(value)) for value in rows.reshape(-1)]
    return _infer({"data": data}, rows)


def binary(rows: Any) -> dict[str, Any]:
    """Return an HTTP API event with the rows of an array in binary, as its answer is to be."""
    raw = rows.tobytes()
    event = _infer({"parameters": {"binary_data_size": len(raw)}}, rows)
    head = event["body"].encode()
    event["headers"]["inference-header-content-length"] = str(len(head))
    event["body"] = base64.b64encode(head + raw).decode()
    event["isBase64Encoded"] = True
    return event


def _infer(given: dict[str, Any], rows: Any) -> dict[str, Any]:
    event = request()
    event["requestContext"]["http"]["path"] = event["rawPath"] = INFER
    tensor = {"name": "X", "datatype": "FP32", "shape": rows.shape, **given}
    asked = {"parameters": {"binary_data_output": True}} if "parameters" in given else {}
    event["body"] = json.dumps({"inputs": [tensor], **asked})
    return event
