"""Renews the locks of the layers: `python -m fnmodel.pack.lock [VERSION…]`.

One file serves both architectures, because uv locks the hashes of all wheels of a release; that
is checked each time.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fnmodel.errors import FnmodelError, LockError
from fnmodel.pack.dependencies import PLATFORMS, run_uv, runtime_folder
from fnmodel.pack.formats import folders

_PIN = re.compile(r"^([a-z0-9-]+)==([\w.+]+)", re.MULTILINE)
_LINE = re.compile(r"[a-z0-9-]+==[\w.+]+ \\|    --hash=sha256:[0-9a-f]{64}(?: \\)?")

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Change:
    """A package whose pin is new (`before` is None), gone (`after` is None), or another one."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.before or 'new'} → {self.after or 'gone'}"


def pins(text: str) -> dict[str, str]:
    """Return the version of each package that a lock pins."""
    return dict(_PIN.findall(text))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the packages whose pins differ, by name."""
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


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


Resolve = Callable[..., str]
"""`resolve`, or what stands in for it."""


def renew(
    python: str,
    folder: Path,
    resolve: Resolve = resolve,
    runtime: Path | None = None,
    *,
    whole: bool = True,
) -> tuple[Change, ...]:
    """Write the lock of one minor version of Python, and return what changed in it.

    With `runtime`, the folder of the runtime's locks, the layer lies on top of the runtime's, and
    holds to its pins; unless `whole`, what that has is not in this lock.

    Raises:
        LockError: as `resolve`, or the architectures need different locks.

    """
    below = runtime / f"py{python}.txt" if runtime else None
    bound = {"constraints": below} if below else {}
    texts = {resolve(folder / "requirements.in", python, p, **bound) for p in PLATFORMS.values()}
    if below and not whole:
        there = pins(below.read_text(encoding="utf-8"))
        texts = {_beyond(text, there) for text in texts}
    if len(texts) > 1:
        raise LockError(f"Python {python} resolves differently for {' and '.join(PLATFORMS)}")
    path = folder / f"py{python}.txt"
    before, after = path.read_text(encoding="utf-8") if path.is_file() else "", texts.pop()
    path.write_text(after, encoding="utf-8")
    return changes(pins(before), pins(after))


def _beyond(text: str, there: Mapping[str, str]) -> str:
    """Leave out of a lock the packages that are there already."""
    kept, keep = [], True
    for line in text.splitlines(keepends=True):
        pin = _PIN.match(line)
        keep = pin[1] not in there if pin else keep
        kept += [line] if keep else []
    return "".join(kept)


def main(versions: Sequence[str], folder: Path | None = None, resolve: Resolve = resolve) -> int:
    """Renew the locks of the given versions, or of all, and print what changed in each.

    Those of the runtime come first; the ones of the layers above hold to them.
    """
    runtime = folder or runtime_folder()
    tracing = runtime.parent / "tracing"
    above = [(path, path == tracing) for path in (tracing, *folders(runtime.parent))]
    try:
        for python in versions or VERSIONS:
            _told(f"py{python}.txt", renew(python, runtime, resolve))
            for other, whole in above:
                if other.is_dir():
                    changed = renew(python, other, resolve, runtime, whole=whole)
                    _told(f"{other.name}/py{python}.txt", changed)
    except FnmodelError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    return 0


def _told(name: str, changed: Sequence[Change]) -> None:
    sys.stdout.write(f"{name}{'' if changed else ': nothing changed'}\n")
    width = max((len(change.name) for change in changed), default=0)
    for change in changed:
        sys.stdout.write(f"  {change.name:<{width}}  {change}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
