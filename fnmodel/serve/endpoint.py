"""One function from a call to an answer becomes an ASGI endpoint.

This spares each request the Request, Response and dependency machinery, yet fits any Starlette
route.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import orjson

from fnmodel.deadline import current
from fnmodel.engine import refused
from fnmodel.errors import CapacityError, DeadlineError, InputError
from fnmodel.serve.body import check_size, read_object
from fnmodel.serve.record import failure
from fnmodel.serve.refusal import RefusalError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from fnmodel.capture.rows import Pairs


@dataclass(frozen=True, slots=True)
class Call:
    """What an endpoint gets: parameters of the path, headers in lower case, the whole body.

    The answer is `due` at a moment of `time.monotonic`; None is whenever it comes. `gateway` is
    what API Gateway says of the request, its `requestContext`.
    """

    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    raw: bytes
    due: float | None = None
    gateway: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, or raise as `read_object`."""
        return read_object(self.raw)


@dataclass(frozen=True, slots=True)
class Answer:
    """Text as bytes, its status, and how many rows were scored for it.

    With binary tensors behind it, `head` bytes are JSON. The body may be in an `encoding`, and have
    `extra` headers, in lower case. Of a dialect whose rows `pairs_of` does not know, `pairs` finds
    them in both bodies for the capture. `model` is who answered where the path does not say.
    """

    body: bytes
    status: int = 200
    rows: int = 0
    head: int | None = None
    encoding: str = ""
    media: str = "application/json"
    extra: Mapping[str, str] | None = None
    pairs: "Callable[[bytes, bytes], Pairs | None] | None" = None
    model: str = ""

    @classmethod
    def of(cls, value: Any, *, status: int = 200, rows: int = 0) -> Self:
        """Make an answer of plain values and numpy arrays; NaN and infinities become null."""
        return cls(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, rows)

    @property
    def text(self) -> bool:
        """Whether the body is UTF-8."""
        return self.head is None and not self.encoding

    @property
    def headers(self) -> dict[str, str]:
        """What a caller has to know to read the body.

        KServe's client reads an error only when the type is application/json without parameters.
        """
        kind = self.media if self.head is None else "application/octet-stream"
        headers = {"content-type": kind, "content-length": str(len(self.body))}
        if self.extra:
            headers |= self.extra
        if self.head is not None:
            headers["inference-header-content-length"] = str(self.head)
        if self.encoding:
            headers |= {"content-encoding": self.encoding, "vary": "accept-encoding"}
        return headers


# Bytes. Below, there is little to spare: three packets at most.
_WORTH = 4096


# What is left of Lambda's time when the model is stopped, in seconds; and HTTP APIs wait for 30.
_MARGIN = 0.5
_LONGEST = 30 - _MARGIN


def due_by(context: Any) -> float | None:
    """Return when an answer is due by the context of Lambda; None without one."""
    try:
        seconds: float = context.get_remaining_time_in_millis() / 1000 - _MARGIN
    except AttributeError:
        return None
    return time.monotonic() + min(_LONGEST, seconds)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A function from a call to an answer, whose clients read errors in another form.

    `model` names who a call is for, where the path alone does not say.
    """

    answer: Callable[[Call], Answer]
    error: Callable[[int, str], Answer]
    model: Callable[[Call], str] | None = None

    def __call__(self, call: Call) -> Answer:
        """Answer a call."""
        return self.answer(call)


def refusal(answer: Callable[[Call], Answer], status: int, text: str) -> Answer:
    """Return an error as the clients of a function read it: `{"error": …}`, or its dialect's."""
    if isinstance(answer, Dialect):
        return answer.error(status, text)
    return Answer.of({"error": text}, status=status)


def respond(answer: Callable[[Call], Answer], call: Call, limit: int) -> Answer:
    """Return what a function answers, or its refusal; the limit is bytes."""
    try:
        check_size(len(call.raw), limit)
        current.moment = call.due
        made = answer(_plain(call, limit))
    except InputError as error:
        return refusal(answer, status_of(error), worded(error))
    except RefusalError as error:
        return refusal(answer, error.status, error.text)
    except MemoryError as error:
        return refusal(answer, 507, worded(refused(error)))
    finally:
        current.moment = None
    accepted = call.headers.get(b"accept-encoding")
    return made if accepted is None or len(made.body) < _WORTH else _packed(made, accepted)


def _plain(call: Call, limit: int) -> Call:
    encoding = call.headers.get(b"content-encoding")
    if encoding is None or not call.raw:
        return call
    from fnmodel.serve.compression import unpacked

    raw = unpacked(call.raw, encoding.decode("latin-1"), limit)
    return replace(call, raw=raw)


def _packed(made: Answer, accepted: bytes) -> Answer:
    from fnmodel.serve.compression import chosen, packed

    encoding = chosen(accepted.decode("latin-1"))
    if not encoding:
        return made
    return replace(made, body=packed(made.body, encoding), encoding=encoding)


def contain(
    answer: Callable[[Call], Answer], call: Call, identity: str, limit: int
) -> tuple[Answer, dict[str, str]]:
    """Respond, whatever happens; of an error that is ours, `exception` goes into the log.

    The model is somebody else's code: whatever it raises ends here.
    """
    more: dict[str, str] = {}
    try:
        made = respond(answer, call, limit)
    except Exception as error:
        made = refusal(answer, 500, failure(identity))
        more["exception"] = "".join(traceback.format_exception(error))
    if made.status != 200 and isinstance(answer, Dialect) and answer.model is not None:
        made = replace(made, model=answer.model(call))
    return made, more


_STATUSES: dict[type[InputError], int] = {DeadlineError: 504, CapacityError: 507}


def status_of(error: InputError) -> int:
    """Return the status of a mistake in the input, or of an input that is too much."""
    return _STATUSES.get(type(error), 400)


def worded(error: InputError) -> str:
    """Return what a caller reads of a mistake in the input."""
    return f"{error.message}; {error.hint}" if error.hint else error.message


class Endpoint:
    """An ASGI application that reads the body within the limit and calls one function."""

    def __init__(self, answer: Callable[[Call], Answer], limit: int) -> None:
        self._answer = answer
        self._limit = limit

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one HTTP request."""
        raw = await read_body(receive, self._limit)
        due = due_by(scope.get("aws.context"))
        gateway = (scope.get("aws.event") or {}).get("requestContext") or {}
        call = Call(scope["path_params"], dict(scope["headers"]), raw, due, gateway)
        answer = respond(self._answer, call, self._limit)
        scope["fnmodel.rows"] = answer.rows
        await send_answer(send, answer)


async def send_answer(
    send: "Send", answer: Answer, headers: Mapping[str, str] | None = None
) -> None:
    """Send one whole response, with more headers in lower case."""
    all_headers = {**answer.headers, **(headers or {})}
    lines = [(name.encode(), text.encode()) for name, text in all_headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def read_body(receive: "Receive", limit: int) -> bytes:
    """Return the body, or as much of it as shows that it is too large.

    Raises:
        ConnectionResetError: the caller has gone.

    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit or not message.get("more_body", False):
            return b"".join(parts)
