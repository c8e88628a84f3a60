"""Holds every request with an API key to what its key allows, whatever API Gateway has cached.

The authorizer says who is calling once a minute and key. Scopes, expiry and rate are looked at
here, with each request. The rate is counted in this process: Lambda runs one for each request under
way, so that a caller with five at once can have up to five times its rate. Counting in one place
would cost every request a write to a database, and the model's role the right to it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from fnmodel.serve.direct import Handler
from fnmodel.serve.record import Clock, Report, record, request_id
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.response import refused

_REMEMBERED = 1000
"""Keys whose rate is counted at the same time; the one not seen for longest is forgotten."""


class Admission:
    """A Lambda handler of HTTP API events before another; without a key's context it does nothing.

    `clock` gives seconds since any moment, `now` since 1970.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        version: str,
        report: Report,
        clock: Clock = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._handler = handler
        self._version = version
        self._report = report
        self._clock = clock
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Answer one event, or refuse it."""
        try:
            key = event["requestContext"]["authorizer"]["lambda"]
        except (KeyError, TypeError):
            key = None
        if key is None:
            return self._preflight(event) or self._handler(event, context)
        http = event["requestContext"]["http"]
        try:
            self._check(key, http["method"])
        except RefusalError as error:
            return self._refused(event, context, error)
        return self._handler(event, context)

    def _preflight(self, event: Any) -> dict[str, Any] | None:
        """Say yes to a browser that asks before it sends; API Gateway adds or withholds CORS."""
        if isinstance(event, dict) and str(event.get("routeKey")).startswith("OPTIONS "):
            return {"statusCode": 204, "headers": {}, "body": "", "isBase64Encoded": False}
        return None

    def _check(self, key: Mapping[str, Any], method: str) -> None:
        expires, rate = int(key["expires"]), int(key["rate"])
        if expires and self._now() >= expires:
            raise RefusalError(403, "this key has expired")
        # By method, not by path: no spelling of a path can get around it.
        scope = "predict" if method == "POST" else "metadata"
        if scope not in key["scopes"].split():
            raise RefusalError(403, f"this key lacks the scope {scope!r}")
        if rate and not self._take(key["key"], rate):
            raise RefusalError(429, f"over this key's {rate} requests a second")

    def _take(self, key: str, rate: int) -> bool:
        """Take a token from a key's bucket, which holds `rate` and gains as many a second."""
        moment = self._clock()
        tokens, last = self._buckets.pop(key, (float(rate), moment))
        tokens = min(float(rate), tokens + (moment - last) * rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, moment)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed

    def _refused(self, event: Any, context: Any, error: RefusalError) -> dict[str, Any]:
        http = event["requestContext"]["http"]
        identity = request_id(event, context, None)
        self._report(record(http["method"], http["path"], error.status, 0.0, 0, identity))
        headers = {"x-model-version": self._version, "x-request-id": identity}
        answer = refused(error.status, error.text, headers)
        if error.status == 429:
            answer["headers"]["retry-after"] = "1"
        return answer
