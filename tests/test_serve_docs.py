"""The page under /docs: alone with itself, harmless whatever names it shows, and it works."""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import pytest
import uvicorn
from browser import CHROMIUM, Page, browser
from serve_cases import event, gateway, model

from fnmodel.model import Feature
from fnmodel.serve.docs.page import page as written
from fnmodel.serve.endpoint import Call
from fnmodel.serve.host import Host
from fnmodel.serve.model import Model
from fnmodel.serve.models import Models
from fnmodel.serve.openapi.described import Described
from fnmodel.serve.openapi.document import document
from fnmodel.serve.refusal import RefusalError
from fnmodel.serve.service import Service

HOSTILE = (
    "</script><script>document.title='run'</script>", "<!--<script>", "]]>", "\u2028\u2029",
    "\"><img src=x onerror=\"document.title='run'\">", "'; document.title='run'; '",
    "${document.title='run'}", "{{7*7}}", "__proto__", "constructor", "javascript:alert(1)",
    "&lt;b&gt;", "a\\u0022b", "\\", "\u202egnp.exe", "$document",
)  # fmt: skip
LIMIT = 24 << 10
"""Bytes of the page without the document."""


def hostile(name: str = "mixed") -> Service:
    """Return a service whose features, classes and name are hostile; its model answers to none."""
    loaded = model(name)
    odd = [Feature(one, "FP32", nullable=True) for one in HOSTILE]
    odd += [Feature(f"{one}.", "BYTES", categories=(one, "x")) for one in HOSTILE]
    signature = replace(loaded.signature, features=(), raw=tuple(odd))
    predictor = lambda: loaded.predictor  # noqa: E731
    return Service(Model(signature, predictor), HOSTILE[0], "3")


class _Parsed(HTMLParser):
    """What a browser would take for elements, and the text of the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self._inside = ""
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.handlers: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, _: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside][-1] += data


def html_of(service: Service) -> tuple[str, dict[str, str]]:
    answer = written(document([Described(service, service.loaded)]))  # type: ignore[arg-type]
    return answer.body.decode(), answer.headers


@pytest.mark.parametrize("name", ["classifier", "mixed", "regressor", "tensors"])
def test_the_page_holds_the_document_and_nothing_from_elsewhere(name: str) -> None:
    """The page is HTML with the very document inside; both hosts' ways give the same."""
    answer = gateway(name)(event(method="GET", path="/docs"))
    asked = gateway(name)(event(method="GET", path="/openapi.json"))

    assert answer["statusCode"] == 200
    assert answer["headers"]["content-type"] == "text/html; charset=utf-8"
    parsed = _Parsed(answer["body"])
    data, script = parsed.texts["script"]
    assert json.loads(data) == json.loads(asked["body"])
    addresses = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'> ]+)""", answer["body"])
    assert set(addresses) == {"data:,", "openapi.json"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)
    assert len(answer["body"].encode()) - len(data.encode()) < LIMIT


