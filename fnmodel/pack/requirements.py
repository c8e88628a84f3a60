"""A project's own packages: locked beside its requirements, in a layer on top of the runtime's.

The runtime's lock constrains them, so that both are one set. The lock stands beside the
requirements, one a target, and is made again when they or the runtime's lock change: what it pins
already stays as long as it fits.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fnmodel.errors import LockError
from fnmodel.pack import bundle, bytecode, compression, layer
from fnmodel.pack.dependencies import (
    AT,
    PLATFORMS,
    Install,
    Lock,
    install_wheels,
    runtime_folder,
)
from fnmodel.pack.image import Architecture, Layer, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.lock import Change, Resolve, changes, pins, resolve
from fnmodel.pack.prune import PruneList, prune_where
from fnmodel.shipped import shipped

_INPUTS = re.compile(r"^# inputs: (sha256:[0-9a-f]{64})$", re.MULTILINE)
_FORMAT = 1
WHAT = {"project": "the project's packages", "tracing": "what sends traces"}


def lock(
    requirements: Path,
    runtime: Lock,
    architecture: Architecture,
    *,
    beside: Lock | None = None,
    renew: bool = False,
    resolve: Resolve = resolve,
) -> tuple[Lock, tuple[Change, ...]]:
    """Return the lock of a project's requirements, and what changed in it; writes it if it did.

    It holds to the pins of the runtime, and of a lock `beside` it. With `renew` every pin is chosen
    anew.

    Raises:
        LockError: the requirements cannot be read, hold options, do not fit the runtime's, or have
            no wheels for the target; or the lock cannot be written.

    """
    path = requirements.with_name(f"{requirements.stem}.py{runtime.python}-{architecture}.lock")
    wanted = _read(requirements)
    held = [runtime.digest, *([beside.digest] if beside else [])]
    inputs = f"sha256:{hashlib.sha256(encode([_FORMAT, wanted, *held])).hexdigest()}"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = _INPUTS.search(before)
    if found and found[1] == inputs and not renew:
        return Lock(runtime.python, path, before.encode()), ()
    with _constraints(runtime, beside) as constraints:
        resolved = resolve(
            requirements,
            runtime.python,
            PLATFORMS[architecture],
            constraints=constraints,
            kept="" if renew else before,
        )
    text = (
        f"# Made by `fnmodel lock` of {requirements.name} and the runtime's own lock.\n"
        f"# inputs: {inputs}\n{resolved}"
    )
    _write(path, text)
    return Lock(runtime.python, path, text.encode()), changes(pins(before), pins(text))


def tracing_lock(python: str) -> Lock:
    """Return the lock of what sends traces, which holds to the runtime's.

    Raises:
        LockError: there is none for this version of Python.

    """
    return Lock.load(python, shipped("layers") / "tracing", "tracing")


def extra_layer(
    store: Store,
    own: Lock,
    runtime: Lock,
    architecture: Architecture,
    compiler: bytecode.Compiler,
    *,
    progress: Callable[[str], None],
    install: Install | None = None,
) -> Layer:
    """Return the layer of packages above the runtime's; the same inputs are installed once a store.

    Of a package that the runtime has too, it holds what the runtime's layer leaves out: serving
    does without, and nobody knows whether these packages do.

    Raises:
        LockError: a wheel cannot be had.
        PackError: a file does not compile.

    """
    lists = [_rules(shipped("layers") / "project"), _rules(runtime_folder())]
    imports = bundle.startup()
    what = WHAT[own.layer]
    inputs = [
        _FORMAT, own.digest, runtime.digest, *lists, imports,
        architecture, compression.DEFLATED, compiler.identity,
    ]  # fmt: skip
    key = f"{own.layer}-{hashlib.sha256(encode(inputs)).hexdigest()}"
    known = store.recall_layer(key)
    if known:
        progress(f"{what}: unchanged")
        return known
    with tempfile.TemporaryDirectory(prefix=".project-", dir=store.root) as name:
        folder = Path(name) / "tree"
        progress(f"installing {what}")
        (install or install_wheels)(own, architecture, folder)
        unwanted, left_out = map(PruneList.parse, lists)
        there = _files_of(folder, set(pins(runtime.data.decode())))
        prune_where(
            folder,
            lambda path: unwanted.removes(path) or (path in there and not left_out.removes(path)),
        )
        progress(f"compiling {what}")
        compiler.compile(folder, f"/{AT}")
        bundle.hide(folder, imports)
        made = layer.write(
            store, layer.tree(folder, AT), f"fnmodel pack: {what}",
            compression.deflated,
        )  # fmt: skip
    store.remember_layer(key, made)
    return made


@contextmanager
def _constraints(runtime: Lock, beside: Lock | None) -> Iterator[Path]:
    """Yield a file of what both locks pin."""
    if beside is None:
        yield runtime.path
        return
    held = pins(runtime.data.decode()) | pins(beside.data.decode())
    with tempfile.TemporaryDirectory(prefix="fnmodel-constraints-") as name:
        path = Path(name) / "constraints.txt"
        path.write_text("".join(f"{one}=={at}\n" for one, at in held.items()), encoding="utf-8")
        yield path


def _read(requirements: Path) -> str:
    try:
        text = requirements.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(
            f"the requirements {requirements} cannot be read: {error}",
            hint="mend `requirements:` in fnmodel.yaml",
        ) from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("-"):
            raise LockError(
                f"{requirements.name}, line {number}: {line.strip()!r} is an option",
                hint="write one package a line; indexes belong into uv's own settings",
            )
    return text


def _rules(folder: Path) -> str:
    return (folder / "prune.txt").read_text(encoding="utf-8")


def _files_of(folder: Path, names: set[str]) -> set[str]:
    """Return the files that belong to these packages, by the RECORD of each."""
    found: set[str] = set()
    for record in folder.glob("*.dist-info/RECORD"):
        name = re.sub(r"[-_.]+", "-", record.parent.name.partition("-")[0]).lower()
        if name in names:
            lines = record.read_text(encoding="utf-8").splitlines()
            found |= {line.partition(",")[0].strip('"') for line in lines}
            found |= {p.relative_to(folder).as_posix() for p in record.parent.iterdir()}
    return found


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise LockError(
            f"the lock {path} cannot be written: {error.strerror}",
            hint="it stands beside the requirements, and is to be kept with them",
        ) from error
