"""The card as JSON, in the words of Google's model card schema, and Hugging Face's metadata.

The first four parts are those of the schema (https://modelcards.withgoogle.com), which CycloneDX
has too; the others are what it has no place for.
"""

from collections.abc import Iterator
from typing import Any

from fnmodel.card.facts import Data, Facts

SCHEMA = 1


def to_json(facts: Facts) -> dict[str, Any]:
    """Return the card as plain data; what is missing is null, and `missing` says why."""
    parity, reference = facts.parity, facts.reference
    return {
        "schema": SCHEMA,
        "made": facts.made,
        "model_details": {
            "name": facts.name,
            "overview": facts.said.get("overview", ""),
            "owners": [{"name": name} for name in facts.said.get("owners", ())],
            "version": {"name": facts.digest},
            "licenses": [{"identifier": name} for name in _one(facts.said.get("license"))],
            "references": [{"reference": name} for name in facts.said.get("references", ())],
        },
        "model_parameters": {
            "model_architecture": f"{parity['framework']} {parity['version']} as ONNX opset "
            f"{parity['opset']}, {parity['how']}",
            "input_format": facts.signature.to_json()["inputs"],
            "output_format": facts.signature.to_json()["outputs"],
            "features": facts.signature.to_json()["features"],
            "data": [
                {
                    "name": "training sample",
                    "description": facts.said.get("training_data", ""),
                    "profile": reference.to_json(),
                }
            ]
            if reference
            else None,
        },
        "quantitative_analysis": {"performance_metrics": list(_metrics(facts))},
        "considerations": {
            "users": [{"description": one} for one in facts.said.get("users", ())],
            "use_cases": [{"description": one} for one in facts.said.get("use_cases", ())],
            "limitations": [{"description": one} for one in facts.said.get("limitations", ())],
            "out_of_scope": list(facts.said.get("out_of_scope", ())),
            "ethical_considerations": [
                {"name": one} for one in facts.said.get("ethical_considerations", ())
            ],
        },
        "size_bytes": facts.size,
        "parity": parity,
        "limits": {
            "memory_mb": facts.limits.memory,
            "timeout_s": facts.limits.timeout,
            "request_s": facts.limits.request_seconds,
            "body_bytes": facts.limits.body_bytes,
        },
        "image": facts.image,
        "releases": None if facts.releases is None else list(facts.releases),
        "traffic": facts.traffic,
        "drift": facts.drift,
        "usage": {"url": facts.usage.url, "access": facts.usage.access, "curl": facts.usage.curl}
        if facts.usage
        else None,
        "huggingface": _metadata(facts),
        "missing": dict(facts.missing),
    }


def _one(value: str | None) -> list[str]:
    return [value] if value else []


def _metrics(facts: Facts) -> Iterator[dict[str, Any]]:
    """Yield figures of the ONNX model on the sample's labels, and those of gates."""
    for one in facts.parity["metrics"]:
        yield {"type": one["name"], "value": one["onnx"]}
    for gate in facts.parity["gates"]:
        yield {"type": gate["name"], "value": gate["value"], **_judged(gate)}
        for group in gate.get("groups", ()):
            for rate, value in group["rates"].items():
                yield {"type": rate, "value": value, "slice": group["name"]}


def _judged(gate: Data) -> dict[str, Any]:
    found: dict[str, Any] = {"threshold": gate["threshold"], "passed": gate["passed"]}
    if gate.get("low") is not None:
        bounds = {"lower_bound": gate["low"], "upper_bound": gate["high"]}
        found["confidence_interval"] = bounds
    return found


_TASKS = {
    "classification": "tabular-classification",
    "regression": "tabular-regression",
    "other": "other",
}


def _metadata(facts: Facts) -> dict[str, Any]:
    """Return the metadata block of a model card on the Hugging Face hub."""
    tabular = bool(facts.signature.features)
    made: dict[str, Any] = {"library_name": "onnx", "tags": ["onnx", facts.parity["framework"]]}
    if tabular:
        made["pipeline_tag"] = _TASKS[facts.signature.task]
    if facts.said.get("license"):
        made["license"] = facts.said["license"].lower()
    metrics = [one["name"] for one in facts.parity["metrics"]]
    if metrics:
        made["metrics"] = metrics
    return made
