"""API keys: made by hand, asked for by API Gateway, held to with every request."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from release_cases import Emulator

from fnmodel import apikey
from fnmodel.apikey import ApiKey
from fnmodel.errors import AwsError, EndpointError, UsageError
from fnmodel.provision.keys import ApiKeys, Made
from fnmodel.release.probe import http_event
from fnmodel.serve.admission import Admission
from fnmodel.serve.authorizer import COARSE, authorize
from fnmodel.serve.dynamodb import Table
from fnmodel.sigv4 import Credentials

pytest_plugins = ["release_emulator"]

NOW = 1_900_000_000.0


class Keys:
    """A table of keys in memory."""

    def __init__(self, *keys: ApiKey) -> None:
        self.items: dict[str, Any] = {key.id: key.to_item() for key in keys}
        self.read: list[str] = []
        self.broken = ""

    def get(self, key: str) -> Any:
        """Return an item, and note that it was asked for."""
        self.read.append(key)
        return self.items.get(key)

    def touch(self, key: str, name: str, value: int) -> None:
        """Set a number of an item."""
        if self.broken:
            raise AwsError(self.broken)
        self.items[key][name] = {"N": str(value)}


def made(**changes: Any) -> tuple[ApiKey, str]:
    identity, secret = apikey.generate()
    return ApiKey(identity, "ci", apikey.digest(secret), created=int(NOW), **changes), secret


def ask(keys: Keys, secret: Any, *, now: float = NOW, lines: list[str] | None = None) -> Any:
    event = {"version": "2.0", "type": "REQUEST", "identitySource": [secret]}
    said = [] if lines is None else lines
    return authorize(event, keys, now=lambda: now, log=said.append)


def test_a_good_key_comes_in_with_what_it_may_do() -> None:
    """The answer is a simple one, and carries scopes, expiry and rate for every request."""
    key, secret = made(scopes=("predict",), expires=int(NOW) + 60, rate=5)

    assert ask(Keys(key), secret) == {
        "isAuthorized": True,
        "context": {
            "key": key.id, "name": "ci", "scopes": "predict", "expires": int(NOW) + 60, "rate": 5,
        },
    }  # fmt: skip


def tricks(secret: str) -> dict[str, Any]:
    """Return what is no key, though close to one."""
    _, identity, tail = secret.split("_")
    last = "0" if tail[-1] != "0" else "1"
    return {
        "empty": "", "none": None, "a list": [secret], "a number": 3, "only the id": identity,
        "another secret": f"fnm_{identity}_{tail[:-1]}{last}", "no prefix": f"{identity}_{tail}",
        "another id": f"fnm_{'0' * 12}_{tail}", "upper case": secret.upper(),
        "a blank before": f" {secret}", "a line end after": f"{secret}\n", "cut": secret[:-1],
        "longer": f"{secret}0", "bearer": f"Bearer {secret}", "two": f"{secret},{secret}",
        "NUL": f"{secret}\0", "other digits": secret.replace("0", "\u0660") + "\u0660",
        "its hash": apikey.digest(secret), "a surrogate": "\ud800", "huge": "f" * 1_000_000,
    }  # fmt: skip


@pytest.mark.parametrize("trick", tricks(apikey.generate()[1]))
def test_what_is_not_the_key_comes_not_in(trick: str) -> None:
    """Twenty strings that are near a key are refused, and no odd one is looked up."""
    key, secret = made()
    keys = Keys(key)

    assert ask(keys, tricks(secret)[trick]) == {"isAuthorized": False}
    assert set(keys.read) <= {key.id, "0" * 12}


@pytest.mark.parametrize("event", [{}, {"identitySource": None}, {"identitySource": []}])
def test_an_event_without_a_key_comes_not_in(event: dict[str, Any]) -> None:
    """API Gateway does not ask then; whoever does gets a no."""
    assert authorize(event, Keys()) == {"isAuthorized": False}


@pytest.mark.parametrize(
    ("changes", "state"),
    [({"expires": int(NOW)}, "expired"), ({"revoked": int(NOW) - 5}, "revoked")],
)
def test_a_key_that_ended_comes_not_in(changes: dict[str, int], state: str) -> None:
    """From its last second on it opens nothing."""
    key, secret = made(**changes)

    assert ask(Keys(key), secret) == {"isAuthorized": False}
    assert key.state(NOW) == state


def test_the_last_use_is_coarse_and_never_keeps_anybody_out() -> None:
    """It is written once an hour; where it cannot be written, the log says so."""
    key, secret = made()
    keys, lines = Keys(key), list[str]()

    ask(keys, secret, now=NOW)
    ask(keys, secret, now=NOW + COARSE - 1)
    assert keys.items[key.id]["used"] == {"N": str(int(NOW))}
    ask(keys, secret, now=NOW + COARSE)
    assert keys.items[key.id]["used"] == {"N": str(int(NOW) + COARSE)}
    keys.broken = "not allowed"
    assert ask(keys, secret, now=NOW + 3 * COARSE, lines=lines)["isAuthorized"]
    assert "not allowed" in lines[0]
    assert secret not in lines[0]


# ---------------------------------------------------------------------- the table


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> str:
    """Make a table of keys as the template has it."""
    client = emulator.client("dynamodb")
    for name in ("keys-one", "keys-two"):
        client.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
    return "keys-one"


Open = Callable[[str], Table]


@pytest.fixture
def opened(emulator: Emulator) -> Iterator[Open]:
    """Return what makes the authorizer's own client of a table."""
    endpoint = emulator.cloud.endpoint_url
    assert endpoint
    made: list[Table] = []

    def make(name: str) -> Table:
        made.append(Table(name, endpoint, "us-east-1", Credentials("test", "test")))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_key_lives_from_add_to_revoke(emulator: Emulator, table: str, opened: Open) -> None:
    """What `keys` writes, the authorizer reads; the table never holds the key itself."""
    client = emulator.client("dynamodb")
    keys, reader = ApiKeys(client, table), opened(table)

    new = keys.add("ci", now=NOW, scopes=["predict"], expires=NOW + 60, rate=7)
    answer = authorize({"identitySource": [new.secret]}, reader, now=lambda: NOW)
    listed = {key.id: key for key in keys.list()}[new.key.id]
    kept = json.dumps(client.scan(TableName=table)["Items"])
    revoked = keys.revoke("ci", now=NOW + 1)

    assert answer["context"]["rate"] == 7
    assert (listed.scopes, listed.used, listed.state(NOW)) == (("predict",), int(NOW), "active")
    assert new.secret not in kept
    assert new.secret.split("_")[2] not in kept
    assert new.secret not in repr(new)
    assert revoked.state(NOW) == "revoked"
    assert authorize({"identitySource": [new.secret]}, reader) == {"isAuthorized": False}
    assert keys.revoke(new.key.id, now=NOW + 9).revoked == int(NOW) + 1


