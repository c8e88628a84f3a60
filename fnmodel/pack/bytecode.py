"""Compiles `.pyc` files that name no path of this machine and trust their source by agreement.

Lambda's file system is read-only, so without them every cold start compiles every import: 2.3
times slower. `unchecked-hash` makes them independent of times.
"""

import os
import subprocess
import sys
from pathlib import Path

from fnmodel.errors import PackError

_VERSION = "import sys; print('%d.%d' % sys.version_info[:2], sys.implementation.name)"


def find_interpreter(python: str, path: str | None = None) -> Path:
    """Return a CPython of a minor version such as `3.13`: this one, else the first on PATH.

    Each candidate is started and asked, since a shim may answer to a version that it cannot run.

    Raises:
        PackError: there is none.

    """
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(getattr(sys, "_base_executable", None) or sys.executable)
    for folder in (path if path is not None else os.environ.get("PATH", "")).split(os.pathsep):
        candidate = Path(folder) / f"python{python}"
        if folder and os.access(candidate, os.X_OK) and _answers(candidate, python):
            return candidate
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise PackError(
        f"compiling for Python {python} needs a Python {python}, and PATH has none",
        hint=f"install python{python}, or set `image.python` to {here}, which runs fnmodel",
    )


def _answers(candidate: Path, python: str) -> bool:
    try:
        asked = subprocess.run(
            [candidate, "-I", "-S", "-c", _VERSION],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and asked.stdout.split() == [python, "cpython"]


def compile_tree(interpreter: Path, folder: Path, at: str) -> None:
    """Add `__pycache__` to every package below a folder that will lie at `at` in the image.

    Raises:
        PackError: a file does not compile.

    """
    environment = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "")}
    arguments = ["-q", "-j0", "-o0", "--invalidation-mode", "unchecked-hash"]
    paths = ["-s", str(folder), "-p", at, str(folder)]
    done = subprocess.run(
        [interpreter, "-P", "-s", "-S", "-m", "compileall", *arguments, *paths],
        env=environment, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).replace(f"{folder}/", "")
        raise PackError(f"a file does not compile: {said[-500:]}")
