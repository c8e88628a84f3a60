"""Drift in the traffic of an embedded cloud: one alert within its window, and the pipeline runs."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloud_cases import Project, predict

from fnmodel.aws import Cloud
from fnmodel.watch.signing import key_of, verify

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

TRAIN = """
import joblib, numpy, pandas
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rng = numpy.random.default_rng(0)
table = pandas.DataFrame({"age": rng.normal(40, 10, 2000), "pay": rng.normal(0, 1, 2000)})
table["target"] = (table.age + 5 * table.pay + rng.normal(0, 5, 2000) > 40).astype(int)
model = make_pipeline(StandardScaler(), LogisticRegression())
joblib.dump(model.fit(table[["age", "pay"]], table.target), "model.joblib")
table.to_csv("rows.csv", index=False)
"""
CONFIG = """
capture: {{rate: 1}}
watch:
  retrain: {{}}
  webhook: {{url: "http://127.0.0.1:{port}/hook", secret: "ssm:/watch/hook"}}
pipeline:
  - {{name: train, run: "{python} again.py"}}
  - {{name: ship, deploy: staging}}
stages:
  staging: {{cloud: local}}
"""
AGAIN = "open('trained', 'a').write('once;')"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Hook(ThreadingHTTPServer):
    """Keeps the messages that it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({n.lower(): v for n, v in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Project]:
    """Return a project that captures, watches and retrains."""
    folder = tmp_path_factory.mktemp("watched")
    project = Project(folder, tmp_path_factory.mktemp("home"))
    (folder / "train.py").write_text(TRAIN)
    (folder / "again.py").write_text(AGAIN)
    subprocess.run([project.python, "train.py"], cwd=folder, check=True)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "drifty"
    )
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write(CONFIG.format(port=hook.server_address[1], python=project.python))
    yield project
    project.run("local", "stop")


def ask(url: str, rows: int, mean: float) -> None:
    """Send rows, a hundred a request, whose age is around a mean."""
    rng = np.random.default_rng(1)
    for _ in range(rows // 100):
        table = zip(rng.normal(mean, 10, 100).tolist(), rng.normal(0, 1, 100).tolist(), strict=True)
        status, _, _ = predict(url, {"records": [{"age": age, "pay": pay} for age, pay in table]})
        assert status == 200


def captured(project: Project, rows: int) -> None:
    """Wait until rows lie in the bucket; they come a moment after their response."""
    for _ in range(40):
        said = project.json("watch", "status", "--local", "--since", "1h")
        if sum(one["rows"] for one in said["versions"]) >= rows:
            return
        time.sleep(0.5)
    raise AssertionError("rows are not captured")


def ended(project: Project) -> Any:
    """Return the decision about retraining, once its run has ended."""
    for _ in range(120):
        [found] = project.json("watch", "decisions", "--local")["decisions"]
        if found["status"] not in ("requested", "running"):
            return found
        time.sleep(1)
    raise AssertionError(f"the run does not end: {found}")


def test_drift_raises_one_alert_and_starts_retraining(project: Project, hook: Hook) -> None:
    """The alert is signed and arrives once however often is looked; the pipeline ships a stage."""
    url = project.json("deploy", "--local")["url"]
    cloud = Cloud(endpoint_url=project.json("local", "status")["url"])
    cloud.client("ssm").put_parameter(Name="/watch/hook", Value=SECRET, Type="SecureString")
    if datetime.now(UTC).minute == 59:
        time.sleep(60)  # all rows are to be of one hour
    ask(url, 600, mean=48)
    captured(project, 600)
    due = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H}:20"

    seen = project.json("watch", "look", "--local", "--at", due)["hours"]
    again = project.json("watch", "look", "--local", "--at", due)["hours"]
    [last] = [one for one in seen if one["rows"]]
    assert (last["rows"], last["change"], again) == (600, "opened", [])
    assert last["alarms"][0].startswith("age drifted")

    decision = ended(project)
    assert decision["status"] == "done", pipeline_log(project)
    assert (project.folder / "trained").read_text() == "once;"
    assert project.json("status", "--local", "--stage", "staging")["url"]

    [(headers, body)] = hook.got
    event = json.loads(body)
    assert verify(key_of(SECRET), headers, body, time.time()) == event["id"]
    assert event["type"] == "io.fnmodel.watch.alert.opened"
    assert event["data"]["retraining"].startswith("requested")

    told = project.json("watch", "alerts", "--local")
    assert [hour["change"] for hour in told["hours"]] == ["opened"]
    assert told["open_since"] == last["hour"]


def pipeline_log(project: Project) -> str:
    """Return what the pipeline said."""
    return "\n".join(
        path.read_text() for path in Path(project.home, "local", "pipelines").glob("*.log")
    )
