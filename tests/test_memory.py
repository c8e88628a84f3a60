"""Models that ask for more memory than there is: they are refused it, and the process lives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from http_cases import serving
from serve_cases import event, model_folder

from fnmodel.engine import refused
from fnmodel.errors import CapacityError
from fnmodel.serve.endpoint import Call, respond
from fnmodel.serve.memory import given

ROOT = Path(__file__).parents[1]

CALL = """
import json, resource, sys
from handlers import model
said = [model.handler(event, None) for event in json.loads(sys.stdin.read())]
print(json.dumps(said), file=sys.stderr)
print(resource.getrlimit(resource.RLIMIT_DATA)[0], file=sys.stderr)
"""


def call(folder: Path, events: list[Any], megabytes: int) -> tuple[list[dict[str, Any]], int]:
    """Return what a function of so much memory answers, and its limit in bytes."""
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FNMODEL_MODEL_DIR": str(folder),
        "FNMODEL_MODEL_NAME": "churn", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(megabytes),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", CALL], env=environ, check=True, text=True, capture_output=True,
        input=json.dumps(events),
    )  # fmt: skip
    answers, limit = ran.stderr.strip().splitlines()[-2:]
    return json.loads(answers), int(limit)


def sized(*values: float) -> dict[str, Any]:
    return event(body={"records": [{"x": value} for value in values]})


def test_a_memory_bomb_is_refused() -> None:
    """16 GiB by a hundred bytes are a 507, and by the long way too; the next answers are right."""
    rows = [1.0] * 8_000  # over 32 KiB, so that numpy is imported
    events = [
        sized(3),
        sized(4e9),
        sized(3),
        sized(1e18),
        sized(*rows, 4e9),
        sized(3),
        sized(*rows),
    ]

    answers, _ = call(model_folder("large"), events, 512)

    assert [a["statusCode"] for a in answers] == [200, 507, 200, 507, 507, 200, 200]
    assert json.loads(answers[1]["body"]) == {
        "error": "the model needs more memory than there is; send fewer rows, or use batch"
    }
    assert json.loads(answers[5]["body"])["predictions"] == [{"value": 3.0}]


@pytest.mark.parametrize("name", ["classifier", "mixed", "regressor", "tensors"])
def test_the_least_memory_is_enough(name: str) -> None:
    """In a function of 128 MB a large body, numpy and the web framework are loaded and answer."""
    rows = {
        "classifier": {"a": 1, "b": 2, "c": 3},
        "mixed": {"age": 30, "income": None, "plan": "gold", "visits": 2},
        "regressor": {"x": 1, "y": 2},
    }
    body = {"records": [rows[name]] * 20_000} if name in rows else "[" * 40_000
    events = [event(body=body), event(method="GET", path="/openapi.json")]

    answers, limit = call(model_folder(name), events, 128)

    assert [a["statusCode"] for a in answers] == [200 if name in rows else 400, 200]
    assert 384 << 20 < limit < 1 << 30


def test_a_memory_bomb_is_refused_over_http(tmp_path: Path) -> None:
    """The HTTP server takes the memory of its container, or that of Lambda's variable."""
    with serving(model_folder("large"), tmp_path, AWS_LAMBDA_FUNCTION_MEMORY_SIZE="512") as server:
        answers = [
            server.ask("POST", "/predict", {"records": [{"x": x}]}).status for x in (3, 4e9, 3)
        ]

    assert answers == [200, 507, 200]


def test_python_itself_out_of_memory() -> None:
    """A MemoryError anywhere in an answer is a 507, not a failure of the model."""

    def fail(_: Call) -> Any:
        raise MemoryError

    assert respond(fail, Call({}, {}, b""), limit=1).status == 507
    assert isinstance(refused(MemoryError()), CapacityError)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "536870912\n"}, 512),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": "268435456\n",
            },
            256,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/pod\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
            },
            128,
        ),
        (
            {
                "proc/self/cgroup": "5:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_memory_follows_the_cgroup(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    """The least limit around the process, by either version; none is none."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert given({}, tmp_path) == (expected and expected << 20)
    assert given({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "64"}, tmp_path) == 64 << 20
