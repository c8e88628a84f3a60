"""Webhooks are signed as the specification says, and go to public addresses over TLS only."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fnmodel.errors import AlertError, InputError
from fnmodel.watch.signing import headers, key_of, sign, verify
from fnmodel.watch.webhook import Target, allowed, send

KEY = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
BODY = b'{"test": 2432232314}'


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that other implementations carry."""
    assert sign(KEY, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    ("change", "body", "now"),
    [
        ({}, b"{}", 1000),
        ({"webhook-id": "other"}, BODY, 1000),
        ({"webhook-timestamp": "1001"}, BODY, 1000),
        ({"webhook-signature": "v1,AAAA"}, BODY, 1000),
        ({"webhook-signature": ""}, BODY, 1000),
        ({}, BODY, 1301),
        ({}, BODY, 699),
    ],
)
def test_what_was_changed_or_kept_is_refused(change: Any, body: bytes, now: int) -> None:
    """Body, id, time and signature belong together, for five minutes."""
    signed = headers(KEY, "one", 1000, BODY)
    assert verify(KEY, signed, BODY, 1300) == "one"
    both = {**signed, "webhook-signature": "v1,AAAA " + signed["webhook-signature"]}
    assert verify(KEY, both, BODY, 1000) == "one"

    with pytest.raises(InputError):
        verify(KEY, {**signed, **change}, body, now)


@pytest.mark.parametrize("secret", ["whsec_short", "whsec_AAAA", "whsec_%%%%"])
def test_a_poor_secret_is_refused_without_being_said(secret: str) -> None:
    """The message must be fit for a log."""
    with pytest.raises(InputError) as caught:
        key_of(secret)
    assert secret.removeprefix("whsec_") not in caught.value.message


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0",
     "::1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1", "224.0.0.1"],
)  # fmt: skip
def test_no_message_goes_to_a_private_address(address: str) -> None:
    """Neither alone nor beside a public one."""
    assert allowed("h", ["8.8.8.8"], inside=False) == "8.8.8.8"
    assert allowed("h", [address], inside=True) == address
    with pytest.raises(AlertError, match="public"):
        allowed("h", ["8.8.8.8", address], inside=False)


def test_plain_http_is_refused() -> None:
    """Even where the address is public."""
    with pytest.raises(AlertError, match="https"):
        send(Target("http://example.com/"), KEY, "one", BODY)


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses it is given, and keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def target(self) -> Target:
        """Where it listens."""
        return Target(f"http://127.0.0.1:{self.server_address[1]}/hook?a=b", inside=True)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((self.path, sent, body))
        self.send_response(self.server.answers.pop(0))
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_receiver_that_is_down_is_asked_again(receiver: Receiver) -> None:
    """Each attempt is signed anew, with the same id."""
    receiver.answers = [503, 429, 204]
    waits: list[float] = []
    times = iter([1000.0, 1001.0, 1005.0])

    send(receiver.target, KEY, "one", BODY, sleep=waits.append, clock=lambda: next(times))

    assert waits == [1.0, 4.0]
    assert [verify(KEY, sent, body, 1000) for _, sent, body in receiver.got] == ["one"] * 3
    assert {path for path, _, _ in receiver.got} == {"/hook?a=b"}


@pytest.mark.parametrize(("answers", "asked"), [([302], 1), ([404], 1), ([500, 500, 500], 3)])
def test_what_is_refused_is_said(receiver: Receiver, answers: list[int], asked: int) -> None:
    """A redirect is not followed: it could lead to an address that nobody looked at."""
    receiver.answers = list(answers)
    with pytest.raises(AlertError, match=f"HTTP {answers[-1]}"):
        send(receiver.target, KEY, "one", BODY, sleep=lambda _seconds: None)
    assert len(receiver.got) == asked
