"""Environments with other people's clients of model servers, and the models that these call."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from http_cases import ROOT
from slim_cases import convert

BUILD = ROOT / "build" / "clients"


def environment(name: str) -> Path:
    """Return the programs of `requirements/{name}.txt`, installed once for each content of it.

    Where that does not work the test is skipped, but fails in CI.
    """
    lock = ROOT / "requirements" / f"{name}.txt"
    folder = BUILD / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    done = folder / "installed"
    if not done.exists():
        uv = Path(sys.executable).with_name("uv")
        install = ("pip", "install", "--quiet", "--require-hashes", "--no-build", "-r", str(lock))
        for command in (("venv", "--quiet", "--clear", "-p", sys.executable, str(folder)), install):
            ran = subprocess.run(
                [uv, *command], env={**os.environ, "VIRTUAL_ENV": str(folder)},
                capture_output=True, text=True,
            )  # fmt: skip
            if ran.returncode and os.environ.get("CI") == "true":
                pytest.fail(f"{name} cannot be installed: {ran.stderr}")
            if ran.returncode:
                pytest.skip(f"{name} cannot be installed: {ran.stderr[-200:]}")
        done.touch()
    return folder / "bin"


def conformance() -> Any:
    """Return the module of `samples/conformance`, which makes the models."""
    path = ROOT / "samples" / "conformance" / "make.py"
    spec = importlib.util.spec_from_file_location("conformance", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def slimmed(folder: Path) -> Path:
    """Return a folder with the model directories of conformance, as they lie in an image."""
    for name, model in conformance().models():
        source = folder / f"{name}.onnx"
        onnx.save(model, source)
        (folder / "work" / name).mkdir(parents=True)
        assert convert(folder / "work" / name, source, None).passed
        shutil.copytree(folder / "work" / name / "model", folder / "models" / name)
    return folder / "models"


def run(*command: Any, timeout: float = 120) -> str:
    """Run a client and return what it printed; it has to succeed."""
    # Clients must not find a proxy or a package of this environment.
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_PROXY": "*"}
    ran = subprocess.run(
        list(map(str, command)), env=environ, capture_output=True, text=True, timeout=timeout
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
