"""Compiles `.pyc` files that name no path of this machine and trust their source by agreement.

Lambda's file system is read-only, so without them every cold start compiles every import: 2.3
times slower. `unchecked-hash` makes them independent of times.
"""

import os
import subprocess
from pathlib import Path

from fnmodel import interpreter
from fnmodel.errors import PackError


def find_interpreter(python: str, path: str | None = None) -> Path:
    """Return a CPython of a minor version such as `3.13`; see `fnmodel.interpreter`.

    Raises:
        PackError: there is none.

    """
    found = interpreter.find(python, path)
    if found is None:
        raise PackError(
            f"compiling for Python {python} needs a Python {python}, and PATH has none",
            hint=f"install python{python}, or set `image.python` to {interpreter.RUNNING}, which "
            "runs fnmodel",
        )
    return found


def compile_tree(python: Path, folder: Path, at: str) -> None:
    """Add `__pycache__` to every package below a folder that will lie at `at` in the image.

    Raises:
        PackError: a file does not compile.

    """
    environment = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", "")}
    arguments = ["-q", "-j0", "-o0", "--invalidation-mode", "unchecked-hash"]
    paths = ["-s", str(folder), "-p", at, str(folder)]
    done = subprocess.run(
        [python, "-P", "-s", "-S", "-m", "compileall", *arguments, *paths],
        env=environment, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).replace(f"{folder}/", "")
        raise PackError(f"a file does not compile: {said[-500:]}")
