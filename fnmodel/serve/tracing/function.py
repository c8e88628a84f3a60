"""Around a Lambda handler: notes each HTTP API request, and exports it after its response."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from fnmodel.serve.direct import Handler
from fnmodel.serve.tracing.served import Served, runs


class TracedHandler:
    """A handler of HTTP API events that hands each with its answer to `take`."""

    def __init__(self, handler: Handler, take: Callable[[Served], object]) -> None:
        self._handler = handler
        self._take = take
        self._cold = True

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer one event."""
        noted: list[tuple[int, int]] = []
        token = runs.set(noted)
        begun = time.time_ns()
        try:
            answer = self._handler(event, context)
        finally:
            runs.reset(token)
        moments = (begun, time.time_ns())
        http = _mapping(_mapping(_mapping(event).get("requestContext")).get("http"))
        self._take(
            Served(
                method=str(http.get("method", "_OTHER")),
                path=str(http.get("path", "/")),
                headers=_headers(_mapping(event).get("headers")),
                status=answer["statusCode"],
                moments=moments,
                runs=tuple(noted),
                more={
                    "faas.trigger": "http",
                    "faas.coldstart": self._cold,
                    **_known("faas.invocation_id", getattr(context, "aws_request_id", None)),
                    **_known("cloud.resource_id", getattr(context, "invoked_function_arn", None)),
                    **_known("user_agent.original", http.get("userAgent")),
                    "http.response.header.x-request-id": [
                        answer["headers"].get("x-request-id", "")
                    ],
                },
            )
        )
        self._cold = False
        return answer


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _headers(given: Any) -> dict[str, str]:
    return {str(k).lower(): v for k, v in _mapping(given).items() if isinstance(v, str)}


def _known(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if isinstance(value, str) and value else {}
