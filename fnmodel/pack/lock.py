"""Renews the locks in `layers/runtime`: `python -m fnmodel.pack.lock [VERSION…]`.

One file serves both architectures, because uv locks the hashes of all wheels of a release; that
is checked each time.
"""

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fnmodel.errors import FnmodelError, LockError
from fnmodel.pack.dependencies import PLATFORMS, run_uv, runtime_folder

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def resolve(
    requirements: Path,
    python: str,
    platform: str,
    *,
    constraints: Path | None = None,
    kept: str = "",
) -> str:
    """Return the text of a lock, made from nothing but the requirements.

    `constraints` are pins that hold for packages that it has in common with them; pins of `kept`,
    the text of an earlier lock, stay where they fit.

    Raises:
        LockError: no set of wheels fits, or the text would name a package index or a path.

    """
    with tempfile.TemporaryDirectory(prefix="fnmodel-lock-") as name:
        path = Path(name) / "lock.txt"
        if kept:
            path.write_text(kept, encoding="utf-8")
        bound = ["--constraints", str(constraints)] if constraints else []
        run_uv(
            [
                "pip", "compile", "--no-header", "--no-annotate", "--generate-hashes",
                "--no-emit-index-url", "--no-emit-find-links", "--only-binary", ":all:",
                "--python", sys.executable, "--no-python-downloads",
                "--python-platform", platform, "--python-version", python,
                "--output-file", str(path), *bound, str(requirements),
            ],
            path.parent,
            f"Python {python} on {platform} cannot be resolved",
        )  # fmt: skip
        text = path.read_text(encoding="utf-8")
    stray = [line for line in text.splitlines() if not _LINE.fullmatch(line)]
    if stray:
        raise LockError(f"a lock would hold {stray[0]!r}, which is neither a pin nor a hash")
    return text


_LINE = re.compile(r"[a-z0-9-]+==[\w.+]+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def renew(python: str, folder: Path) -> None:
    """Write the lock of one minor version of Python.

    Raises:
        LockError: as `resolve`, or the architectures need different locks.

    """
    texts = {resolve(folder / "requirements.in", python, p) for p in PLATFORMS.values()}
    if len(texts) > 1:
        raise LockError(f"Python {python} resolves differently for {' and '.join(PLATFORMS)}")
    (folder / f"py{python}.txt").write_text(texts.pop(), encoding="utf-8")


def main(versions: Sequence[str]) -> int:
    """Renew the locks of the given versions, or of all."""
    try:
        for python in versions or VERSIONS:
            renew(python, runtime_folder())
            sys.stderr.write(f"py{python}.txt renewed\n")
    except FnmodelError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
