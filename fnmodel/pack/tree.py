"""An image's files as a process sees them, found without unpacking."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.survey import Entry, Survey, survey

_LINKS = 40
_PYTHON = re.compile(r"(?:^|/)bin/python(3\.\d+)$")
# Folders where a Linux image keeps what belongs to root alone; a function reads nothing there.
_ROOTS_OWN = ("boot", "etc", "root", "var/cache", "var/lib", "var/log", "var/spool")
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


class Tree:
    """The files of layers that lie above one another: upper ones hide lower ones."""

    def __init__(self, surveys: Sequence[Survey]) -> None:
        self.paths: dict[str, Entry] = {}
        for one in surveys:
            self._hide(one)
            self.paths |= {
                entry.path: entry
                for entry in one.entries
                if not PurePosixPath(entry.path).name.startswith(_WHITEOUT)
            }

    @property
    def has_system(self) -> bool:
        """Whether a base is part of it, not only what fnmodel adds."""
        ours = ("opt", "var")
        return any(path.partition("/")[0] not in ours for path in self.paths)

    @property
    def is_musl(self) -> bool:
        """Whether its dynamic loader is musl's."""
        return any(re.match(r"(?:usr/)?lib/ld-musl-", path) for path in self.paths)

    def pythons(self) -> Iterator[tuple[str, str]]:
        """Yield path and minor version of each Python that lies where programs do."""
        for path in self.paths:
            if found := _PYTHON.search(path):
                yield path, found[1]

    def find(self, path: str) -> Entry | None:
        """Return what a path leads to, links followed; None when nothing is there."""
        left = [part for part in path.split("/") if part not in ("", ".")][::-1]
        at: list[str] = []
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                at = at[:-1]
                continue
            entry = self.paths.get("/".join([*at, part]))
            if entry is not None and entry.kind == "link":
                links += 1
                if links > _LINKS:
                    return None
                if entry.target.startswith("/"):
                    at = []
                left += [p for p in entry.target.split("/") if p not in ("", ".")][::-1]
            elif entry is not None and entry.kind == "hardlink" and not left:
                return self.paths.get(plain(entry.target))
            else:
                at.append(part)
        return self.paths.get("/".join(at))

    def unreadable(self) -> Iterator[Entry]:
        """Yield files and folders that others than their owner may not read or enter."""
        for path, entry in self.paths.items():
            if any(path == own or path.startswith(f"{own}/") for own in _ROOTS_OWN):
                continue
            wanted = {"file": 0o004, "folder": 0o005}.get(entry.kind, 0)
            if entry.mode & wanted != wanted:
                yield entry

    def _hide(self, one: Survey) -> None:
        for entry in one.entries:
            parent, _, name = entry.path.rpartition("/")
            if not name.startswith(_WHITEOUT):
                continue
            gone = parent if name == _OPAQUE else f"{parent}/{name[len(_WHITEOUT) :]}".lstrip("/")
            kept = {gone} if name == _OPAQUE else set()
            self.paths = {
                path: known
                for path, known in self.paths.items()
                if path in kept or (path != gone and not path.startswith(f"{gone}/"))
            }


def entry_python(image: Image, minor: str, store: Store) -> str | None:
    """Return the absolute path of an image's Python of a minor version; None when it has none.

    Where it has several, the first on its own PATH.

    Raises:
        PackError: a layer is damaged.

    """
    tree = Tree([survey(layer, store) for layer in image.layers])
    variables = (image.settings.get("config") or {}).get("Env") or ()
    path = dict(one.partition("=")[::2] for one in variables).get("PATH", "")
    for folder in filter(None, path.split(":")):
        candidate = f"/{plain(folder)}/python{minor}"
        if tree.find(candidate):
            return candidate
    return min((f"/{path}" for path, found in tree.pythons() if found == minor), default=None)


def plain(path: str) -> str:
    """Return a path of an archive without `./` and doubled slashes."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
