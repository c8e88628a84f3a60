"""The versions that a conversion depends on, read without importing the packages."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "scikit-learn", "onnx", "onnxruntime", "numpy", "scipy", "pandas", "protobuf", "xgboost",
    "xgboost-cpu", "lightgbm", "catboost", "skops", "torch", "onnxscript", "onnxslim", "keras",
    "transformers", "tokenizers", "safetensors",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the version of each package that is installed.

    The names of the folders that installers leave say it; `importlib.metadata` would read and
    parse a file a package, which takes longer than all else of a conversion found in the cache.
    """
    found: dict[str, str] = {}
    for entry in sys.path:
        for name, version in _installed(Path(entry)):
            found.setdefault(name, version)
    return {name: found[name] for name in PACKAGES if name in found}


def _installed(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the normalised name and the version of each distribution in a folder."""
    try:
        names = [path.name for path in folder.iterdir() if path.suffix == ".dist-info"]
    except OSError:
        return
    for entry in sorted(names):
        name, _, version = entry.removesuffix(".dist-info").partition("-")
        yield re.sub(r"[-_.]+", "-", name).lower(), version
