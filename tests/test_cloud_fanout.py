"""A batch run that fans out in the embedded cloud: state machine, slices, the same bytes."""

import json
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
            "batch:\n- {name: nightly, input: incoming/, output: scored/, part_rows: 1000}\n"
        )
        file.write(FANOUT)
    project.run("deploy", "--local")
    yield project
    project.run("local", "stop")


def rows(folder: Path, times: int) -> None:
    """Write the sample's rows again and again, with a bad one now and then."""
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    many = [line if n % 500 else "x" + line[1:] for n, line in enumerate(lines * times)]
    (folder / "many.csv").write_text("\n".join([header, *many]) + "\n")


def keys(run: dict[str, Any], name: str) -> list[str]:
    """Return the keys of a run's parts or errors."""
    return [*run["inputs"][0]["parts"]] if name == "parts" else [*run["errors"]]


def stored(project: Project, key: str) -> bytes:
    """Return an object of the stage's bucket."""
    status = project.json("local", "status")
    client = Cloud(status["url"]).client("s3")
    [bucket] = [b["Name"] for b in client.list_buckets()["Buckets"]]
    body: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
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
