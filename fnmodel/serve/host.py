"""The same answers over plain HTTP: an ASGI application over the paths that Lambda's host has.

The event loop only reads and writes, so that health checks are answered while models run:
predictions run in a pool of threads, since ONNX Runtime lets go of the interpreter's lock. Who
comes when the pool's queue is full is asked to come again. As in Lambda, the web framework is
loaded with the first request that needs it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from fnmodel.serve.body import too_large
from fnmodel.serve.dialects.routes import routes as dialects
from fnmodel.serve.direct import routes
from fnmodel.serve.endpoint import Answer, Call, contain, read_body, refusal, send_answer
from fnmodel.serve.models import Models
from fnmodel.serve.record import Clock, Report, echoed, record, request_id, traced
from fnmodel.serve.refusal import RefusalError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# What Kubernetes asks where nobody tells it the protocol's own paths; / and /health are among the
# dialects' paths. There is no /healthz: Google's front end takes it for itself.
_PROBES = {
    "/readyz": "/v2/health/ready",
    "/livez": "/v2/health/live",
}
# What takes longer to write than the event loop may be kept from other requests.
_WRITTEN = frozenset({"/openapi.json", "/docs"})


def _nothing_to_keep(raw: bytes, answer: Answer, request_id: str, alias: str, model: str) -> None:
    """Stand in for `Capture.take` where nothing is captured."""


class Host:
    """An ASGI application that answers the models' paths, and hands other requests on.

    `room` predictions may be in `pool` or wait for it; a body may take `body_seconds` to
    come, and its answer `seconds` from then on.
    `others` makes the application that other requests go to; it is called once, when it is needed,
    in a thread.
    """

    def __init__(
        self,
        models: Models,
        *,
        report: Report,
        clock: Clock,
        pool: Executor,
        room: int,
        others: Callable[[], "ASGIApp"],
        body_seconds: float = 60.0,
        seconds: float = 60.0,
    ) -> None:
        self.capture: Callable[[bytes, Answer, str, str, str], object] = _nothing_to_keep
        """Takes note of predictions, as `Capture.take`."""
        self.cut_off = 0
        """Requests that were cancelled before they had their answer."""
        self.models = models
        self._routes = routes(models) | dialects(models)
        self._version, self._limit = models.version, models.limit
        self._first, self._named = models.first.name, models.named
        self._report = report
        self._clock = clock
        self._pool = pool
        self._room = room
        self._busy = 0
        self._body_seconds = body_seconds
        self._seconds = seconds
        self._make_others = others
        self._others: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one HTTP request."""
        started = self._clock()
        method: str = scope["method"]
        path: str = scope["path"]
        asks = method in ("GET", "HEAD")
        key = "GET" if asks else method, _PROBES.get(path, path)
        route = self._routes.get(key)
        if route is None:
            await (await self._framework())(scope, _nothing, send)
            return
        answer, names = route
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        identity = request_id({}, None, given.decode("latin-1") if given else None)
        joined = traced(None, headers, identity)
        extra = {
            "x-model-version": self._version,
            "x-request-id": identity,
            **echoed(headers, joined),
        }

        def told(made: Answer, more: Mapping[str, str]) -> Answer:
            seconds = self._clock() - started
            known = record(method, path, made.status, seconds, made.rows, identity)
            model = made.model or names.get("model", "")
            named = {"model": model} if self._named and model else {}
            self._report({**known, **joined, **named, **more})
            return made

        def predict(call: Call) -> Answer:
            made = told(*contain(answer, call, identity, self._limit))
            model = made.model or names.get("model", self._first)
            self.capture(call.raw, made, identity, "", model)
            return made

        try:
            if asks and path not in _WRITTEN:
                made, more = contain(answer, Call(names, headers, b""), identity, self._limit)
                if made.status != 200:  # probes that succeed would be most of the log
                    told(made, more)
            else:
                made = await self._admitted(names, headers, receive, predict)
        except RefusalError as error:
            made = told(refusal(answer, error.status, error.text), {})
            if error.status == 503:
                extra["retry-after"] = "1"
        except ConnectionResetError:
            return
        await send_answer(send, made, extra)

    async def _admitted(
        self,
        names: Mapping[str, str],
        headers: Mapping[bytes, bytes],
        receive: "Receive",
        predict: Callable[[Call], Answer],
    ) -> Answer:
        """Read a request and have it predicted, if there is room.

        Raises:
            RefusalError: 503, there is none; 408 or 413, the body is late or too large.
            ConnectionResetError: the caller has gone.

        """
        if int(headers.get(b"content-length", b"0")) > self._limit:
            raise too_large(self._limit)
        if self._busy >= self._room:
            raise RefusalError(503, f"{self._busy} requests are waiting already; try again")
        self._busy += 1
        try:
            async with asyncio.timeout(self._body_seconds):
                raw = await read_body(receive, self._limit)
            loop = asyncio.get_running_loop()
            call = Call(names, headers, raw, time.monotonic() + self._seconds)
            return await loop.run_in_executor(self._pool, predict, call)
        except TimeoutError:
            raise RefusalError(408, f"the body took longer than {self._body_seconds:g} s") from None
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        finally:
            self._busy -= 1

    async def _framework(self) -> "ASGIApp":
        if self._others is None:
            loop = asyncio.get_running_loop()
            self._others = asyncio.ensure_future(loop.run_in_executor(None, self._make_others))
        return await asyncio.shield(self._others)


async def _nothing() -> Any:
    """Stand in for a body, which no answer of the framework depends on here."""
    return {"type": "http.request", "body": b"", "more_body": False}
