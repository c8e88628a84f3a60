"""The dialects through the embedded cloud: API Gateway's event, the function, and back."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cloud_cases import Project, predict, request_of

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(600)]

CSV = {"Content-Type": "text/csv", "Accept": "text/csv"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder: Path = tmp_path_factory.mktemp("dialects")
    project = Project(folder, tmp_path_factory.mktemp("home"))
    project.train(1.0)
    project.run(
        "init", "model.joblib", "--sample", "rows.csv", "--target", "target", "--name", "wine"
    )
    yield project
    project.run("local", "stop")


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """Return the body of an answer of 200."""
    request = urllib.request.Request(url, body, headers or {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["x-model-version"] == "1"
        return answer.read()


def test_every_path_reaches_the_function(project: Project) -> None:
    """Probes, rows in each form, and boto3's sagemaker-runtime, which signs for another service."""
    url = project.json("deploy", "--local")["url"]
    records = request_of(project)["records"]
    expected = [one["label"] for one in predict(url, {"records": records})[2]["predictions"]]
    table = "".join(",".join(map(str, row.values())) + "\n" for row in records).encode()

    assert ask(f"{url}/ping") == ask(f"{url}/health") == b"\n"
    assert json.loads(ask(f"{url}/"))["status"] == "alive"
    assert json.loads(ask(f"{url}/v1/models/wine"))["ready"] is True
    for body in ({"dataframe_records": records}, {"instances": records}):
        answer = json.loads(ask(f"{url}/invocations", json.dumps(body).encode()))
        assert answer == {"predictions": expected}
    answer = ask(f"{url}/v1/models/wine:predict", json.dumps({"instances": records}).encode())
    assert [row["label"] for row in json.loads(answer)["predictions"]] == expected
    assert [*map(int, ask(f"{url}/invocations", table, CSV).split())] == expected

    client = boto3.client(
        "sagemaker-runtime", endpoint_url=url, region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any",
    )  # fmt: skip
    invoked = client.invoke_endpoint(
        EndpointName="wine", Body=table, ContentType="text/csv", Accept="text/csv"
    )
    assert [*map(int, invoked["Body"].read().split())] == expected
