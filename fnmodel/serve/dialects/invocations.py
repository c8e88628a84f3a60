"""`POST /invocations`: MLflow's scoring protocol and SageMaker's containers' in one.

They have the path and `{"predictions": …}` in common. The Content-Type says how to read a body, the
Accept header how to write the answer; a body of JSON says by its one key what it holds.
https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#local-inference-server
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from fnmodel.errors import InputError
from fnmodel.model import Signature
from fnmodel.serve.body import read_object
from fnmodel.serve.dialects import given
from fnmodel.serve.dialects.given import Given
from fnmodel.serve.dialects.scored import entries, score
from fnmodel.serve.endpoint import Answer, Call
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.service import Service

if TYPE_CHECKING:
    from fnmodel.capture.rows import Pairs

JSON, CSV = "application/json", "text/csv"
LINES = ("application/jsonlines", "application/x-ndjson", "application/jsonl")
_WRITTEN = (JSON, CSV, *LINES)

_FORMS: dict[str, Callable[[Any, Signature], Given]] = {
    "dataframe_split": given.of_split,
    "dataframe_records": given.of_records,
    "instances": given.of_instances,
    "inputs": given.of_inputs,
}
_LISTED = ", ".join(_FORMS)

Read = Callable[[bytes], tuple[Given, Mapping[str, Any]]]
"""Makes rows, and the parameters beside them, of a body."""


def answer(service: Service, call: Call) -> Answer:
    """Answer a request in any of the two dialects' forms."""
    model = service.opened(call)
    wanted = _attributes(call)
    kind, options = _content_type(call.headers.get(b"content-type", b"").decode("latin-1"))
    written = _accepted(call.headers.get(b"accept", b"").decode("latin-1"))
    read = partial(_read, kind, options, model.signature)
    rows, params = read(call.raw)
    scored = score(model, rows, len(call.raw))
    scores = _scores({**wanted, **params})
    values = scored.values(scores=scores)
    body: Any = {"predictions": values}
    if written == JSON:
        made = orjson.dumps(body)
    elif written == CSV:
        from fnmodel.serve.dialects.csvtable import write_csv

        made = write_csv(scored.by_row(values))
    else:
        made = b"".join(orjson.dumps(row) + b"\n" for row in scored.by_row(values))
    media = f"{CSV}; charset=utf-8" if written == CSV else written
    return Answer(
        made,
        rows=scored.rows,
        media=media,
        model=service.name,
        pairs=partial(_pairs, read, written, _texts(model.signature, scores=scores)),
    )


def _attributes(call: Call) -> dict[str, str]:
    """Return the pairs of SageMaker's custom attributes."""
    text = call.headers.get(b"x-amzn-sagemaker-custom-attributes", b"").decode("latin-1")
    pairs = (item.partition("=") for item in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _content_type(given: str) -> tuple[str, dict[str, str]]:
    """Return the media type of a body and its parameters; JSON where there is none."""
    kind, *rest = given.lower().split(";")
    kind = kind.strip() or JSON
    pairs = (item.partition("=") for item in rest)
    options = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
    if kind not in _WRITTEN:
        raise RefusalError(
            415, f"Content-Type must be one of {', '.join(_WRITTEN)}; Parquet is not read here"
        )
    if options.get("charset", "utf-8") not in ("utf-8", "utf8"):
        raise RefusalError(415, "bodies are read as UTF-8 alone")
    return kind, options


def _accepted(given: str) -> str:
    """Return the media type of the answer: of those accepted, the one preferred most."""
    best, most = JSON, 0.0
    for item in given.lower().split(",") if given.strip() else ["*/*"]:
        kind, _, rest = item.partition(";")
        kind, weight = kind.strip(), _weight(rest)
        if kind in ("*/*", "application/*"):
            kind = JSON
        elif kind == "text/*":
            kind = CSV
        if kind in _WRITTEN and weight > most:
            best, most = kind, weight
    if not most:
        raise RefusalError(406, f"Accept must name one of {', '.join(_WRITTEN)}")
    return best


def _weight(rest: str) -> float:
    for item in rest.split(";"):
        name, _, value = item.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _read(
    kind: str, options: Mapping[str, str], signature: Signature, raw: bytes
) -> tuple[Given, Mapping[str, Any]]:
    """Return the rows of a body, and the parameters beside them."""
    if kind == JSON:
        return _read_json(raw, signature)
    from fnmodel.serve.dialects import csvtable

    if not raw.strip():
        raise InputError("the body is empty; send rows")
    if kind == CSV:
        header = {"present": True, "absent": False}.get(options.get("header", ""))
        return csvtable.read_csv(raw, signature, header=header), {}
    return csvtable.read_lines(raw, signature), {}


def _read_json(raw: bytes, signature: Signature) -> tuple[Given, Mapping[str, Any]]:
    body = read_object(given.without_nan(raw))
    forms = [key for key in body if key in _FORMS]
    extra = next((key for key in body if key not in _FORMS and key not in _BESIDE), None)
    if len(forms) != 1 or extra is not None:
        beside = "" if extra is None else f", and {extra[:60]!r} is none of them"
        raise InputError(f"the body must have exactly one of {_LISTED}{beside}")
    given.check_signature_name(body)
    params = body.get("params") or {}
    if not isinstance(params, Mapping):
        raise InputError("`params` is not an object")
    return _FORMS[forms[0]](body[forms[0]], signature), params


# What may stand beside the rows: MLflow's, and TF-Serving's as SageMaker's containers take it.
_BESIDE = ("params", "signature_name")


def _scores(params: Mapping[str, Any]) -> bool:
    """Whether the caller asks for probabilities; other parameters mean nothing, as in MLflow."""
    wanted = params.get("predict_fn", "predict")
    if wanted not in ("predict", "predict_proba"):
        raise InputError("`predict_fn` must be 'predict' or 'predict_proba'")
    return bool(wanted == "predict_proba")


def _texts(signature: Signature, *, scores: bool) -> bool:
    """Whether the model's predictions are labels that are texts, even where they have digits."""
    outputs = {tensor.name: tensor.datatype for tensor in signature.outputs}
    return not scores and outputs.get(signature.label or "") == "BYTES"


def _pairs(read: Read, written: str, texts: bool, raw: bytes, body: bytes) -> "Pairs | None":
    """Return rows and predictions of a request that was answered."""
    rows = read(raw)[0].rows()
    if written == JSON:
        return entries(rows, orjson.loads(body)["predictions"])
    if written != CSV:
        return entries(rows, [*map(orjson.loads, body.splitlines())])
    from fnmodel.serve.dialects.csvtable import read_predictions

    return entries(rows, read_predictions(body, texts=texts))
