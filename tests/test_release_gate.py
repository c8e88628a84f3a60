"""A version's answers against the proof that ships with the model."""

import base64
import copy
import json
import math
from typing import Any

import pytest
from release_cases import PROBE, encoded, http_answer, image_uri, proven

from fnmodel.errors import GateError
from fnmodel.release.gate import compare, compare_answers, require
from fnmodel.release.probe import AllGates, ProbeGate, infer_event
from fnmodel.testing import InMemoryLambda


def answer(*outputs: dict[str, Any]) -> dict[str, Any]:
    return {"model_name": "churn", "outputs": list(outputs)}


def labels(*data: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "label", "datatype": "INT64", "shape": [2], "data": list(data), **changes}


def scores(*data: Any, **changes: Any) -> dict[str, Any]:
    output = {"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": list(data)}
    return {**output, **changes}


GOOD = (labels(1, 0), scores(0.25, 0.75, 0.9, 0.1))


@pytest.mark.parametrize(
    "outputs",
    [
        GOOD,
        GOOD[::-1],
        (labels(1, 0), scores([0.25, 0.75], [0.9, 0.1])),
        (labels(1, 0), scores(0.25009, 0.75, 0.9009, 0.1)),
        (*GOOD, {"name": "more", "datatype": "FP32", "shape": [1], "data": [7]}),
    ],
    ids=["flat", "order", "nested", "within tolerance", "more outputs"],
)
def test_answers_as_proven_pass(outputs: tuple[dict[str, Any], ...]) -> None:
    """Order of outputs, nesting of data and differences within tolerance do not matter."""
    result = compare(PROBE, answer(*outputs))

    assert result.passed
    assert result.checked == 6
    require(result, "f:1")


@pytest.mark.parametrize(
    ("outputs", "row", "column", "text"),
    [
        ((labels(1, 1), GOOD[1]), 1, 0, "output 'label', row 1, column 0: expected 0, got 1"),
        ((labels(1, 0), scores(0.25, 0.75, 0.9, 0.2)), 1, 1, "expected 0.1, got 0.2"),
        ((labels(1, 0), scores(0.25, 0.7502, 0.6, 0.1)), 1, 0, "expected 0.9, got 0.6"),
        ((labels(1, 0), scores(None, 0.75, 0.9, 0.1)), 0, 0, "got None"),
        ((labels(1, 0), scores(math.inf, 0.75, 0.9, 0.1)), 0, 0, "got inf"),
        ((labels(1, 0), scores("0.25", 0.75, 0.9, 0.1)), 0, 0, "got '0.25'"),
        ((labels(True, 0), GOOD[1]), 0, 0, "expected 1, got True"),
        ((labels(1, 0),), -1, -1, "output 'probabilities': expected 'this output', got None"),
        ((labels(1, 0, shape=[2, 1]), GOOD[1]), -1, -1, r"\[2\], got \[2, 1\]"),
        ((labels(1, 0, datatype="INT32"), GOOD[1]), -1, -1, "expected 'INT64', got 'INT32'"),
        ((labels(1), GOOD[1]), -1, -1, "expected '2 values', got '1 values'"),
        ((), -1, -1, "this output"),
    ],
)
def test_the_worst_value_is_named(
    outputs: tuple[dict[str, Any], ...], row: int, column: int, text: str
) -> None:
    """A flipped label, a wrong score, a missing output: the gate fails and says where."""
    result = compare(PROBE, answer(*outputs))

    assert not result.passed
    worst = result.mismatches[0]
    assert (worst.row, worst.column) == (row, column)
    with pytest.raises(GateError, match=text) as caught:
        require(result, "f:2")
    assert caught.value.exit_code == 4
    assert caught.value.message.startswith("f:2 answers differently")


def test_null_counts_as_nan() -> None:
    """JSON has no NaN, so either side may write null for it; a number is something else."""
    probe = copy.deepcopy(PROBE)
    probe["expected"][1]["data"][0][0] = float("nan")

    assert compare(probe, answer(labels(1, 0), scores(None, 0.75, 0.9, 0.1))).passed
    assert not compare(probe, answer(*GOOD)).passed


