"""The dependency layer: hash-locked wheels for the target platform, pruned and compiled.

uv installs for a platform and a Python that are not this machine's, from wheels only, so nothing
is built and no code of a package runs.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fnmodel.errors import LockError
from fnmodel.pack import bundle, bytecode, compression, layer
from fnmodel.pack.image import Architecture, Layer, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.prune import PruneList, prune
from fnmodel.pack.strip import strip
from fnmodel.shipped import shipped

AT = "opt/python"
"""Where dependencies lie in the image."""

PLATFORMS: dict[Architecture, str] = {
    "x86_64": "x86_64-manylinux_2_28",
    "arm64": "aarch64-manylinux_2_28",
}
"""uv's platform of each architecture: onnxruntime's oldest, and older than Lambda's glibc 2.34."""

# Raised by hand when the steps below change what comes out of the same inputs.
_FORMAT = 3
# Variables of the caller's own environment that would send uv elsewhere than to our folder.
_MISLEADING = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT")


@dataclass(frozen=True)
class Lock:
    """The pinned wheels of one minor version of Python, with their hashes."""

    python: str
    path: Path
    data: bytes
    layer: str = "project"
    """Which of the layers above the runtime's it is of, if it is of one."""

    @property
    def digest(self) -> str:
        """The digest of the lock file."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @staticmethod
    def load(python: str, folder: Path | None = None, layer: str = "project") -> "Lock":
        """Read the lock for a minor version of Python.

        Raises:
            LockError: there is none.

        """
        folder = folder or runtime_folder()
        path = folder / f"py{python}.txt"
        try:
            return Lock(python, path, path.read_bytes(), layer)
        except OSError as error:
            have = sorted(p.stem.removeprefix("py") for p in folder.glob("py*.txt"))
            raise LockError(
                f"there is no lock for Python {python} in {folder}",
                hint=f"set `image.python` to one of: {', '.join(have)}",
            ) from error


Install = Callable[[Lock, Architecture, Path], None]
"""Puts the wheels of a lock, for an architecture, into a folder."""


def runtime_folder() -> Path:
    """Return the folder of requirements, locks and prune list."""
    return shipped("layers") / "runtime"


def dependency_layer(
    store: Store,
    lock: Lock,
    architecture: Architecture,
    compiler: bytecode.Compiler,
    *,
    progress: Callable[[str], None],
    install: Install | None = None,
) -> Layer:
    """Return the layer of a lock's wheels; the same inputs are installed once a store.

    Raises:
        LockError: a wheel cannot be had.
        PackError: a file does not compile.

    """
    rules = (runtime_folder() / "prune.txt").read_text(encoding="utf-8")
    imports = bundle.startup()
    inputs = [
        _FORMAT, lock.digest, rules, imports, lock.python, architecture,
        version("fnmodel"), compression.DEFLATED, compiler.identity,
    ]  # fmt: skip
    key = f"dependencies-{hashlib.sha256(encode(inputs)).hexdigest()}"
    known = store.recall_layer(key)
    if known:
        progress(f"dependencies for Python {lock.python}, {architecture}: unchanged")
        return known
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=store.root) as name:
        folder = Path(name) / "tree"
        progress(f"installing dependencies for Python {lock.python}, {architecture}")
        (install or install_wheels)(lock, architecture, folder)
        prune(folder, PruneList.parse(rules))
        strip(folder)
        progress("compiling dependencies")
        compiler.compile(folder, f"/{AT}")
        bundle.write(folder, lock.python, imports)
        progress("compressing dependencies")
        created_by = f"fnmodel pack: dependencies, Python {lock.python}, {architecture}"
        made = layer.write(store, layer.tree(folder, AT), created_by, compression.deflated)
    store.remember_layer(key, made)
    return made


def install_wheels(lock: Lock, architecture: Architecture, folder: Path) -> None:
    """Install a lock's wheels into a folder with uv.

    Raises:
        LockError: uv could not get a wheel, or its hash differs.

    """
    run_uv(
        [
            "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:",
            "--python", sys.executable, "--no-python-downloads",
            "--python-platform", PLATFORMS[architecture], "--python-version", lock.python,
            "--target", str(folder), "--requirements", str(lock.path),
        ],
        folder.parent,
        f"the wheels of {lock.path} cannot be installed",
    )  # fmt: skip


def run_uv(arguments: list[str], folder: Path, failure: str) -> str:
    """Run uv in a folder and return what it printed.

    The user's own settings of uv (index, proxy, certificates) hold.

    Raises:
        LockError: it failed; the message is `failure` and uv's last words.

    """
    import uv

    environment = {k: v for k, v in os.environ.items() if k not in _MISLEADING}
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments, "--quiet", "--color", "never"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = re.sub(r"://[^/@\s]+@", "://", done.stderr.strip())[-800:]
        raise LockError(
            f"{failure}: {said}", hint="check the package index that uv uses, or run `make lock`"
        )
    return done.stdout
