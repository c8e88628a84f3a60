"""The versions that a conversion depends on, read without importing the packages."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy", "pandas", "protobuf")


def versions() -> dict[str, str]:
    """Return the version of each package that is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
