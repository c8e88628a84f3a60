"""What is noted of a request while it is answered: moments, and where its parts lie."""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

Moments = tuple[int, int]
"""Begin and end, in nanoseconds since 1970."""

runs: ContextVar[list[Moments] | None] = ContextVar("runs", default=None)
"""When the model ran for the request that is being answered; None where nobody notes it."""


@dataclass(frozen=True, slots=True)
class Served:
    """One request and its answer; header names are in lower case, `more` are span attributes."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int
    moments: Moments
    runs: tuple[Moments, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def around(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs the model, and notes when it did."""

    @wraps(run)
    def noted(*args: Any, **more: Any) -> Any:
        noting = runs.get()
        if noting is None:
            return run(*args, **more)
        begun = time.time_ns()
        try:
            return run(*args, **more)
        finally:
            noting.append((begun, time.time_ns()))

    return noted


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables ask for traces; without any of them, not.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return environ.get("OTEL_TRACES_EXPORTER") == "otlp" and not disabled
