"""Other servers of the benchmarks' classifier, each in a virtual environment below build/servers.

LitServe and BentoML run the ONNX model as their guides have it; MLServer and MLflow the model that
scikit-learn trained, by runtimes of their own. KServe's server listens on every address of the
machine, and is left out for that.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from classifier import INFER, NAME, ROOT, request, train

from fnmodel.interpreter import RUNNING
from fnmodel.pack.dependencies import run_uv

ONNX = """
import os
import numpy as np
import onnxruntime as ort
def opened():
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
def said(session, records):
    rows = np.array([[*record.values()] for record in records], np.float32)
    labels, scores = session.run(None, {"X": rows})
    return {"labels": labels.tolist(), "scores": scores.tolist()}
"""

LITSERVE = (
    ONNX
    + """
import litserve
class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.session = opened()
    def decode_request(self, request):
        return request["records"]
    def predict(self, records):
        return said(self.session, records)
    def encode_response(self, output):
        return output
if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False,
        log_level="warning",
    )
"""
)

BENTOML = (
    ONNX
    + """
import bentoml
@bentoml.service(logging={"access": {"enabled": False}})
class Classifier:
    def __init__(self) -> None:
        self.session = opened()
    @bentoml.api
    def predict(self, records: list[dict[str, float]]) -> dict[str, list]:
        return said(self.session, records)
"""
)

SAVE_MLFLOW = """
import sys, joblib, mlflow.sklearn
mlflow.sklearn.save_model(joblib.load("model.joblib"), "mlflow", serialization_format="pickle")
"""


@dataclass(frozen=True)
class Server:
    """How a server is started, and one request of one row; PORT in its arguments is its port."""

    arguments: tuple[str, ...]
    path: str
    body: bytes
    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """Another server: its folder below `build/servers`, its packages, what makes it ready."""

    folder: str
    packages: tuple[str, ...]
    ready: Callable[[Path, Path], Server]
    """Gets the environment's programs and a folder with model.onnx and model.joblib."""


def _records() -> bytes:
    body: str = request()["body"]
    return body.encode()


def _row() -> list[float]:
    (record,) = json.loads(_records())["records"]
    return [*record.values()]


def _litserve(programs: Path, folder: Path) -> Server:
    (folder / "lit.py").write_text(LITSERVE)
    return Server((str(programs / "python"), "lit.py"), "/predict", _records(), folder)


def _bentoml(programs: Path, folder: Path) -> Server:
    (folder / "service.py").write_text(BENTOML)
    serve = (
        "-m",
        "bentoml",
        "serve",
        "service:Classifier",
        "--host",
        "127.0.0.1",
        "--port",
        "PORT",
    )
    variables = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    return Server((str(programs / "python"), *serve), "/predict", _records(), folder, variables)


def _mlserver(programs: Path, folder: Path) -> Server:
    model = {
        "name": NAME,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "model.joblib"},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    # Without workers it predicts in its own process, which is the faster way for one row.
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps({**settings, "debug": False}))
    tensor = {"name": "X", "datatype": "FP32", "shape": [1, 30], "data": _row()}
    return Server(
        (str(programs / "mlserver"), "start", "."),
        INFER,
        json.dumps({"inputs": [tensor]}).encode(),
        folder,
        {"MLSERVER_HTTP_PORT": "PORT", "MLSERVER_GRPC_PORT": "0"},
    )


def _mlflow(programs: Path, folder: Path) -> Server:
    python = str(programs / "python")
    subprocess.run([python, "-c", SAVE_MLFLOW], cwd=folder, check=True, capture_output=True)
    serve = ("models", "serve", "--model-uri", "mlflow", "--env-manager", "local",
             "--host", "127.0.0.1", "--port", "PORT")  # fmt: skip
    body = json.dumps({"inputs": [_row()]}).encode()
    variables = {"PATH": f"{programs}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return Server((python, "-m", "mlflow", *serve), "/invocations", body, folder, variables)


PEERS = {
    "LitServe": Peer("litserve", ("litserve", "onnxruntime"), _litserve),
    "BentoML": Peer("bentoml", ("bentoml", "onnxruntime"), _bentoml),
    "MLServer": Peer("mlserver", ("mlserver", "mlserver-sklearn"), _mlserver),
    "MLflow": Peer("mlflow", ("mlflow",), _mlflow),
}


def install(peer: Peer) -> tuple[Path, str]:
    """Install a peer where that was not done; return its programs and its version.

    Raises:
        LockError: it cannot be installed.

    """
    # The version that trained the classifier, so that its pickle can be read.
    wanted = (*peer.packages, "joblib", f"scikit-learn=={version('scikit-learn')}")
    home = ROOT / "build" / "servers" / peer.folder
    done = home / "installed.txt"
    if not done.is_file() or done.read_text() != " ".join((RUNNING, *wanted)):
        home.parent.mkdir(parents=True, exist_ok=True)
        failure = f"{peer.folder} cannot be installed"
        run_uv(["venv", "--clear", "--python", sys.executable, str(home)], home.parent, failure)
        arguments = ["pip", "install", "--compile-bytecode", "--python", str(home / "bin/python")]
        run_uv([*arguments, *wanted], home.parent, failure)
        done.write_text(" ".join((RUNNING, *wanted)))
    packages = home / "lib" / f"python{RUNNING}" / "site-packages"
    (found,) = distributions(name=peer.packages[0], path=[str(packages)])
    return home / "bin", found.version


def keep_model(folder: Path, model: Any = None) -> None:
    """Write the classifier as scikit-learn's users keep it."""
    import joblib

    joblib.dump(model or train()[0], folder / "model.joblib")