def test_the_policy_lets_only_this_script_run() -> None:
    """The policy denies by default, and names the hashes of the page's own style and script."""
    html, headers = html_of(Service(model("mixed"), "churn", "3"))

    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "connect-src 'self'" in policy
    parsed = _Parsed(html)
    for kind, text in (("script", parsed.texts["script"][1]), ("style", parsed.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_hostile_names_make_no_element() -> None:
    """Names of features, categories and the model are data: the page has the same elements."""
    tame = _Parsed(html_of(Service(model("mixed"), "churn", "3"))[0])
    html, _ = html_of(hostile())
    parsed = _Parsed(html)

    assert parsed.tags == tame.tags
    assert not parsed.handlers
    assert "\u2028" not in html
    record = json.loads(parsed.texts["script"][0])["components"]["schemas"]["Record"]
    assert list(record["properties"])[: len(HOSTILE)] == list(HOSTILE)


def test_without_a_model_there_is_no_page() -> None:
    """A model that cannot be loaded is 503 here, too."""

    def missing() -> NoReturn:
        raise RefusalError(503, "the model is missing")

    with pytest.raises(RefusalError, match="the model is missing"):
        Models((Service(missing, "churn", "3"),)).docs(Call({}, {}, b""))


# ------------------------------------------------------------------ in a browser

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


def served(service: Service, stop: threading.Event) -> int:
    """Serve over plain HTTP in a thread until `stop`; return the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    host = Host(
        Models((service,)),
        report=lambda _: None,
        clock=time.perf_counter,
        pool=ThreadPoolExecutor(1),
        room=4,
        others=lambda: None,  # type: ignore[arg-type,return-value]
    )
    config = uvicorn.Config(host, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()

    def ended() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=ended, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def visit(chromium: Page) -> Iterator[Any]:
    """Return a function that serves a service and opens its page."""
    stop = threading.Event()

    def opened(service: Service) -> Page:
        chromium.asked.clear()
        chromium.complaints.clear()
        chromium.open("about:blank#")
        chromium.open(f"http://127.0.0.1:{served(service, stop)}/docs")
        return chromium

    yield opened
    stop.set()


SENT = "!document.getElementById('json').hidden"


@needs_chromium
def test_a_row_is_sent_and_its_answer_shown(visit: Any) -> None:
    """The form sends what stands in it, shows the answer, and no other host is asked."""
    page = visit(Service(model("mixed"), "churn", "3"))

    page.value("document.getElementById('field0').value = '41.5'")
    page.value("document.getElementById('field2').value = '\"gold\"'")
    page.value("document.getElementById('field3').value = '12345678901'")
    page.value("document.getElementById('send').click()")
    page.wait(SENT)

    shown = json.loads(page.value("document.getElementById('json').textContent"))
    assert shown["predictions"] == [{"value": pytest.approx(12345678901 + 51.5, rel=1e-6)}]
    assert page.value("document.getElementById('status').textContent").startswith("200")
    assert {url.split("/docs")[0].rsplit(":", 1)[0] for url in page.asked if url[0] == "h"} == {
        "http://127.0.0.1"
    }
    assert page.complaints == []


@needs_chromium
def test_the_python_lines_run(visit: Any, tmp_path: Path) -> None:
    """What the page says to paste gives the answer that it showed."""
    page = visit(Service(model("mixed"), "churn", "3"))
    page.value("document.getElementById('field1').value = ''")
    page.value("document.getElementById('form').dispatchEvent(new Event('input'))")

    said: list[Any] = []
    lines = page.value("document.getElementById('python').textContent")
    exec(lines, {"print": said.append})

    assert said[0]["predictions"] == [{"value": 1000.5}]


@needs_chromium
def test_a_mistake_is_named_and_not_sent(visit: Any) -> None:
    """A field that holds no number is marked and gets the focus; nothing is sent."""
    page = visit(Service(model("mixed"), "churn", "3"))
    before = len(page.asked)

    page.value("document.getElementById('field3').value = '1.5'")
    page.value("document.getElementById('send').click()")

    assert page.value("document.getElementById('problem').textContent") == (
        "visits: 1.5 is not whole"
    )
    assert page.value("document.activeElement.id") == "field3"
    assert page.value("document.activeElement.ariaInvalid") == "true"
    assert len(page.asked) == before


@needs_chromium
def test_hostile_names_run_nothing(visit: Any) -> None:
    """Whatever features are called, the page shows it as text, and sends it as a name."""
    page = visit(hostile())

    assert page.value("document.title") == HOSTILE[0]
    labels = page.value(
        "[...document.querySelectorAll('.field label')].map((one) => one.firstChild.textContent)"
    )
    assert labels[: len(HOSTILE)] == list(HOSTILE)
    page.value("document.getElementById('send').click()")
    page.wait(SENT)
    assert page.value("document.title") == HOSTILE[0]
    assert page.value("document.querySelectorAll('img, script').length") == 2
    assert page.value("({}).polluted") is None
    # Only that the model behind the names refuses them.
    assert all("400 (Bad Request)" in one for one in page.complaints)


@needs_chromium
def test_tensors_are_sent_as_json(visit: Any) -> None:
    """A model without named features has its example as JSON to edit."""
    page = visit(Service(model("tensors"), "churn", "3"))

    assert page.value("document.getElementById('fields').hidden")
    page.value("document.getElementById('send').click()")
    page.wait(SENT)

    shown = json.loads(page.value("document.getElementById('json').textContent"))
    assert shown["id"] == "example"


@needs_chromium
def test_paths_of_other_servers_are_folded(visit: Any) -> None:
    """Groups for other servers' clients are closed, and the form offers none of their paths."""
    page = visit(Service(model("mixed"), "churn", "3"))

    states = page.value("[...document.querySelectorAll('details')].map((one) => one.open)")
    assert states == [False, False]
    assert page.value("document.querySelectorAll('details tr').length") == 13
    offered = page.value("document.getElementById('operation').textContent")
    assert "/predict" in offered
    assert "/v1/" not in offered
    assert "/invocations" not in offered
