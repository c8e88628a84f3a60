"""Clients of other servers' dialects, unchanged, against small models over plain HTTP."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from client_cases import environment, run
from http_cases import ROOT, serving
from serve_cases import model_folder

pytestmark = pytest.mark.clients

SCRIPTS = ROOT / "tests" / "clients"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """Serve models of the tests as they are asked for, each under the name churn."""
    started: dict[str, int] = {}
    with ExitStack() as stack:

        def start(name: str) -> int:
            if name not in started:
                server = serving(model_folder(name), tmp_path_factory.mktemp(name))
                started[name] = stack.enter_context(server).port
            return started[name]

        yield start


def python() -> Path:
    return environment("clients") / "python"


def test_mlflow(port: Callable[[str], int]) -> None:
    """MLflow's scoring client: DataFrames with missing values, rows, bodies of its caller's."""
    said = run(python(), SCRIPTS / "mlflow_scoring.py", port("mixed"))

    assert said.splitlines() == ["health", "frames", "others", "errors"]


def test_boto3(port: Callable[[str], int]) -> None:
    """boto3's sagemaker-runtime with an endpoint URL: CSV, JSON Lines, JSON, and its errors."""
    script = SCRIPTS / "sagemaker_runtime.py"

    said = run(sys.executable, script, f"http://127.0.0.1:{port('mixed')}")

    assert said.splitlines() == ["table", "lines", "objects", "errors"]


def test_openai(port: Callable[[str], int]) -> None:
    """OpenAI's client: models, vectors in base64 and numbers, its exceptions."""
    script = SCRIPTS / "openai_embeddings.py"

    said = run(python(), script, f"http://127.0.0.1:{port('embedder')}", "churn")

    assert said.splitlines() == ["models", "vectors", "errors", "waiting"]


def test_kserve_v1(port: Callable[[str], int]) -> None:
    """KServe's REST client by its V1 protocol, which is TF-Serving's."""
    said = run(python(), SCRIPTS / "kserve_v1.py", f"http://127.0.0.1:{port('classifier')}")

    assert said.splitlines() == ["health", "rows", "columns", "errors"]
