"""Who may call, in the embedded cloud: a stage for each kind of access, over HTTP and by curl."""

import base64
import json
import os
import pty
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cloud_cases import Project, request_of
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fnmodel.aws import Cloud
from fnmodel.sigv4 import Credentials, sign

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

ORIGIN = "https://app.example"
STAGES = """
cors: {{origins: ["https://app.example", "http://localhost:3000"]}}
stages:
  keyed: {{cloud: local, access: {{api_key: {{}}, health: public, docs: public}}}}
  twin: {{cloud: local, access: {{api_key: {{}}}}}}
  signed: {{cloud: local, access: {{iam: true}}}}
  token:
    cloud: local
    access: {{jwt: {{issuer: "{issuer}", audience: [wine], scopes: [score]}}}}
  prod: {{access: {{public: true}}}}
"""
Answer = tuple[int, dict[str, str], Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Issuer:
    """An OpenID Connect provider on this machine: a key, its JWKS, tokens."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = issuer.documents().get(self.path)
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def documents(self) -> dict[str, Any]:
        """Return what it serves by path."""
        public = self.key.public_key().public_numbers()
        n, e = public.n.to_bytes(256, "big"), public.e.to_bytes(3, "big")
        jwk = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": b64(n), "e": b64(e)}
        return {
            "/.well-known/openid-configuration": {"jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [jwk]},
        }

    def token(
        self, header: Any = None, *, key: rsa.RSAPrivateKey | None = None, **changes: Any
    ) -> str:
        """Return a signed token; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": "wine", "sub": "me", "scope": "openid score",
            "iat": now - 5, "nbf": now - 5, "exp": now + 300, **changes,
        }  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not None}
        head = {"alg": "RS256", "typ": "JWT", "kid": "1", **(header or {})}
        signed = ".".join(b64(json.dumps(part).encode()) for part in (head, kept))
        signature = (key or self.key).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64(signature)}"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Run an issuer of tokens."""
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Project]:
    """Train a model and declare a stage for each kind of access."""
    project = Project(tmp_path_factory.mktemp("access"), tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    with (project.folder / "fnmodel.yaml").open("a") as file:
        file.write(STAGES.format(issuer=issuer.url))
    yield project
    project.run("local", "stop")


@pytest.fixture(scope="module")
def urls(project: Project) -> dict[str, str]:
    """Deploy every local stage; return the URL of each."""
    names = ("keyed", "twin", "signed", "token")
    return {name: project.json("deploy", "--stage", name)["url"] for name in names}


@pytest.fixture(scope="module")
def key(project: Project, urls: dict[str, str]) -> str:
    """Return a key of stage `keyed` for everything."""
    made: str = project.json("keys", "add", "all", "--stage", "keyed")["key"]
    return made


def ask(
    url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None
) -> Answer:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    given = {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, found, text = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, found, text = error.code, error.headers, error.read()
    named = {name.lower(): value for name, value in found.items()}
    page = named.get("content-type", "").startswith("text/html")
    return status, named, text.decode() if page else json.loads(text) if text else None


ROUTES = (
    ("POST", "/predict"), ("POST", "/v2/models/wine/infer"), ("GET", "/v2"), ("GET", "/v2/"),
    ("GET", "/v2/models/wine"), ("GET", "/v2/models/wine/ready"), ("GET", "/openapi.json"),
    ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("GET", "/nowhere"), ("GET", "/"),
    ("DELETE", "/predict"), ("PUT", "/v2/models/wine"), ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/wine/unload"), ("HEAD", "/v2"), ("GET", "//v2/health/live"),
    ("GET", "/v2/health/live/"), ("POST", "/v2/health/live"), ("GET", "/%76%32/models/wine"),
    ("GET", "/docs"), ("GET", "/docs/"), ("POST", "/docs"),
)  # fmt: skip


@pytest.mark.parametrize("stage", ["keyed", "twin", "signed", "token"])
def test_every_route_asks_who_is_calling(urls: dict[str, str], stage: str) -> None:
    """Without credentials each is 401 or 403, whether it exists or not, but where it says so."""
    found = {route: ask(urls[stage] + route[1], route[0])[0] for route in ROUTES}
    open_ = {route for route, status in found.items() if status not in {401, 403}}

    if stage == "keyed":
        # API Gateway finds the route of a path with more slashes, too; the model answers 404.
        told = {
            ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"),
            ("GET", "/docs"), ("GET", "/openapi.json"),
        }  # fmt: skip
        assert told <= open_ <= told | {("GET", "//v2/health/live"), ("GET", "/docs/")}
    else:
        assert open_ == set()


@pytest.mark.parametrize("stage", ["keyed", "signed", "token"])
def test_an_unchanged_stage_is_left_alone(
    project: Project, urls: dict[str, str], stage: str
) -> None:
    """A second deploy finds nothing to do, whatever the access; `plan` says so, too."""
    assert project.json("deploy", "--stage", stage)["changed"] is False
    assert project.json("plan", "--stage", stage, "--detailed-exitcode")["changes"] == []


def test_no_route_manages_anything(urls: dict[str, str], key: str) -> None:
    """With a key for everything, what other model servers leave open is not there."""
    for path in ("index", "models/wine/unload", "models/wine/load"):
        headers = {"x-api-key": key}
        assert ask(f"{urls['keyed']}/v2/repository/{path}", "POST", {}, headers)[0] == 404


def test_a_key_opens_its_stage_and_no_other(
    project: Project, urls: dict[str, str], key: str
) -> None:
    """The good one answers; near ones, another stage's and none do not; the rest is logged away."""
    body = request_of(project)

    def status(stage: str, given: str | None) -> int:
        headers = {"x-api-key": given} if given is not None else {}
        return ask(f"{urls[stage]}/predict", "POST", body, headers)[0]

    assert status("keyed", key) == 200
    assert status("twin", key) == 403
    assert [status("keyed", given) for given in (None, "")] == [401, 401]
    wrong = (key[:-1], f"{key[:-1]}x", key.upper(), "fnm_x", "x" * 8000, f"Bearer {key}")
    assert [status("keyed", given) for given in wrong] == [403] * len(wrong)
    logs = (project.home / "local/emulator.log").read_text()
    assert key not in logs
    assert key not in project.run("logs", "--stage", "keyed").stdout
    assert key not in project.run("history", "--stage", "keyed", "-o", "json").stdout


def test_a_key_that_ended_opens_nothing(project: Project, urls: dict[str, str]) -> None:
    """Revoked before it was used: 403. In use: API Gateway may know it for a minute, not longer."""
    body = request_of(project)

    def made(name: str, *words: str) -> Any:
        return project.json("keys", "add", name, "--stage", "twin", *words)

    def status(given: Any) -> int:
        headers = {"x-api-key": given["key"]}
        return ask(f"{urls['twin']}/predict", "POST", body, headers)[0]

    unused, by_id = made("unused"), made("by-id", "--expires", "1h")
    project.run("keys", "revoke", "unused", "--stage", "twin")
    project.run("keys", "revoke", by_id["id"], "--stage", "twin")
    [ttl] = {
        one["AuthorizerResultTtlInSeconds"]
        for one in Cloud(endpoint_url=urls["twin"].split("/_aws")[0])
        .client("apigatewayv2")
        .get_authorizers(ApiId=urls["twin"].rpartition("/")[2])["Items"]
    }
    listed = {one["name"]: one for one in project.json("keys", "list", "--stage", "twin")}

    assert (status(unused), status(by_id)) == (403, 403)
    assert ttl == 60
    assert {name: listed[name]["state"] for name in ("unused", "by-id")} == {
        "unused": "revoked", "by-id": "revoked",
    }  # fmt: skip
    assert all("key" not in one and "digest" not in one for one in listed.values())


def test_scopes_and_rates_hold_though_the_answer_is_cached(
    project: Project, urls: dict[str, str]
) -> None:
    """A key for reading cannot predict; one with a rate gets 429 and when to come again."""
    reading = project.json("keys", "add", "reader", "--scope", "metadata", "--stage", "keyed")
    slow = project.json("keys", "add", "slow", "--rate", "2", "--stage", "keyed")
    url, body = urls["keyed"], request_of(project)

    seen = {"x-api-key": reading["key"]}
    assert ask(f"{url}/v2/models/wine", headers=seen)[0] == 200
    assert ask(f"{url}/predict", "POST", body, seen)[0] == 403
    answers = [
        ask(f"{url}/predict", "POST", body, {"x-api-key": slow["key"]}) for _ in range(8)
    ]  # fmt: skip
    refused = [answer for answer in answers if answer[0] == 429]
    assert {answer[0] for answer in answers} == {200, 429}
    assert refused[0][1]["retry-after"] == "1"


@pytest.mark.parametrize(
    ("stage", "variable"),
    [("keyed", "FNMODEL_API_KEY"), ("signed", ""), ("token", "FNMODEL_TOKEN")],
)
def test_invoke_and_its_curl_line_say_who_is_calling(
    project: Project, urls: dict[str, str], key: str, issuer: Issuer,
    stage: str, variable: str,
) -> None:  # fmt: skip
    """Both answer and show no secret; without one, or with a wrong one, an error says so."""
    secret = {"keyed": key, "token": issuer.token()}.get(stage, "")
    given = {variable: secret} if variable else {}
    ran = run(project, "invoke", "--stage", stage, "-o", "json", **given)
    said = json.loads(ran.stdout)
    shell = subprocess.run(
        ["bash", "-c", said["curl"]], env={**project.environment, **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert json.loads(shell.stdout) == said["answer"]
    assert not secret or secret not in ran.stdout + ran.stderr
    if variable:
        unset = run(project, "invoke", "--stage", stage, code=2)
        wrong = run(project, "invoke", "--stage", stage, code=6, **{variable: "nonsense"})
        assert f"export {variable}=" in unset.stderr
        assert "FNM-K001" in wrong.stderr
    assert project.json("invoke", "--version", "1", "--stage", stage)["version"] == "1"


def run(
    project: Project, *command: str, code: int = 0, **variables: str
) -> "subprocess.CompletedProcess[str]":
    ran = subprocess.run(
        [project.python, "-m", "fnmodel", *command], cwd=project.folder,
        env={**project.environment, **variables}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == code, f"{command}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran


def test_a_signature_is_for_one_request(project: Project, urls: dict[str, str]) -> None:
    """Signed it answers; with another body, path, key, service or time it does not."""
    url, body = f"{urls['signed']}/predict", json.dumps(request_of(project)).encode()

    def status(to: str = url, sent: bytes = body, **changes: Any) -> int:
        given: dict[str, Any] = {
            "service": "execute-api", "region": "us-east-1", "now": time.time(),
            "credentials": Credentials("test", "test"), **changes,
        }  # fmt: skip
        credentials = given.pop("credentials")
        headers = sign(
            "POST", url, {"content-type": "application/json"}, body, credentials, **given
        )
        return ask(to, "POST", sent, headers)[0]

    assert status() == 200
    assert status(sent=body + b" ") == 403
    assert status(to=url.replace("/predict", "/v2/models/wine/infer")) == 403
    assert status(credentials=Credentials("test", "guess")) == 403
    assert status(credentials=Credentials("root", "test")) == 403
    assert status(service="lambda") == 403
    assert status(region="eu-west-1") == 403
    assert [status(now=time.time() + shift) for shift in (-360, 360)] == [403, 403]
    assert ask(url, "POST", body, {"authorization": "AWS4-HMAC-SHA256 Credential=test"})[0] == 403


def claims_of(issuer: Issuer) -> dict[str, Callable[[], str]]:
    """Return thirty tokens that must not open anything."""
    token, now = issuer.token, time.time()
    other = rsa.generate_private_key(65537, 2048)

    def unsigned(**header: Any) -> str:
        return token(header).rpartition(".")[0] + "."

    def swapped() -> str:
        head, _, signature = token().split(".")
        claims = token(scope="openid score admin").split(".")[1]
        return f"{head}.{claims}.{signature}"

    return {
        "none": lambda: unsigned(alg="none"), "None": lambda: unsigned(alg="NONE"),
        "RS256 unsigned": unsigned, "none signed": lambda: token({"alg": "none"}),
        "HS256": lambda: token({"alg": "HS256"}), "ES256": lambda: token({"alg": "ES256"}),
        "another key": lambda: token(key=other), "claims swapped": swapped,
        "kid unknown": lambda: token({"kid": "2"}), "kid missing": lambda: token({"kid": None}),
        "kid a path": lambda: token({"kid": "../../keys"}),
        "kid a URL": lambda: token({"kid": f"{issuer.url}/keys"}),
        "kid SQL": lambda: token({"kid": "1' OR '1'='1"}),
        "kid a list": lambda: token({"kid": ["1"]}),
        "jku": lambda: token({"jku": f"{issuer.url}/evil", "kid": "evil"}),
        "jwk within": lambda: token({"jwk": {"kty": "RSA"}, "kid": "x"}, key=other),
        "crit": lambda: token({"crit": ["exp"]}), "expired": lambda: token(exp=int(now) - 1),
        "no expiry": lambda: token(exp=None), "expiry text": lambda: token(exp="never"),
        "expiry huge text": lambda: token(exp="9" * 400), "expiry true": lambda: token(exp=True),
        "not yet": lambda: token(nbf=int(now) + 600),
        "issued later": lambda: token(iat=int(now) + 600),
        "another audience": lambda: token(aud="beer"), "no audience": lambda: token(aud=None),
        "another issuer": lambda: token(iss="https://evil.example"),
        "issuer with a slash": lambda: token(iss=f"{issuer.url}/"),
        "too long": lambda: token(pad="x" * 20_000), "signature twice": lambda: token() + token(),
    }  # fmt: skip


def test_thirty_bad_tokens_open_nothing(
    project: Project, urls: dict[str, str], issuer: Issuer
) -> None:
    """The good one answers, before and after; one without the scope is 403, the others 401."""
    url, body = f"{urls['token']}/predict", request_of(project)

    def status(token: str, prefix: str = "Bearer ") -> int:
        return ask(url, "POST", body, {"authorization": f"{prefix}{token}"})[0]

    bad = claims_of(issuer)
    found = {name: status(make()) for name, make in bad.items()}

    assert len(bad) == 30
    assert status(issuer.token()) == 200
    assert {name: code for name, code in found.items() if code != 401} == {}
    assert status(issuer.token(scope="openid")) == 403
    assert status(issuer.token(aud=["x", "wine"])) == 200
    assert status("", "Basic dTpw") == 401


TRICKS = (
    "null", "*", "https://app.example.evil.example", "https://evil-app.example",
    "https://evilapp.example", "https://app.example.", "https://app.example:8443",
    "http://app.example", "https://app.example/", "https://app.example/path",
    "https://sub.app.example", "https://app.exampl", "https://app.example@evil.example",
    "https://app_example", "https://appxexample", "file://", "https://app.example, https://evil",
    "https://evil.example#https://app.example", "http://localhost:3001", "http://localhost.evil:3000",
)  # fmt: skip


@pytest.mark.parametrize("origin", TRICKS)
def test_pages_of_other_origins_are_not_let_in(urls: dict[str, str], key: str, origin: str) -> None:
    """Neither before a request nor with its answer; twenty spellings near a good origin."""
    asking = {"origin": origin, "access-control-request-method": "POST"}
    for headers in (
        ask(f"{urls['keyed']}/predict", "OPTIONS", headers=asking)[1],
        ask(f"{urls['keyed']}/v2", headers={"origin": origin, "x-api-key": key})[1],
    ):
        assert [name for name in headers if name.startswith("access-control-allow")] == []


def test_pages_that_are_named_are_let_in(urls: dict[str, str], key: str) -> None:
    """The browser may ask without a key, and then send with one; never with cookies."""
    asking = {"origin": ORIGIN, "access-control-request-method": "POST"}
    status, before, _ = ask(f"{urls['keyed']}/predict", "OPTIONS", headers=asking)
    answered = ask(f"{urls['keyed']}/v2", headers={"origin": ORIGIN, "x-api-key": key})

    assert len(TRICKS) == 20
    assert status == 204
    assert before["access-control-allow-origin"] == ORIGIN
    assert "x-api-key" in before["access-control-allow-headers"]
    assert (answered[0], answered[1]["access-control-allow-origin"]) == (200, ORIGIN)
    assert "access-control-allow-credentials" not in {**before, **answered[1]}


def test_a_stage_s_limits_are_the_api_s(project: Project, urls: dict[str, str]) -> None:
    """Over ten megabytes 413, over the integration's time 503, over the stage's rate 429."""
    url, name = f"{urls['twin']}/v2/health/ready", "fnmodel-wine-twin"
    cloud = Cloud(endpoint_url=urls["twin"].split("/_aws")[0])
    client, functions = cloud.client("apigatewayv2"), cloud.client("lambda")
    api = {"ApiId": urls["twin"].rpartition("/")[2]}
    headers = {"x-api-key": project.json("keys", "add", "limits", "--stage", "twin")["key"]}
    assert ask(url, "POST", b"x" * 10_485_761, headers)[0] == 413

    [integration] = client.get_integrations(**api)["Items"]
    known = {**api, "IntegrationId": integration["IntegrationId"]}
    client.update_integration(**known, TimeoutInMillis=50)
    # A version that nobody has asked yet: a process must start for it, which takes longer.
    functions.update_function_configuration(FunctionName=name, MemorySize=1024)
    number = functions.publish_version(FunctionName=name)["Version"]
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=number)
    late = ask(url, headers=headers)
    client.update_integration(**known, TimeoutInMillis=30_000)
    assert (late[0], late[2]) == (503, {"message": "Service Unavailable"})
    assert ask(url, headers=headers)[0] == 200

    slow = {"ThrottlingRateLimit": 0.1, "ThrottlingBurstLimit": 3}
    client.update_stage(**api, StageName="$default", DefaultRouteSettings=slow)
    answers = [ask(url, headers=headers) for _ in range(6)]
    assert (429, {"message": "Too Many Requests"}) in [(answer[0], answer[2]) for answer in answers]


def test_a_change_of_access_is_planned_and_then_done(
    project: Project, urls: dict[str, str], key: str
) -> None:
    """`plan` shows the routes and the words; `deploy` changes them, and nothing is published."""
    config = project.folder / "fnmodel.yaml"
    before = config.read_text()
    config.write_text(re.sub(r"access: {jwt: .*}", "access: {iam: true}", before))
    planned = project.json("plan", "--stage", "token", "--detailed-exitcode", code=3)
    text = project.run("plan", "--stage", "token").stdout
    deployed = project.json("deploy", "--stage", "token")
    state = project.json("status", "--stage", "token")
    refused = project.run("keys", "add", "x", "--stage", "token", code=2)
    config.write_text(before)
    back = project.json("deploy", "--stage", "token")

    assert planned["access"] == {"before": "jwt", "after": "iam"}
    assert "jwt → iam" in text
    changed = {change["logical_id"]: change["action"] for change in planned["changes"]}
    assert changed == {"ApiRoute": "may-replace", "TokenAuthorizer": "remove"}
    assert (deployed["version"], deployed["access"], state["access"]) == ("1", "iam", "iam")
    assert "access: {api_key: {}}" in refused.stderr
    assert (back["version"], back["access"]) == ("1", "jwt")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--public", "staging"), "this is stage prod"),
        ((), "would be public; nothing was done"),
    ],
)
def test_a_public_stage_in_aws_is_confirmed_by_its_name(
    project: Project, urls: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    """Without a terminal only `--public` with the right name does; nothing is done before."""
    ran = run(project, "deploy", "--stage", "prod", *words, code=2, **aws(urls))

    assert said in ran.stderr
    assert "FNM-U001" in ran.stderr
    assert "slim" not in ran.stderr


def test_the_right_name_goes_on(project: Project, urls: dict[str, str]) -> None:
    """Given as an option or typed, the deploy goes on to what AWS needs next: a base image."""
    by_option = run(project, "deploy", "--stage", "prod", "--public", "prod", code=2, **aws(urls))
    master, slave = pty.openpty()
    command = [project.python, "-m", "fnmodel", "deploy", "--stage", "prod"]
    for typed, expected in (("yes", "would be public"), ("prod", "image.base")):
        os.write(master, f"{typed}\n".encode())
        ran = subprocess.Popen(
            command, cwd=project.folder, env={**project.environment, **aws(urls), "CI": "1"},
            stdin=slave, stdout=subprocess.PIPE, stderr=slave,
        )  # fmt: skip
        seen = b""
        while expected.encode() not in seen:
            seen += os.read(master, 65_536)
        ran.communicate(timeout=60)
        assert ran.returncode == 2
        assert b"Type its name" in seen
    os.close(master)
    os.close(slave)

    assert "image.base" in by_option.stderr


def aws(urls: dict[str, str]) -> dict[str, str]:
    """Return what makes boto3 take the embedded cloud for AWS."""
    return {
        "AWS_ENDPOINT_URL": urls["keyed"].split("/_aws")[0], "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip


FAILING = """
import os

def preprocess(records):
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        raise RuntimeError("only in Lambda")
    return records
"""


def test_an_image_that_fails_its_gate_keeps_nobody_out(
    project: Project, urls: dict[str, str], key: str
) -> None:
    """The authorizer follows the model's image only once that has passed."""
    config = project.folder / "fnmodel.yaml"
    before, url = config.read_text(), f"{urls['keyed']}/predict"
    client = Cloud(endpoint_url=urls["keyed"].split("/_aws")[0]).client("cloudformation")

    def images() -> tuple[str, str]:
        [stack] = client.describe_stacks(StackName="fnmodel-wine-keyed")["Stacks"]
        found = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
        return found["ImageUri"], found["AuthorizerImageUri"]

    first = images()
    (project.folder / "processing.py").write_text(FAILING)
    config.write_text(f"processing: processing.py\n{before}")
    failed = project.run("deploy", "--stage", "keyed", code=4)
    half = images()
    answered = ask(url, "POST", request_of(project), {"x-api-key": key})
    config.write_text(before)
    project.train(0.02)
    project.run("deploy", "--stage", "keyed")
    last = images()

    assert "FNM-L002" in failed.stderr
    assert first[0] == first[1] == half[1] != half[0]
    assert (answered[0], answered[2]["model_version"]) == (200, "1")
    assert last[0] == last[1] not in {*first, *half}
    assert ask(url, "POST", request_of(project), {"x-api-key": key})[0] == 200


def test_a_restart_keeps_who_may_call(project: Project, urls: dict[str, str], key: str) -> None:
    """Keys, authorizers and routes come back."""
    project.run("local", "stop")
    project.run("local", "start")
    body = request_of(project)

    assert ask(f"{urls['keyed']}/predict", "POST", body, {"x-api-key": key})[0] == 200
    assert ask(f"{urls['keyed']}/predict", "POST", body)[0] == 401
    assert ask(f"{urls['signed']}/predict", "POST", body)[0] == 403


def test_destroy_takes_the_keys_along(project: Project, urls: dict[str, str]) -> None:
    """No table, function, role or log group of a keyed stage is left."""
    project.run("destroy", "--stage", "twin", "--yes")
    cloud = Cloud(endpoint_url=urls["twin"].split("/_aws")[0])
    left = [
        *cloud.client("dynamodb").list_tables()["TableNames"],
        *(f["FunctionName"] for f in cloud.client("lambda").list_functions()["Functions"]),
        *(role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]),
        *(g["logGroupName"] for g in cloud.client("logs").describe_log_groups()["logGroups"]),
    ]

    assert [name for name in left if "twin" in name] == []
