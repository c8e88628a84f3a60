"""Clients that people have already, unchanged, against four models of `samples/conformance`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from client_cases import conformance, environment, run, slimmed
from cloud_cases import Project
from http_cases import ROOT, serving
from onnx import save

pytestmark = pytest.mark.clients

SCRIPTS = ROOT / "tests" / "clients"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Serve each model over plain HTTP; addresses by the models' names."""
    folder = tmp_path_factory.mktemp("conformance")
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(serving(model, model.parent, FNMODEL_MODEL_NAME=name))
            for name, model in slimmed(folder).items()
        }
        yield {name: f"127.0.0.1:{server.port}" for name, server in started.items()}


def test_tritonclient(servers: Mapping[str, str]) -> None:
    """Blocking and with asyncio, binary and JSON, compressed and not, texts, classes and errors."""
    python = environment("clients") / "python"

    said = run(python, SCRIPTS / "triton.py", json.dumps(servers))

    assert said.splitlines() == [
        "health", "add", "add integers", "errors", "texts", "classes", "asyncio",
    ]  # fmt: skip


def test_kserve(servers: Mapping[str, str]) -> None:
    """KServe's REST client, binary and JSON, with its own compression of answers."""
    python = environment("clients") / "python"

    said = run(python, SCRIPTS / "kserve_rest.py", json.dumps(servers))

    assert said.splitlines() == ["health", "add", "add integers", "texts", "outputs", "errors"]


def requests(kind: str, rows: int) -> list[dict[str, Any]]:
    first = np.arange(rows * 16).reshape(rows, 16)
    return [
        {
            "id": f"request-{row}",
            "inputs": [
                {"name": "INPUT0", "datatype": kind, "shape": [1, 16], "data": values.tolist()},
                {"name": "INPUT1", "datatype": kind, "shape": [1, 16], "data": [3] * 16},
            ],
        }
        for row, values in enumerate(first)
    ]


@pytest.mark.parametrize(
    ("model", "kind", "more"),
    [
        ("add-sub", "FP32", ()),
        ("add-i64", "INT64", ("--batch-size", "4")),
        ("add-sub", "FP32", ("--binary-data",)),
    ],
)
def test_mlserver_infer(
    servers: Mapping[str, str], tmp_path: Path, model: str, kind: str, more: tuple[str, ...]
) -> None:
    """A file of requests becomes a file of answers, one by one and in micro-batches."""
    asked = requests(kind, 10)
    given, made = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps(request) + "\n" for request in asked))

    run(
        environment("mlserver") / "mlserver", "infer", "-u", servers[model], "-m", model,
        "-i", given, "-o", made, "-w", 3, *more,
    )  # fmt: skip

    answers = {one["id"]: one for one in map(json.loads, made.read_text().splitlines())}
    assert len(answers) == len(asked)
    for request in asked:
        found = {o["name"]: np.ravel(o["data"]) for o in answers[request["id"]]["outputs"]}
        one, other = (np.array(tensor["data"]) for tensor in request["inputs"])
        assert found["OUTPUT0"].tolist() == (one + other).tolist()
        assert found["OUTPUT1"].tolist() == (one - other).tolist()


@pytest.mark.cloud
@pytest.mark.timeout(600)
def test_tritonclient_through_an_http_api(tmp_path: Path) -> None:
    """In the embedded cloud bodies travel in base64 between the HTTP API and the function."""
    python = environment("clients") / "python"
    project = Project(tmp_path / "project", tmp_path / "home")
    project.folder.mkdir()
    save(dict(conformance().models())["add_sub"], project.folder / "add_sub.onnx")
    project.run("init", "add_sub.onnx", "--name", "add-sub")
    try:
        url = urlsplit(project.json("deploy", "--local")["url"])
        said = run(
            python, SCRIPTS / "triton.py", json.dumps({"add-sub": f"{url.netloc}{url.path}"})
        )
    finally:
        project.run("local", "stop")

    assert said.splitlines() == ["health", "add", "errors", "asyncio"]
