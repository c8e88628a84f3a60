"""Finds the files that ship beside the package: handlers, layers and the stack template."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """Return the path of `handlers`, `layers` or `template.yaml`.

    An installed wheel holds them in `fnmodel/_shipped`; in a checkout they stand beside the
    package, where people read and edit them.

    Raises:
        FileNotFoundError: the installation is incomplete.

    """
    for root in (_PACKAGE / "_shipped", _PACKAGE.parent):
        path = root / name
        if path.exists():
            return path
    message = f"{name} is missing from this installation of fnmodel; install it again"
    raise FileNotFoundError(message)