def test_text_labels_must_be_equal() -> None:
    """BYTES are compared as text."""
    expected = {"name": "l", "datatype": "BYTES", "shape": [2], "data": ["yes", "no"]}
    probe = {**PROBE, "expected": [expected]}

    assert compare(probe, answer(expected)).passed
    assert not compare(probe, answer({**expected, "data": ["yes", "No"]})).passed


def test_a_probe_that_compares_nothing_does_not_pass() -> None:
    """An empty proof proves nothing."""
    result = compare({**PROBE, "expected": []}, answer())

    assert not result.passed
    with pytest.raises(GateError, match="compares nothing"):
        require(result, "f:1")


@pytest.mark.parametrize("outputs", [None, "x", [1], [{"name": "label"}]])
def test_an_answer_of_another_form_is_a_mismatch(outputs: Any) -> None:
    """Nonsense in place of outputs fails the gate without a traceback."""
    assert not compare(PROBE, {"outputs": outputs}).passed


def test_the_event_is_an_http_api_request() -> None:
    """Payload format 2.0, the Open Inference Protocol's path, and the probe's request as body."""
    event = infer_event("churn", PROBE["request"])

    assert event["version"] == "2.0"
    assert event["requestContext"]["http"]["method"] == "POST"
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/v2/models/churn/infer"
    assert json.loads(event["body"]) == PROBE["request"]
    assert event["headers"]["content-length"] == str(len(event["body"]))


@pytest.mark.parametrize("respond", [proven, encoded])
def test_the_gate_asks_exactly_the_version_it_judges(respond: Any) -> None:
    """The probe is sent to version N, whatever traffic N has."""
    asked: list[str] = []

    def note(version: str, event: Any) -> Any:
        asked.append(version)
        return respond(version, event)

    function = InMemoryLambda("f", image_uri("a"), respond=note)
    result = ProbeGate(function.client, "f", "churn", PROBE)("1")

    assert result.passed
    assert asked == ["1"]


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (http_answer({"error": "no such model"}, 404), "f:1 answered 404: .*no such model"),
        ({**http_answer({}), "body": "<html>"}, "no JSON: <html>"),
        (http_answer([1]), "no JSON object"),
        ("hello", "no HTTP response: b'\"hello\"'"),
        (None, "no HTTP response"),
        ({"statusCode": 200}, "no JSON: "),
        ({"statusCode": 200, "body": "%%", "isBase64Encoded": True}, "no HTTP response"),
        (http_answer({}), "answers differently"),
    ],
)
def test_anything_but_an_answer_fails_the_gate(response: Any, text: str) -> None:
    """Status, form and content are told apart in the message."""
    function = InMemoryLambda("f", image_uri("a"), respond=lambda _version, _event: response)

    with pytest.raises(GateError, match=text):
        ProbeGate(function.client, "f", "churn", PROBE)("1")


def test_a_crash_is_told_with_its_error() -> None:
    """The error's type and message reach the person who deploys."""

    def crash(version: str, event: Any) -> Any:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    function = InMemoryLambda("f", image_uri("a"), respond=crash)
    with pytest.raises(GateError, match=r"f:1 crashed: ImportError: libgomp"):
        ProbeGate(function.client, "f", "churn", PROBE)("1")


def test_a_crash_shows_the_end_of_its_log() -> None:
    """Lambda's log tail is appended to the message."""
    function = InMemoryLambda("f", image_uri("a"), respond=lambda *_: 1 / 0)

    def with_log(parsed: dict[str, Any], **_: Any) -> None:
        parsed["LogResult"] = base64.b64encode(b"START\n\nlast words\n").decode()

    function.client.meta.events.register("after-call.lambda.Invoke", with_log)
    with pytest.raises(GateError, match=r"(?s)ZeroDivisionError.*last words"):
        ProbeGate(function.client, "f", "churn", PROBE)("1")


