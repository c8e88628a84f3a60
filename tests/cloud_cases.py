"""A project that is deployed to an embedded cloud of its own, and requests to it."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAIN = """
import sys
import joblib
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

table = load_wine(as_frame=True)
model = make_pipeline(StandardScaler(), LogisticRegression(C=float(sys.argv[1])))
joblib.dump(model.fit(table.data, table.target), "model.joblib")
table.frame.to_csv("rows.csv", index=False)
"""


@dataclass(frozen=True)
class Project:
    """A project folder and a home of its own."""

    folder: Path
    home: Path
    python: str = sys.executable

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `fnmodel` as a user does."""
        ran = subprocess.run(
            [self.python, "-m", "fnmodel", *command],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert ran.returncode == code, f"{command}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran

    def json(self, *command: str, code: int = 0) -> Any:
        """Run `fnmodel … --output json` and read what it prints."""
        return json.loads(self.run(*command, "--output", "json", code=code).stdout)

    @property
    def environment(self) -> dict[str, str]:
        """An environment without AWS, and with this home."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("AWS_", "FNMODEL_", "PYTHONPATH"))
        }
        return {**kept, "FNMODEL_HOME": str(self.home)}

    def train(self, strength: float) -> None:
        """Train the model anew; another strength gives another model."""
        script = self.folder / "train.py"
        script.write_text(TRAIN)
        subprocess.run([self.python, str(script), str(strength)], cwd=self.folder, check=True)


def predict(url: str, body: Any) -> tuple[int, str, Any]:
    """Post to `/predict`; return the status, the version that answered, and the JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/predict", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["x-model-version"], json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-model-version"], json.loads(error.read())


def request_of(project: Project) -> Any:
    """Return the request that `init` wrote."""
    return json.loads((project.folder / "request.json").read_text())