def test_another_stage_s_key_opens_nothing(emulator: Emulator, table: str, opened: Open) -> None:
    """Each stage has a table of its own."""
    elsewhere = ApiKeys(emulator.client("dynamodb"), "keys-two").add("ci", now=NOW)
    event = {"identitySource": [elsewhere.secret]}

    assert authorize(event, opened("keys-two"))["isAuthorized"]
    assert authorize(event, opened(table)) == {"isAuthorized": False}


def test_a_name_that_several_keys_have_is_not_guessed(emulator: Emulator, table: str) -> None:
    """`revoke` names the ids; a name that nobody has is told, too."""
    keys = ApiKeys(emulator.client("dynamodb"), table)
    both: list[Made] = [keys.add("twins", now=NOW) for _ in range(2)]

    with pytest.raises(UsageError, match="2 keys are named 'twins'") as caught:
        keys.revoke("twins", now=NOW)
    assert all(one.key.id in caught.value.hint for one in both)
    keys.revoke(both[0].key.id, now=NOW)
    assert keys.revoke("twins", now=NOW).id == both[1].key.id
    with pytest.raises(UsageError, match="no key 'nobody'"):
        keys.revoke("nobody", now=NOW)


def test_a_table_that_cannot_be_read_lets_nobody_in(table: str, opened: Open) -> None:
    """A refusal and a dead endpoint are errors, never a yes; a kept connection is opened again."""
    _, secret = made()
    event = {"identitySource": [secret]}
    with pytest.raises(AwsError, match="GetItem"):
        authorize(event, opened("no-such-table"))
    nowhere = Table("t", "http://127.0.0.1:9", "us-east-1", Credentials("a", "b"))
    with pytest.raises(EndpointError, match="does not answer"):
        authorize(event, nowhere)
    reader = opened(table)
    assert reader.get("0" * 12) is None
    assert reader._connection is not None
    assert reader._connection.sock is not None
    reader._connection.sock.shutdown(socket.SHUT_RDWR)
    assert reader.get("0" * 12) is None


