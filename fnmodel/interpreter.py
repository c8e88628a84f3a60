"""Finds a Python of a minor version on this machine: to compile for an image, and to run one."""

import os
import platform
import subprocess
import sys
from pathlib import Path

MINORS = ("3.11", "3.12", "3.13", "3.14")
"""What an image may be for."""

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version that runs now."""

_VERSION = "import platform as p; print(p.python_version(), p.python_implementation().lower())"


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


def version(program: Path) -> str:
    """Return the full version of an interpreter that `find` returned, such as `3.13.5`."""
    if program == find(RUNNING):
        return platform.python_version()
    return _asked(program)[0]


def _answers(candidate: Path, python: str) -> bool:
    full, implementation = _asked(candidate)
    return implementation == "cpython" and full.startswith(f"{python}.")


def _asked(program: Path) -> tuple[str, str]:
    """Return version and implementation of an interpreter; empty words when it does not start."""
    try:
        asked = subprocess.run(
            [program, "-I", "-S", "-c", _VERSION],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    words = asked.stdout.split()
    return (words[0], words[1]) if asked.returncode == 0 and len(words) == 2 else ("", "")
