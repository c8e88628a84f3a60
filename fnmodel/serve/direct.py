"""The shortest way of an HTTP API event to the model, which is that of nearly every request.

Requests to the models' own paths are answered here, without a web framework: importing FastAPI
and Mangum takes longer than everything else in a cold start together, and passing a request
through them longer than its answer. They are loaded when the first request for anything else
comes, and answer it: wrong paths and methods, odd events. Tests hold that both ways give the same
bytes. The paths of other servers' dialects are answered here, too, and are loaded with the first
request that is for none of the models' own.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fnmodel.serve.endpoint import Answer, Call, contain, due_by
from fnmodel.serve.models import Models
from fnmodel.serve.octets import of_text
from fnmodel.serve.record import Clock, Report, echoed, record, request_id, traced
from fnmodel.serve.response import response, too_long
from fnmodel.serve.service import Service

if TYPE_CHECKING:
    from fnmodel.serve.capture import Capture

Routes = dict[tuple[str, str], tuple[Callable[[Call], Answer], Mapping[str, str]]]
"""What answers a method and a path, and the names in that path."""

Handler = Callable[[Any, Any], dict[str, Any]]
"""A Lambda handler of HTTP API events, payload format 2.0."""

_UNESCAPED = re.compile(r"[A-Za-z0-9_.~/:-]+")


class Direct:
    """A Lambda handler that answers the models' own paths, and hands other requests on.

    `others` makes the handler that these go to; it is called once, when it is needed. `capture`
    takes note of predictions; somebody has to flush it after the response.
    """

    def __init__(
        self,
        models: Models,
        *,
        report: Report,
        clock: Clock,
        others: Callable[[], Handler],
        capture: "Capture | None" = None,
    ) -> None:
        self._report = report
        self._capture = capture
        self._clock = clock
        self._make_others = others
        self._version, self._limit = models.version, models.limit
        self._first, self._named = models.first.name, models.named
        self._models = models
        self._routes = _unescaped(routes(models))

    @cached_property
    def _dialects(self) -> Routes:
        from fnmodel.serve.dialects.routes import routes as dialects

        return _unescaped(dialects(self._models))

    @cached_property
    def _others(self) -> Handler:
        return self._make_others()

    def __call__(self, event: Any, context: Any) -> dict[str, Any]:
        """Return the HTTP API response of one event."""
        started = self._clock()
        try:
            http = event["requestContext"]["http"]
            method, path = http["method"], http["path"]
            key = method, path
            answer, names = self._routes.get(key) or self._dialects[key]
            headers = {
                key.lower().encode(): value.encode() for key, value in event["headers"].items()
            }
            gateway = event["requestContext"]
            call = Call(names, headers, _body(event), due_by(context), gateway)
        except (KeyError, TypeError, ValueError, AttributeError):
            return self._others(event, context)
        given = headers.get(b"x-request-id")
        identity = request_id(event, context, given.decode("latin-1") if given else None)
        made, more = contain(answer, call, identity, self._limit)
        seconds = self._clock() - started
        more |= traced(context, headers, identity)
        model = made.model or names.get("model", "")
        answered = response(made, version=self._version, identity=identity)
        answered["headers"] |= echoed(headers, more)
        carried = too_long(answered)
        if carried is not answered:
            made = Answer(carried["body"].encode(), carried["statusCode"])
        if self._named and model:
            more["model"] = model
        self._report(
            {
                **record(method, path, made.status, seconds, made.rows, identity),
                "request_bytes": len(call.raw),
                "response_bytes": len(made.body),
                **more,
            }
        )
        # Who asks a version by its number tries it out; only an alias has callers.
        if self._capture is not None and "alias" in more:
            self._capture.take(call.raw, made, identity, more["alias"], model or self._first)
        return carried


def _unescaped(table: Routes) -> Routes:
    # A path that would be escaped on its way is left to the router, which undoes that.
    return {key: route for key, route in table.items() if _UNESCAPED.fullmatch(key[1])}


def routes(models: Models) -> Routes:
    """Return the models' own paths, unescaped: what needs no web framework, in whatever host."""
    first = models.first
    table: Routes = {
        ("POST", "/predict"): (first.predict, {"model": first.name}),
        ("GET", "/v2/health/live"): (models.live, {}),
        ("GET", "/v2/health/ready"): (models.ready, {}),
        ("GET", "/v2"): (models.server, {}),
        ("GET", "/v2/"): (models.server, {}),
        ("GET", "/openapi.json"): (models.openapi, {}),
        ("GET", "/docs"): (models.docs, {}),
    }
    for service in models.services:
        table |= _of_one(service)
    return table


def _of_one(service: Service) -> Routes:
    name, version = service.name, service.version
    plain = {"model": name}
    table: Routes = {("POST", f"/models/{name}/predict"): (service.predict, plain)}
    for path, names in (
        (f"/v2/models/{name}", plain),
        (f"/v2/models/{name}/versions/{version}", {**plain, "version": version}),
    ):
        table["POST", f"{path}/infer"] = (service.infer, names)
        table["GET", f"{path}/ready"] = (service.model_ready, names)
        table["GET", path] = (service.model, names)
    return table


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    return of_text(body) if event.get("isBase64Encoded") else body.encode()
