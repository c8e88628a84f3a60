"""A bundle of what a cold start imports of the base's own standard library, as a layer above it.

Many bases come without bytecode of their library, and in a read-only file system it is compiled
again at every cold start. The layer depends on nothing but the base, so it changes with that alone.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fnmodel.imports import NAME
from fnmodel.pack import bundle, bytecode, compression, layer
from fnmodel.pack.archive import entries
from fnmodel.pack.image import Image, Layer, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.survey import survey
from fnmodel.pack.tree import Tree, entry_python, plain

_FORMAT = 1
# The library's largest module has 0.3 MB.
_LARGEST = 4 << 20


def stdlib_layer(
    store: Store,
    base: Image,
    python: str,
    compiler: bytecode.Compiler,
    *,
    progress: Callable[[str], None],
) -> Layer | None:
    """Return the layer for a base; None without a base, or where its library is not found.

    Raises:
        PackError: a layer of the base is damaged, or a file does not compile.

    """
    tree = Tree([survey(one, store) for one in base.layers])
    library = _library(tree, entry_python(base, python, store), python)
    if library is None:
        return None
    names = bundle.startup()
    diff_ids = [one.diff_id for one in base.layers]
    inputs = [_FORMAT, diff_ids, library, names, compiler.identity, compression.DEFLATED]
    key = f"stdlib-{hashlib.sha256(encode(inputs)).hexdigest()}"
    known = store.recall_layer(key)
    if known:
        progress("the base's standard library: unchanged")
        return known
    progress("compiling the base's standard library")
    with tempfile.TemporaryDirectory(prefix=".stdlib-", dir=store.root) as name:
        folder = Path(name)
        for path, content in _sources(tree, base, store, library, names).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        compiler.compile(folder, f"/{library}")
        bundle.write(folder, python, names)
        if not (folder / NAME).is_file():
            return None
        files: dict[str, layer.Content] = {f"{library}/{NAME}": folder / NAME}
        made = layer.write(store, files, "fnmodel pack: imports", compression.deflated)
    store.remember_layer(key, made)
    return made


def _library(tree: Tree, program: str | None, python: str) -> str | None:
    """Return the folder of the standard library that belongs to a Python."""
    found = tree.find(program) if program else None
    if found is None:
        return None
    prefix = PurePosixPath(found.path).parent.parent
    for name in ("lib", "lib64"):
        library = str(prefix / name / f"python{python}")
        entry = tree.find(f"{library}/os.py")
        # Not by way of a link: our layer would replace it with a folder.
        if entry is not None and entry.path == f"{library}/os.py":
            return library
    return None


def _sources(
    tree: Tree, base: Image, store: Store, library: str, names: tuple[str, ...]
) -> dict[str, bytes]:
    """Return the sources of these modules by their paths below the library's folder."""
    stems = [f"{library}/{name.replace('.', '/')}" for name in names]
    wanted = {
        path
        for stem in stems
        for path in (f"{stem}.py", f"{stem}/__init__.py")
        if (entry := tree.paths.get(path)) and entry.kind == "file" and entry.size <= _LARGEST
    }
    found: dict[str, bytes] = {}
    for one in base.layers:
        if wanted.isdisjoint(entry.path for entry in survey(one, store).entries):
            continue
        for member, stream in entries(one, store):
            path = plain(member.name)
            if path in wanted and member.isreg():
                found[path.removeprefix(f"{library}/")] = stream.read(member.size)
    return found
