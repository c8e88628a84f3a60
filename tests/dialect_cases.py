"""One batch of rows in every form that the endpoint takes, and the numbers of every answer."""

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from binary_cases import outputs, packed, request
from serve_cases import BothWays, event, gateway, model

from fnmodel.model import Signature

JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
LINES = {"content-type": "application/jsonlines"}
INVOCATIONS, PREDICT, INFER = "/invocations", "/v1/models/churn:predict", "/v2/models/churn/infer"
EMBEDDINGS = "/v1/embeddings"

Row = Mapping[str, Any]
Rows = Sequence[Row]
Sent = tuple[str, Any, dict[str, str]]


def called(
    handler: BothWays | Callable[..., dict[str, Any]],
    path: str,
    body: Any,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the answer to a POST, whose body must have been served."""
    answer: dict[str, Any] = handler(
        event(path=path, body=body, headers=dict(headers or JSON)), None
    )
    assert answer["statusCode"] == 200, answer["body"]
    return answer


def text_of(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return rows as CSV; None is an empty field."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def forms(name: str, rows: Rows) -> dict[str, Sent]:
    """Return path, body and headers of every form in which a model with features takes rows."""
    signature = model(name).signature
    names = [feature.name for feature in signature.features]
    values = [[row[key] for key in names] for row in rows]
    columns = {key: [row[key] for row in rows] for key in names}
    split = {"columns": names, "index": list(range(len(rows))), "data": values}
    tensors: dict[str, Any] = {signature.inputs[0].name: values}
    if not signature.stacked:
        tensors = {key: [[value] for value in column] for key, column in columns.items()}
    lines = [*map(json.dumps, rows)]
    return {
        "predict": ("/predict", {"records": list(rows)}, JSON),
        "V2": (INFER, {"inputs": _tensors(signature, tensors)}, JSON),
        "split": (INVOCATIONS, {"dataframe_split": split}, JSON),
        "split unnamed": (INVOCATIONS, {"dataframe_split": {"data": values}}, JSON),
        "records": (INVOCATIONS, {"dataframe_records": list(rows)}, JSON),
        "instances": (INVOCATIONS, {"instances": list(rows)}, JSON),
        "instances in order": (INVOCATIONS, {"instances": values}, JSON),
        "inputs": (INVOCATIONS, {"inputs": columns}, JSON),
        "SageMaker's features": (
            INVOCATIONS,
            {"instances": [{"features": v} for v in values]},
            JSON,
        ),
        "CSV with a header": (INVOCATIONS, text_of([names, *values]), CSV),
        "CSV of pandas": (
            INVOCATIONS,
            text_of([["", *names], *([at, *row] for at, row in enumerate(values))]),
            CSV,
        ),
        "CSV without a header": ("/endpoints/churn/invocations", text_of(values), CSV),
        "lines": ("/endpoints/churn/invocations", "\n".join(lines), LINES),
        "lines in order": (INVOCATIONS, "\n".join(map(json.dumps, values)), LINES),
        "TF-Serving's rows": (PREDICT, {"instances": list(rows)}, JSON),
        "TF-Serving's columns": (PREDICT, {"inputs": tensors}, JSON),
    }


def _tensors(signature: Signature, tensors: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = len(next(iter(tensors.values())))
    return [
        {"name": t.name, "datatype": t.datatype, "shape": [rows, *t.shape[1:]],
         "data": tensors[t.name]}
        for t in signature.inputs
    ]  # fmt: skip


def binary(name: str, rows: Rows) -> Sent:
    """Return the V2 request with all tensors in binary, which asks for binary answers."""
    signature = model(name).signature
    names = [feature.name for feature in signature.features]
    nan = [[np.nan if row[key] is None else row[key] for key in names] for row in rows]
    parts = []
    for at, tensor in enumerate(signature.inputs):
        own = nan if signature.stacked else [[row[at]] for row in nan]
        flat = [value for row in own for value in row]
        shape = (len(rows), *tensor.shape[1:])
        parts.append((tensor.name, tensor.datatype, shape, packed(tensor.datatype, flat)))
    body, headers = request(parts, parameters={"binary_data_output": True})
    return INFER, body, headers


def numbers(answer: Mapping[str, Any], output: str) -> list[Any]:
    """Return the FP32 values of an answer in any form as bits; None where one is not finite."""
    singles = [np.float32(np.nan if value is None else value) for value in flat(answer, output)]
    return [single.tobytes() if np.isfinite(single) else None for single in singles]


def flat(answer: Mapping[str, Any], output: str) -> list[Any]:
    """Return the values of one output of an answer in any form, row by row."""
    values: list[Any] = []
    _flatten(_found(answer, output), values)
    return values


def _found(answer: Mapping[str, Any], output: str) -> Any:
    if answer["isBase64Encoded"]:
        return outputs(base64.b64decode(answer["body"]), answer["headers"])[output]
    body = json.loads(answer["body"])
    if "model_name" in body and "outputs" in body:
        return next(item["data"] for item in body["outputs"] if item["name"] == output)
    found = body.get("predictions", body.get("outputs"))
    if isinstance(found, Mapping):
        return found[output]
    if found and isinstance(found[0], Mapping):
        return [row.get(output, row.get("value")) for row in found]
    return found


def _flatten(value: Any, flat: list[Any]) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | np.ndarray):
        for item in value:
            _flatten(item, flat)
    else:
        flat.append(value)


HANDLERS: dict[str, BothWays] = {
    name: gateway(name) for name in ("classifier", "mixed", "regressor", "embedder", "tensors")
}
