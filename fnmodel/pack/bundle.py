"""Writes the bundles of `fnmodel.imports`: the code of a folder's modules in one file.

The code is what the compiler has put into `.pyc` files, so a bundle is as reproducible as they are.
Which modules: of ours all, of other folders those of `layers/runtime/imports.txt`, a reviewed list
that a test compares with real starts. The list, not a trial on the machine that builds, decides:
an image for a processor that this machine is not gets the same bytes as anywhere.
"""

import marshal
from _imp import source_hash
from collections.abc import Iterable, Iterator
from pathlib import Path

from fnmodel.imports import KEY, NAME, header
from fnmodel.shipped import shipped

_PYC_HEADER = 16


def startup() -> tuple[str, ...]:
    """Return the modules that cold starts import, ours left out, in the order of their imports."""
    text = (shipped("layers") / "runtime" / "imports.txt").read_text(encoding="utf-8")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


def modules(folder: Path) -> tuple[str, ...]:
    """Return all modules below a folder."""
    paths = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    parts = (path.parent.parts if path.name == "__init__" else path.parts for path in paths)
    return tuple(sorted(".".join(words) for words in parts))


def write(folder: Path, python: str, names: Iterable[str]) -> None:
    """Add the bundle of these modules, as far as they are here, to a folder with bytecode.

    `python` is the minor version that the bytecode is for, such as `3.13`.
    """
    index: dict[str, tuple[int, int, bytes, bool]] = {}
    codes: list[bytes] = []
    magic = b""
    offset = 0
    for name, source in _found(folder, names):
        tag = f"cpython-{python.replace('.', '')}"
        compiled = (source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc").read_bytes()
        magic, code = compiled[:4], compiled[_PYC_HEADER:]
        index[name] = (offset, len(code), source_hash(KEY, code), source.name == "__init__.py")
        codes.append(code)
        offset += len(code)
    if index:
        # The second version of the format marks neither interned nor shared objects, which differ
        # from run to run.
        packed = marshal.dumps(index, 2)
        (folder / NAME).write_bytes(b"".join([header(packed, magic), packed, *codes]))


def hide(folder: Path, names: Iterable[str]) -> None:
    """Hide the bundle of the layer below from a folder that brings one of these modules itself."""
    for name in names:
        parent, last = _place(folder, name)
        files = (parent / last / "__init__.py", *parent.glob(f"{last}.*"))
        if any(path.is_file() for path in files):
            (folder / NAME).write_bytes(b"")
            return


def _found(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield the modules that an import would find here as sources, with these."""
    for name in names:
        parent, last = _place(folder, name)
        package, module = parent / last / "__init__.py", parent / f"{last}.py"
        if package.is_file():
            yield name, package
        # An extension module of the same name comes first.
        elif module.is_file() and not any(parent.glob(f"{last}.*so")):
            yield name, module


def _place(folder: Path, name: str) -> tuple[Path, str]:
    *parents, last = name.split(".")
    return folder.joinpath(*parents), last
