"""What stands before an HTTP API: signatures, the form of tokens, a stage's throttle."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from fnmodel.local.entrance import Throttle, said_instead, signature_flaw, token_flaw
from fnmodel.sigv4 import Credentials, sign

URL = "http://127.0.0.1:4566/_aws/execute-api/abc/predict"
BODY = b'{"records": []}'
TYPE = {"content-type": "application/json"}


def by_botocore(
    *,
    url: str = URL,
    body: bytes = BODY,
    service: str = "execute-api",
    region: str = "us-east-1",
    key: str = "test",
    secret: str = "test",
    token: str | None = None,
    headers: dict[str, str] = TYPE,
) -> dict[str, str]:
    """Return the headers of a POST that botocore has signed, names in lower case."""
    request = AWSRequest("POST", url, headers=headers, data=body)
    SigV4Auth(BotoCredentials(key, secret, token), service, region).add_auth(request)
    found = {name.lower(): value for name, value in request.headers.items()}
    return {"host": "127.0.0.1:4566", **found}


def flaw(headers: dict[str, str], *, body: bytes = BODY, **changes: Any) -> str | None:
    given: dict[str, Any] = {
        "method": "POST", "path": "/_aws/execute-api/abc/predict", "query": {},
        "keys": ("test", "test"), "region": "us-east-1", "now": time.time(), **changes,
    }  # fmt: skip
    method, path, query = (given.pop(name) for name in ("method", "path", "query"))
    return signature_flaw(method, path, query, headers, body, **given)


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize(
    "path", ["/predict", "/", "", "/v2/models/my%20wine/infer", "/a-b_c.d~e/%E6%A8%A1", "/p:q@r"]
)
def test_our_signature_is_botocore_s(path: str, token: str | None) -> None:
    """The same request at the same time has the same signature, whoever makes it."""
    url = f"https://abc.execute-api.eu-west-1.amazonaws.com{path}"
    expected = by_botocore(url=url, region="eu-west-1", secret="s/+", token=token)
    moment = time.mktime(time.strptime(expected["x-amz-date"], "%Y%m%dT%H%M%SZ")) - time.timezone
    found = sign(
        "POST", url, {"Content-Type": "application/json"}, BODY, Credentials("test", "s/+", token),
        service="execute-api", region="eu-west-1", now=moment,
    )  # fmt: skip

    assert found["authorization"] == expected["authorization"]
    assert found["x-amz-date"] == expected["x-amz-date"]
    assert "s/+" not in repr(Credentials("test", "s/+", "t"))


def test_a_good_signature_comes_in() -> None:
    """Signed by botocore and by us, with and without a query."""
    ours = sign(
        "POST", URL, TYPE, BODY, Credentials("test", "test"),
        service="execute-api", region="us-east-1", now=time.time(),
    )  # fmt: skip
    with_query = by_botocore(url=f"{URL}?b=2&a=1%20x")

    assert flaw(by_botocore()) is None
    assert flaw(ours) is None
    assert flaw(with_query, query={"b": ["2"], "a": ["1 x"]}) is None


WRONG: dict[str, Callable[[], str | None]] = {
    "not signed": lambda: flaw({"host": "h"}),
    "basic": lambda: flaw({**by_botocore(), "authorization": "Basic dGVzdDp0ZXN0"}),
    "only the word": lambda: flaw({**by_botocore(), "authorization": "AWS4-HMAC-SHA256 "}),
    "another secret": lambda: flaw(by_botocore(secret="guess")),
    "another key": lambda: flaw(by_botocore(key="root")),
    "another body": lambda: flaw(by_botocore(), body=b'{"records": [1]}'),
    "another body, hash kept": lambda: flaw(
        by_botocore(headers={**TYPE, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}), body=b"{}"
    ),
    "another path": lambda: flaw(by_botocore(), path="/_aws/execute-api/abc/v2"),
    "another API": lambda: flaw(by_botocore(), path="/_aws/execute-api/xyz/predict"),
    "another method": lambda: flaw(by_botocore(), method="GET"),
    "another query": lambda: flaw(by_botocore(), query={"a": ["1"]}),
    "another host": lambda: flaw({**by_botocore(), "host": "evil.example"}),
    "another region": lambda: flaw(by_botocore(region="eu-west-1")),
    "another service": lambda: flaw(by_botocore(service="s3")),
    "six minutes old": lambda: flaw(by_botocore(), now=time.time() + 360),
    "six minutes early": lambda: flaw(by_botocore(), now=time.time() - 360),
    "no date": lambda: flaw({**by_botocore(), "x-amz-date": "yesterday"}),
    "a header added": lambda: flaw({**by_botocore(), "x-amz-target": "x"}),
    "a header changed": lambda: flaw({**by_botocore(), "content-type": "text/plain"}),
    "a token added": lambda: flaw({**by_botocore(), "x-amz-security-token": "x"}),
    "no signed headers": lambda: flaw(
        {**by_botocore(), "authorization": by_botocore()["authorization"].replace("host;", "")}
    ),
    "no signature": lambda: flaw(
        {**by_botocore(), "authorization": by_botocore()["authorization"].split(", Sig")[0]}
    ),
    "cut": lambda: flaw({**by_botocore(), "authorization": by_botocore()["authorization"][:-1]}),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_as_it_was_signed_comes_not_in(what: str) -> None:
    """Nothing of a request can be changed, added or sent later."""
    assert WRONG[what]()


def token(header: Any, claims: Any, signature: str = "c2ln") -> str:
    parts = (part if isinstance(part, str) else json.dumps(part) for part in (header, claims))
    encoded = (base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    return ".".join([*encoded, signature])


RS256, SOON = {"alg": "RS256", "kid": "1"}, {"exp": 4_000_000_000}


@pytest.mark.parametrize(
    "bad",
    [
        token({"alg": "none"}, SOON), token({"alg": "None"}, SOON), token({"alg": "HS256"}, SOON),
        token({"alg": "ES256"}, SOON), token({}, SOON), token({"alg": ["RS256"]}, SOON),
        token({**RS256, "crit": ["b64"]}, SOON), token(RS256, {}), token(RS256, {"exp": "soon"}),
        token(RS256, {"exp": True}), token(RS256, {**SOON, "nbf": "x"}), token(RS256, [SOON]),
        token("[]", SOON), token(RS256, '{"exp": 1, "exp": 4000000000}'),
        token('{"alg": "none", "alg": "RS256"}', SOON), token(RS256, "not JSON"),
        token(RS256, "[" * 100_000), token(RS256, SOON, ""), token(RS256, SOON) + ".more",
        "", "..", "a.b", "a.b.c", "Bearer x", token(RS256, {**SOON, "x": "y" * 20_000}),
        token(RS256, SOON).replace(".", " ."), "\u00e9.e.e",
    ],
)  # fmt: skip
def test_a_token_of_another_form_is_refused(bad: str) -> None:
    """Whatever its signature is."""
    assert token_flaw(bad)


def test_a_token_of_the_right_form_may_be_tried() -> None:
    """Claims beyond the known ones do no harm."""
    assert token_flaw(token(RS256, {**SOON, "nbf": 1, "iat": 1.5, "sub": "x"})) is None


def test_a_stage_s_throttle_is_a_bucket() -> None:
    """Its burst at once, then its rate; each stage of each API has its own."""
    now = 0.0
    throttle = Throttle(lambda: now)
    settings = {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 3}
    first = [throttle.allows("a", "$default", settings) for _ in range(4)]
    other = throttle.allows("b", "$default", settings)
    now = 0.1
    later = [throttle.allows("a", "$default", settings) for _ in range(2)]

    assert first == [True, True, True, False]
    assert other
    assert later == [True, False]
    assert all(throttle.allows("c", "$default", {}) for _ in range(1000))


CRASH = b'{"errorType": "Runtime.ExitError", "errorMessage": "RequestId: 1 Error: exit status 137"}'
LARGE = b'{"errorType": "RequestTooLargeException", "errorMessage": "7000000 byte payload"}'
BUSY = b'{"Type": "User", "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, CRASH, (500, "Internal Server Error")),
        (502, LARGE, (413, "Request Entity Too Large")),
        (429, BUSY, (503, "Service Unavailable")),
        (200, b"{}", None),
        (500, b'{"error": "x"}', None),
    ],
)
def test_a_function_that_fails_is_told_in_the_api_s_words(
    status: int, body: bytes, expected: tuple[int, str] | None
) -> None:
    """A crash's own words stay in the log; no room in Lambda is 503."""
    assert said_instead(status, {"Content-Type": "application/json"}, body) == expected


@pytest.mark.parametrize("status", [429, 502])
def test_what_the_function_says_itself_is_left_alone(status: int) -> None:
    """A key over its rate is told so by the function, which gives each answer its id."""
    assert said_instead(status, {"X-Request-Id": "1", "retry-after": "1"}, b"{}") is None
