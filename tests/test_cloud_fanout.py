"""What is too large for one function, or for one request, in the embedded cloud."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_cases import Project

from fnmodel.aws import Cloud

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

FANOUT = "fanout: {objects: 0, bytes: 0, slice_bytes: 20000, concurrency: 3}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Deploy a model whose every run fans out."""
    folder = tmp_path_factory.mktemp("fanout")
    project = Project(folder, tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    with (folder / "fnmodel.yaml").open("a") as file:
        file.write(
            "batch:\n- {name: nightly, input: incoming/, output: scored/, part_rows: 1000, "
            "schedule: 'cron(0 3 29 2 ? *)'}\n"
        )
        file.write(FANOUT)
        file.write("jobs: {days: 2}\n")
    project.run("deploy", "--local")
    yield project
    project.run("local", "stop")


def rows(folder: Path, times: int) -> None:
    """Write the sample's rows again and again, with a bad one now and then."""
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    many = [line if n % 500 else "x" + line[1:] for n, line in enumerate(lines * times)]
    (folder / "many.csv").write_text("\n".join([header, *many]) + "\n")


def asked(method: str, url: str, body: bytes = b"", kind: str = "application/json") -> Any:
    """Send a request; return the status, and its JSON or bytes."""
    request = urllib.request.Request(
        url, body if method == "POST" else None, {"Content-Type": kind}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(text) if is_json else text
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def form(fields: dict[str, str], content: bytes) -> tuple[bytes, str]:
    """Return a multipart form with a file, and its content type."""
    mark = "x" * 30
    texts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = "".join([*texts, file]).encode() + content + f"\r\n--{mark}--\r\n".encode()
    return body, f"multipart/form-data; boundary={mark}"


def test_a_request_too_large_for_one(project: Project) -> None:
    """A job over HTTP: upload by its form, start, wait, results by their link; as curl does it."""
    rows(project.folder, 20)
    content = (project.folder / "many.csv").read_bytes()
    url = project.json("status", "--local")["url"]
    home = f"{url}/models/wine/jobs"
    status, job = asked("POST", home, b'{"results": "jsonl"}')
    assert status == 201
    at = f"{home}/{job['id']}"
    assert asked("POST", f"{at}/start")[0] == 409
    uploaded, _ = asked("POST", job["upload"]["url"], *form(job["upload"]["fields"], content))
    assert uploaded in (200, 201, 204)
    assert asked("POST", f"{at}/start")[0] == 202
    until = time.monotonic() + 60
    while (told := asked("GET", at)[1])["status"] == "running" and time.monotonic() < until:
        time.sleep(0.5)

    assert told["status"] == "succeeded", told
    assert told["totals"]["rows"] == 178 * 20
    lines = asked("GET", told["results"][0])[1].splitlines()
    assert len(lines) == told["totals"]["scored"]
    assert "label" in json.loads(lines[0])
    assert asked("GET", at + "x")[0] == 404
    assert "/models/wine/jobs" in asked("GET", f"{url}/openapi.json")[1]["paths"]


def keys(run: dict[str, Any], name: str) -> list[str]:
    """Return the keys of a run's parts or errors."""
    return [*run["inputs"][0]["parts"]] if name == "parts" else [*run["errors"]]


def client(project: Project, service: str) -> Any:
    """Return a client of the project's cloud."""
    return Cloud(project.json("local", "status")["url"]).client(service)


def stored(project: Project, key: str) -> bytes:
    """Return an object of the stage's bucket."""
    s3 = client(project, "s3")
    [bucket] = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def test_a_run_fans_out_and_writes_what_one_function_writes(project: Project) -> None:
    """Its parts are those of one invocation; a second delivery finds the manifest."""
    rows(project.folder, 100)
    fanned: dict[str, Any] = project.json(
        "batch", "run", "--upload", "many.csv", "--at", "2030-01-01", "--local"
    )
    again = project.json("batch", "run", "--at", "2030-01-01", "--local")

    assert fanned["status"] == "succeeded"
    assert fanned["totals"]["rows"] > 15_000
    assert fanned["totals"]["errors"] > 20
    [one] = fanned["inputs"]
    assert len(one["parts"]) == -(-one["rows"] // 5000)
    assert again["already_done"]
    yaml = project.folder / "fnmodel.yaml"
    yaml.write_text(yaml.read_text().replace(FANOUT, ""))
    alone = project.json("batch", "run", "--at", "2030-01-02", "--local")

    assert alone["totals"] == fanned["totals"]
    for name in ("parts", "errors"):
        pairs = zip(keys(fanned, name), keys(alone, name), strict=True)
        assert all(stored(project, one) == stored(project, other) for one, other in pairs)
    assert json.dumps(fanned["model"]) == json.dumps(alone["model"])


def test_a_run_that_is_over_is_heard_of(project: Project) -> None:
    """Whoever listens on the default bus gets a CloudEvent, of a run that failed too."""
    sqs, events = client(project, "sqs"), client(project, "events")
    queue = sqs.create_queue(QueueName="heard")["QueueUrl"]
    events.put_rule(Name="heard", EventPattern=json.dumps({"source": ["fnmodel"]}))
    arn = f"arn:aws:sqs:us-east-1:000000000000:{queue.rpartition('/')[2]}"
    events.put_targets(Rule="heard", Targets=[{"Id": "1", "Arn": arn}])
    rows(project.folder, 3)
    run = project.json("batch", "run", "--upload", "many.csv", "--at", "2030-02-01", "--local")
    [message] = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"]
    event = json.loads(message["Body"])["detail"]

    assert event["specversion"] == "1.0"
    assert event["id"] == f"{run['run_id']}-succeeded"
    assert event["data"]["totals"] == run["totals"]


def test_a_look_for_jobs_that_did_not_run(project: Project) -> None:
    """What the hourly schedule sends is understood, and finds nothing overdue."""
    schedules, function = client(project, "scheduler"), client(project, "lambda")
    look = schedules.get_schedule(GroupName="fnmodel-wine-local", Name="fnmodel.overdue")
    answer = function.invoke(
        FunctionName=look["Target"]["Arn"], Payload=look["Target"]["Input"].encode()
    )

    assert json.loads(answer["Payload"].read()) == {"overdue": []}
