"""Clients that people have already, unchanged, against four models of `samples/conformance`."""

import json
import shutil
from collections.abc import Iterator, Mapping
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


NAMES = ("add_sub", "add_i64", "ident_s", "clf")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Serve all models over plain HTTP, as one image does; its address by the models' names."""
    folder = tmp_path_factory.mktemp("conformance")
    with serving(slimmed(folder), folder, FNMODEL_MODELS=",".join(NAMES)) as server:
        yield dict.fromkeys(NAMES, f"127.0.0.1:{server.port}")


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
        ("add_sub", "FP32", ()),
        ("add_i64", "INT64", ("--batch-size", "4")),
        ("add_sub", "FP32", ("--binary-data",)),
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
def test_the_sample_through_an_http_api(tmp_path: Path) -> None:
    """Four models are one image and one URL; bodies travel in base64 to the function."""
    python = environment("clients") / "python"
    project = Project(tmp_path / "project", tmp_path / "home")
    shutil.copytree(ROOT / "samples" / "conformance", project.folder)
    for name, model in conformance().models():
        save(model, project.folder / f"{name}.onnx")
    try:
        deployed = project.json("deploy", "--local")
        url = urlsplit(deployed["url"])
        said = run(
            python, SCRIPTS / "triton.py",
            json.dumps(dict.fromkeys(NAMES, f"{url.netloc}{url.path}")),
        )  # fmt: skip
        again = project.json("deploy", "--local")
        (project.folder / "rows.json").write_text('{"records": []}')
        asked = ("invoke", "--local", "--model", "clf", "--request", "rows.json")
        answer = project.json(*asked)["answer"]
    finally:
        project.run("local", "stop")

    assert deployed["models"] == list(NAMES)
    assert not again["changed"]
    assert answer == {"predictions": [], "model_name": "clf", "model_version": "1"}
    assert said.splitlines() == [
        "health", "add", "add integers", "errors", "texts", "classes", "asyncio",
    ]  # fmt: skip
