"""The layers of `layers/formats`: what batch jobs need to read Parquet, Arrow and zstd.

Only an image whose jobs need one has it; the others stay as they are, byte for byte.
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from fnmodel.pack import bytecode, compression, layer
from fnmodel.pack.dependencies import AT, Install, Lock, install_wheels, runtime_folder
from fnmodel.pack.image import Architecture, Layer, encode
from fnmodel.pack.layout import Store
from fnmodel.pack.prune import PruneList, prune
from fnmodel.shipped import shipped

_FORMAT = 1


def folders(layers: Path | None = None) -> list[Path]:
    """Return the folder of each layer: its requirements, and a lock for each Python."""
    formats = (layers or shipped("layers")) / "formats"
    return sorted(path for path in formats.glob("*") if path.is_dir())


def formats_layer(
    store: Store,
    name: str,
    runtime: Lock,
    architecture: Architecture,
    compiler: bytecode.Compiler,
    progress: Callable[[str], None],
    install: Install | None = None,
) -> Layer | None:
    """Return the layer of this name; None where this Python needs no package for it.

    Raises:
        LockError: a wheel cannot be had, or there is no lock for this Python.
        PackError: a file does not compile.

    """
    lock = Lock.load(runtime.python, shipped("layers") / "formats" / name)
    if not lock.data.strip():
        return None
    rules = (runtime_folder() / "prune.txt").read_text(encoding="utf-8")
    inputs = [
        _FORMAT, lock.digest, rules, architecture, compression.DEFLATED, compiler.identity,
    ]  # fmt: skip
    key = f"formats-{hashlib.sha256(encode(inputs)).hexdigest()}"
    known = store.recall_layer(key)
    if known:
        progress(f"{name}: unchanged")
        return known
    with tempfile.TemporaryDirectory(prefix=".formats-", dir=store.root) as folder:
        tree = Path(folder) / "tree"
        progress(f"installing what reads {name}")
        (install or install_wheels)(lock, architecture, tree)
        prune(tree, PruneList.parse(rules))
        compiler.compile(tree, f"/{AT}")
        made = layer.write(
            store, layer.tree(tree, AT), f"fnmodel pack: {name}", compression.deflated
        )
    store.remember_layer(key, made)
    return made
