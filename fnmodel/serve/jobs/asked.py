"""What a caller asks of a job, and who the caller is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fnmodel.serve.endpoint import Call
from fnmodel.serve.refusal import RefusalError

MEDIA = {"csv": "text/csv", "jsonl": "application/jsonl"}
_NAMES = {"format", "results", "error_budget"}


@dataclass(frozen=True)
class Asked:
    """A job's model, its formats, and the share of rows that may be bad."""

    model: str
    format: str
    results: str
    error_budget: float

    @property
    def media(self) -> str:
        """The content type that an upload has to have."""
        return MEDIA[self.format]

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored, and as a batch event says it."""
        return asdict(self)


def read(call: Call, model: str, formats: Sequence[str]) -> Asked:
    """Read the body of a request for a job; all of it may be left out.

    Raises:
        RefusalError: 400, all that is wrong with it.
        InputError: it is no JSON object.

    """
    body = call.json() if call.raw else {}
    kind = body.get("format", formats[0])
    results = body.get("results", kind)
    budget = body.get("error_budget", 0.01)
    problems = [f"unknown field {name!r}" for name in sorted(body.keys() - _NAMES)]
    problems += [
        f"{name!r} must be one of {', '.join(formats)}"
        for name, value in (("format", kind), ("results", results))
        if value not in formats
    ]
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 <= budget <= 1:
        problems.append("'error_budget' must be a number from 0 to 1")
    if problems:
        raise RefusalError(400, "; ".join(problems))
    return Asked(model, kind, results, float(budget))


def owner(gateway: Mapping[str, Any]) -> str:
    """Return who is calling, by what API Gateway says of the request; empty where anybody may.

    A role is its own owner, whatever the session is called.
    """
    authorizer = gateway.get("authorizer")
    if not isinstance(authorizer, Mapping):
        return ""
    if isinstance(found := authorizer.get("iam"), Mapping):
        arn = str(found.get("userArn") or found.get("callerId") or "")
        return "iam " + (arn.rpartition("/")[0] if ":assumed-role/" in arn else arn)
    if isinstance(found := authorizer.get("jwt"), Mapping):
        claims = found.get("claims") or {}
        return f"jwt {claims.get('iss', '')} {claims.get('sub') or claims.get('client_id', '')}"
    if isinstance(found := authorizer.get("lambda"), Mapping):
        return f"key {found.get('key', '')}"
    return ""
