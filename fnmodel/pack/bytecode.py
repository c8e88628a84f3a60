"""Compiles `.pyc` files that name no path of this machine and trust their source by agreement.

Lambda's file system is read-only, so without them every cold start compiles every import: 2.3
times slower. `unchecked-hash` makes them independent of times.

A few modules compile to other bytes in another patch release. So the base image's own Python
compiles where it can be run: then no Python of this machine enters the image.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fnmodel import bubblewrap, interpreter
from fnmodel.errors import PackError
from fnmodel.pack.image import Image, digest_of, encode, host_architecture, oci_architecture
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack
from fnmodel.pack.tree import entry_python

Choose = Callable[[Image, str, Store], AbstractContextManager["Compiler"]]
"""Gives the compiler for a base image and a minor version of Python."""


class Compiler(Protocol):
    """A CPython of the image's minor version."""

    @property
    def identity(self) -> str:
        """What its bytecode depends on: part of the keys of layers."""

    def compile(self, folder: Path, at: str) -> None:
        """Add `__pycache__` to every package below a folder that will lie at `at` in the image.

        Raises:
            PackError: a file does not compile.

        """


@contextmanager
def choose(base: Image, python: str, store: Store) -> Iterator[Compiler]:
    """Give the base's own Python of a minor version where it runs here, else this machine's.

    Raises:
        PackError: neither is there, or a layer of the base is damaged.

    """
    program = _program(base, python, store)
    if program is None:
        yield host(python)
        return
    with tempfile.TemporaryDirectory(prefix=".base-", dir=store.root) as name:
        yield _Base(base, program, store, Path(name) / "root")


def host(python: str) -> Compiler:
    """Return this machine's CPython of a minor version such as `3.13`.

    Raises:
        PackError: there is none.

    """
    found = find_interpreter(python)
    return _Host(found, f"cpython-{interpreter.version(found)}")


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
            "runs fnmodel; or install bubblewrap: then the base image's own Python compiles",
        )
    return found


@dataclass(frozen=True)
class _Host:
    """A Python of this machine."""

    program: Path
    identity: str

    def compile(self, folder: Path, at: str) -> None:
        environment = {"PATH": os.environ.get("PATH", "")}
        _run([str(self.program)], environment, str(folder), at, folder)


@dataclass(frozen=True)
class _Base:
    """The Python inside a base image, which is unpacked when it is first needed."""

    image: Image
    program: str
    store: Store
    root: Path

    @property
    def identity(self) -> str:
        diff_ids = [layer.diff_id for layer in self.image.layers]
        return f"base-{digest_of(encode(diff_ids))}"

    def compile(self, folder: Path, at: str) -> None:
        unpack(self.image, self.store, self.root)
        variables = (self.image.settings.get("config") or {}).get("Env") or ()
        environment = dict(entry.partition("=")[::2] for entry in variables)
        command = [*bubblewrap.confined(self.root, folder), self.program]
        try:
            _run(command, environment, "/tmp", at, folder)  # noqa: S108
        except PackError as error:
            error.hint = f"the base's own {self.program} compiled; try it, or take another base"
            raise


def _program(base: Image, python: str, store: Store) -> str | None:
    """Return the path of the base's Python if this machine can run it."""
    here = oci_architecture(host_architecture())
    if not base.layers or base.settings["architecture"] != here or not bubblewrap.works():
        return None
    return entry_python(base, python, store)


def _run(
    command: Sequence[str], environment: Mapping[str, str], seen: str, at: str, folder: Path
) -> None:
    """Compile a folder that the interpreter sees as `seen`."""
    arguments = ["-q", "-j0", "-o0", "--invalidation-mode", "unchecked-hash"]
    done = subprocess.run(
        [
            *command, "-P", "-s", "-S", "-m", "compileall", *arguments,
            "-s", seen, "-p", at, seen,
        ],
        env={**environment, "PYTHONHASHSEED": "0"},
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        said = done.stdout.strip() or done.stderr.strip()
        for path in (folder, seen):
            said = said.replace(f"{path}/", "")
        raise PackError(f"a file does not compile: {said[-500:]}")
