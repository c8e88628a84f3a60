"""Finds a Python of a minor version on this machine: to compile for an image, and to run one."""

import os
import subprocess
import sys
from pathlib import Path

MINORS = ("3.11", "3.12", "3.13", "3.14")
"""What an image may be for."""

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version that runs now."""

_VERSION = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name)"


def find(python: str, path: str | None = None) -> Path | None:
    """Return a CPython of a minor version such as `3.13`: this one, else the first on PATH.

    It is one outside any virtual environment when this one is meant. Each candidate is started and
    asked, since a shim may answer to a version that it cannot run.
    """
    if python == RUNNING:
        return Path(getattr(sys, "_base_executable", None) or sys.executable)
    for folder in (path if path is not None else os.environ.get("PATH", "")).split(os.pathsep):
        candidate = Path(folder) / f"python{python}"
        if folder and os.access(candidate, os.X_OK) and _answers(candidate, python):
            return candidate
    return None


def _answers(candidate: Path, python: str) -> bool:
    try:
        asked = subprocess.run(
            [candidate, "-I", "-S", "-c", _VERSION],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and asked.stdout.split() == [python, "cpython"]