AROUND = {
    "records": [{"name": "Zoë"}, {"name": "Ann"}],
    "answers": [{"risk": "high", "chance": 0.75, "why": ["age", 3]}, {"risk": None}],
    "tolerance": PROBE["tolerance"],
}


def test_answers_of_the_projects_own_code_pass_as_proven() -> None:
    """Numbers with a fraction may differ by the tolerance."""
    answers = copy.deepcopy(AROUND["answers"])
    answers[0]["chance"] = 0.75009

    result = compare_answers(AROUND, {"predictions": answers})

    assert (result.passed, result.checked) == (True, 5)


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([{"risk": "low", "chance": 0.75, "why": ["age", 3]}, {"risk": None}], "expected 'high'"),
        (
            [{"risk": "high", "chance": 0.8, "why": ["age", 3]}, {"risk": None}],
            "predictions.chance",
        ),
        ([{"risk": "high", "chance": 0.75, "why": ["age", 4]}, {"risk": None}], r"why\[1\]"),
        ([{"risk": "high", "chance": 0.75, "why": ["age"]}, {"risk": None}], "got"),
        ([{"risk": "high", "chance": 0.75, "why": ["age", 3]}, {"risk": 0}], "row 1"),
        ([{"risk": "high", "chance": 0.75, "why": ["age", 3]}, {}], "row 1"),
        ([{"risk": "high", "chance": 0.75, "why": ["age", 3]}], "expected '2 answers'"),
        (None, "expected '2 answers', got None"),
    ],
)
def test_an_answer_of_the_projects_own_code_that_differs_is_named(answers: Any, text: str) -> None:
    """The row and the place in the answer, whatever its form."""
    result = compare_answers(AROUND, {"predictions": answers})

    with pytest.raises(GateError, match=text):
        require(result, "f:1")


@pytest.mark.parametrize(("risk", "passes"), [("high", True), ("low", False)])
def test_the_gate_asks_predict_where_the_projects_own_code_runs(risk: str, *, passes: bool) -> None:
    """Both paths are asked of the version: the graph by tensors, the whole by records."""
    answers = [{**AROUND["answers"][0], "risk": risk}, AROUND["answers"][1]]
    asked = []

    def respond(version: str, event: Any) -> dict[str, Any]:
        asked.append(event["rawPath"])
        if event["rawPath"] != "/predict":
            return proven(version, event)
        assert json.loads(event["body"]) == {"records": AROUND["records"]}
        return http_answer({"predictions": answers})

    function = InMemoryLambda("f", image_uri("a"), respond=respond)
    gate = ProbeGate(function.client, "f", "churn", {**PROBE, **AROUND})

    if passes:
        assert gate("1").checked == 11
    else:
        with pytest.raises(GateError, match=r"predictions\.risk"):
            gate("1")
    assert asked == ["/v2/models/churn/infer", "/predict"]


def test_each_model_of_an_image_has_to_pass() -> None:
    """All are asked by their names; the reason names the one that differs."""
    asked = []

    def respond(version: str, event: Any) -> dict[str, Any]:
        asked.append(event["rawPath"])
        if event["rawPath"] == "/models/late/predict":
            return http_answer({"predictions": [{}, {}]})
        return proven(version, event)

    function = InMemoryLambda("f", image_uri("a"), respond=respond)

    def gate(*probes: tuple[str, dict[str, Any]]) -> AllGates:
        return AllGates([ProbeGate(function.client, "f", *one, named=True) for one in probes])

    first = ProbeGate(function.client, "f", "early", PROBE)("1").checked
    assert gate(("early", PROBE), ("late", PROBE))("1").checked == 2 * first
    with pytest.raises(GateError, match=r"^model 'late': f:1 answers differently"):
        gate(("early", PROBE), ("late", {**PROBE, **AROUND}))("1")
    assert asked[-3:] == [
        "/v2/models/early/infer", "/v2/models/late/infer", "/models/late/predict"
    ]  # fmt: skip