def test_the_authorizer_starts_without_what_it_does_not_need() -> None:
    """Neither numpy nor boto3 nor a web framework is loaded for it."""
    code = (
        "import sys, os; os.environ.update(AWS_ACCESS_KEY_ID='a', AWS_SECRET_ACCESS_KEY='b', "
        "AWS_REGION='us-east-1', FNMODEL_KEYS='t', FNMODEL_DYNAMODB='https://d.invalid'); "
        "import handlers.authorizer; print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in said.stdout.split()}

    assert "handlers" in loaded
    assert not loaded & {"numpy", "boto3", "botocore", "onnxruntime", "fastapi", "pydantic"}


# ---------------------------------------------------------------------- every request


class Admitted:
    """An admission before a handler that notes what reaches it."""

    def __init__(self) -> None:
        self.reached = 0
        self.records: list[dict[str, Any]] = []
        self.time = 0.0
        self.handler = Admission(
            self._answer, version="3", report=self.records.append,
            clock=lambda: self.time, now=lambda: NOW + self.time,
        )  # fmt: skip

    def _answer(self, _event: Any, _context: Any) -> dict[str, Any]:
        self.reached += 1
        return {"statusCode": 200}

    def ask(self, method: str = "POST", path: str = "/predict", **key: Any) -> dict[str, Any]:
        """Send a request with a key that may do what is given; without anything, with none."""
        event = http_event(path, "", method=method)
        if key:
            given = {"key": "k", "name": "ci", "scopes": "predict", "expires": 0, "rate": 0, **key}
            event["requestContext"]["authorizer"] = {"lambda": given}
        return self.handler(event, None)


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        ("predict", "POST", "/predict", 200),
        ("predict", "GET", "/v2/models/m", 403),
        ("metadata", "GET", "/openapi.json", 200),
        ("metadata", "POST", "/predict", 403),
        ("metadata", "POST", "//predict", 403),
        ("metadata", "POST", "/%70redict", 403),
        ("metadata", "POST", "/v2/models/m/infer", 403),
        ("predict", "HEAD", "/v2", 403),
        ("predict metadata", "GET", "/v2", 200),
        ("", "GET", "/v2", 403),
    ],
)
def test_a_key_does_what_its_scopes_say(scopes: str, method: str, path: str, status: int) -> None:
    """No spelling of a path gets around a scope, whatever API Gateway has cached."""
    door = Admitted()
    answer = door.ask(method, path, scopes=scopes)

    assert answer["statusCode"] == status
    assert door.reached == (status == 200)
    if status == 403:
        assert "lacks the scope" in json.loads(answer["body"])["error"]
        assert answer["headers"]["x-model-version"] == "3"
        assert [r["status"] for r in door.records] == [403]


def test_a_key_ends_in_its_second_though_its_answer_is_cached() -> None:
    """The expiry goes along with every request."""
    door = Admitted()

    assert door.ask(expires=int(NOW) + 1)["statusCode"] == 200
    door.time = 1.0
    assert door.ask(expires=int(NOW) + 1)["statusCode"] == 403


def test_a_rate_is_held_and_recovers() -> None:
    """`rate` requests at once, then as many a second; another key is not touched; 429 says when."""
    door = Admitted()
    first = [door.ask(rate=3)["statusCode"] for _ in range(5)]
    other = door.ask(rate=3, key="other")["statusCode"]
    door.time = 0.4
    later = [door.ask(rate=3)["statusCode"] for _ in range(2)]
    answer = door.ask(rate=3)

    assert first == [200, 200, 200, 429, 429]
    assert other == 200
    assert later == [200, 429]
    assert answer["headers"]["retry-after"] == "1"
    assert "3 requests a second" in json.loads(answer["body"])["error"]


def test_rates_of_many_keys_take_a_bounded_place() -> None:
    """Ten thousand keys do not fill the memory."""
    door = Admitted()
    for number in range(10_000):
        door.ask(rate=1, key=str(number))

    assert len(door.handler._buckets) == 1000


def test_without_a_key_nothing_is_held_back() -> None:
    """Stages with IAM, tokens or neither go straight to the model; preflight is answered."""
    door = Admitted()
    assert door.ask()["statusCode"] == 200
    event = http_event("/predict", "", method="OPTIONS")
    event["routeKey"] = "OPTIONS /{proxy+}"

    assert door.handler(event, None)["statusCode"] == 204
    assert door.reached == 1


def test_no_two_keys_are_alike() -> None:
    """An id and a secret are random: 48 and 256 bits."""
    keys = [apikey.generate() for _ in range(1000)]

    assert len({identity for identity, _ in keys}) == 1000
    assert {apikey.identity_of(secret) for _, secret in keys} == {i for i, _ in keys}
    assert {len(secret.rpartition("_")[2]) for _, secret in keys} == {64}
    assert time.time() < NOW  # the moments above are of the future, for keys that never ended
