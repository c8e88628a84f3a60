"""A real boto3 client whose calls are answered in memory.

The client checks parameters and raises its own exceptions as it does against AWS; only the request
itself stays here.
"""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from fnmodel.aws import Cloud

Answer = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Takes an operation (`UpdateAlias`) and its parameters; returns the answer or raises Refused."""

# Nothing listens there: a call that is not answered in memory fails at once.
_NOWHERE = Cloud(endpoint_url="http://127.0.0.1:9")


class RefusedError(Exception):
    """What the service would refuse: an error code, a message, an HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def client_answered_by(service: str, answer: Answer) -> Any:
    """Return a boto3 client of a service whose operations `answer` answers."""
    client = _NOWHERE.client(service)

    def keep(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = dict(params)

    def reply(model: Any, context: Mapping[str, Any], **_: Any) -> tuple[Any, Mapping[str, Any]]:
        try:
            parsed = dict(answer(model.name, context["asked"]))
        except RefusedError as refused:
            error = {"Code": refused.code, "Message": refused.message}
            return SimpleNamespace(status_code=refused.status), {"Error": error}
        return SimpleNamespace(status_code=200), parsed

    name = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parameter-build.{name}", keep)
    client.meta.events.register(f"before-call.{name}", reply)
    return client
