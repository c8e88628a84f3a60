"""The probe that ships with a model: sent to one version, whatever traffic it gets."""

import base64
import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any
from urllib.parse import quote

from fnmodel.aws import translated
from fnmodel.binary import without_halves
from fnmodel.errors import GateError
from fnmodel.release.gate import GateResult, both, compare, compare_answers, require

_HINT = "`fnmodel logs` shows what the version said; mend it and deploy again"
_LOG_LINES = 8


class ProbeGate:
    """The gate of a model: its probe must be answered as proven when the model was made.

    `probe` is the content of `probe.json`: request, expected outputs, tolerance; and records with
    the answers of `/predict`, where the project's own code runs around the model. `named` says that
    the model is one of several: its reasons name it.
    """

    def __init__(
        self,
        client: Any,
        function: str,
        model: str,
        probe: Mapping[str, Any],
        *,
        named: bool = False,
    ) -> None:
        self._client = client
        self._function = function
        self._model = model if named else ""
        self._probe = probe
        self._event = infer_event(model, probe["request"])

    def __call__(self, version: str) -> GateResult:
        """Send the probe to a version; return how many values were compared.

        Raises:
            GateError: it crashed, answered no 200, or answered something else; names the worst row.

        """
        try:
            return self._judged(version)
        except GateError as error:
            if self._model:
                error.about(f"model {self._model!r}")
            raise

    def _judged(self, version: str) -> GateResult:
        answer = invoke(self._client, self._function, version, self._event)
        result = compare(self._probe, answer)
        if "answers" in self._probe:
            body = json.dumps({"records": self._probe["records"]}, allow_nan=False)
            event = http_event(predict_path(self._model), body)
            answer = invoke(self._client, self._function, version, event)
            result = both(result, compare_answers(self._probe, answer))
        require(result, f"{self._function}:{version}")
        return result


class AllGates:
    """The gates of all models of an image; each has to be passed."""

    def __init__(self, gates: Sequence[ProbeGate]) -> None:
        self._gates = gates

    def __call__(self, version: str) -> GateResult:
        """Send each probe to a version; return how many values were compared.

        Raises:
            GateError: as `ProbeGate`, of the first model that is not as proven.

        """
        return reduce(both, (gate(version) for gate in self._gates))


def predict_path(model: str) -> str:
    """Return the path of predictions by feature name; empty is the image's one or first model."""
    return f"/models/{quote(model, safe='')}/predict" if model else "/predict"


def http_event(path: str, body: str, *, method: str = "POST") -> dict[str, Any]:
    """Return the event that an HTTP API sends, payload format 2.0, for a JSON request.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "accept": "application/json",
            "content-type": "application/json",
            "content-length": str(len(body.encode())),
            "host": "probe.invalid",
            "user-agent": "fnmodel-probe",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "probe",
            "domainName": "probe.invalid",
            "domainPrefix": "probe",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "fnmodel-probe",
            },
            "requestId": "probe",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/1970:00:00:00 +0000",
            "timeEpoch": 0,
        },
        "body": body,
        "isBase64Encoded": False,
    }


def infer_event(model: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of `POST /v2/models/{model}/infer` with an inference request as its body."""
    body, head = without_halves(request)
    event = http_event(f"/v2/models/{quote(model, safe='')}/infer", "")
    event["headers"]["content-length"] = str(len(body))
    if head is None:
        return {**event, "body": body.decode()}
    event["headers"]["inference-header-content-length"] = str(head)
    return {**event, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def invoke(client: Any, function: str, version: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Send an HTTP event to one version and return its answer's JSON body.

    Raises:
        GateError: the version crashed, or answered anything but 200 with a JSON object.

    """
    where = f"{function}:{version}"
    status, body = ask(client, function, version, event)
    if status != 200:
        raise GateError(f"{where} answered {status}: {body[:300]}", hint=_HINT)
    try:
        data = json.loads(body)
    except ValueError as error:
        raise GateError(f"{where} answered no JSON: {body[:200]}", hint=_HINT) from error
    if not isinstance(data, dict):
        raise GateError(f"{where} answered no JSON object: {body[:200]}", hint=_HINT)
    return data


def ask(client: Any, function: str, version: str, event: Mapping[str, Any]) -> tuple[int, str]:
    """Send an HTTP event to one version and return the status and body of its answer.

    Raises:
        GateError: the version crashed, or answered what is no HTTP response.

    """
    where = f"{function}:{version}"
    with translated():
        answer = client.invoke(
            FunctionName=function,
            Qualifier=version,
            LogType="Tail",
            Payload=json.dumps(event).encode(),
        )
        payload = answer["Payload"].read()
    if answer.get("FunctionError"):
        raise GateError(f"{where} crashed: {_crash(payload)}{_log(answer)}", hint=_HINT)
    try:
        response = json.loads(payload)
        status, body = response["statusCode"], response.get("body") or ""
        if response.get("isBase64Encoded"):
            body = base64.b64decode(body, validate=True).decode()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GateError(
            f"{where} answered no HTTP response: {payload[:200]!r}", hint=_HINT
        ) from error
    return int(status), str(body)


def _crash(payload: bytes) -> str:
    try:
        error = json.loads(payload)
        return f"{error.get('errorType', 'Error')}: {error.get('errorMessage', '')}"
    except (ValueError, AttributeError):
        return payload[:300].decode(errors="replace")


def _log(answer: Mapping[str, Any]) -> str:
    tail = base64.b64decode(answer.get("LogResult") or "").decode(errors="replace")
    lines = [line for line in tail.splitlines() if line.strip()][-_LOG_LINES:]
    return "".join(f"\n  {line}" for line in lines)
