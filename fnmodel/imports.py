"""Serves a cold start's imports from one file a folder.

A folder of `sys.path` may hold a *bundle*: the code of those of its modules that a cold start
imports. Each would otherwise be searched for, opened, measured and read by itself. `install` puts
a finder before that of `sys.path`, and it answers only what a plain import would answer too: a
module that another folder hides is left to the plain import, and so is one whose code is not
what was packed. Sources and their `.pyc` stay where they are, so tracebacks, resources, metadata
and reloads are as ever. `fnmodel.pack.bundle` writes bundles:

    24 bytes   FORMAT, then the magic number of the interpreter that the code is for
     8 bytes   hash of the index
     4 bytes   length of the index, little-endian
    index      marshal: {name: (offset, length, hash, whether it is a package)}
    code       marshal: one code object a module, in the order of the index

This module is loaded before all others, so it imports what every interpreter has loaded anyway.
"""

import marshal
import posix
import sys
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    PathFinder,
    SourceFileLoader,
    spec_from_file_location,
)
from _imp import source_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    Entry = tuple[int, int, bytes, bool]

NAME = "imports.bundle"
"""The file of a folder's bundle."""

FORMAT = b"fnmodel bundle 1\n"
KEY = 1
"""Of the hashes: SipHash, which every interpreter has built in for its hash-based `.pyc` files."""

_HEADER = 36


def header(index: bytes, magic: bytes) -> bytes:
    """Return the first bytes of a bundle with this index, for an interpreter's magic number."""
    start = (FORMAT + magic).ljust(24, b"\0")
    return start + source_hash(KEY, index) + len(index).to_bytes(4, "little")


def install() -> None:
    """Serve imports from the bundles of `sys.path`; what is wrong with one is said in the log."""
    bundles = {folder: bundle for folder in sys.path if (bundle := _open(folder)) is not None}
    path = list(sys.path)
    while path and path[-1] not in bundles:
        path.pop()
    found: dict[str, _Bundle] = {}
    hidden: set[str] = set()
    for folder in path:
        bundle = bundles.get(folder)
        if bundle is not None:
            for name in bundle.index:
                if name.partition(".")[0] not in hidden:
                    found.setdefault(name, bundle)
        if folder != path[-1]:
            hidden.update(entry.partition(".")[0] for entry in _listed(folder))
    # After the finders of built-in and frozen modules, as the plain one is.
    sys.meta_path.insert(sys.meta_path.index(PathFinder), _Finder(found, path))
    from fnmodel import lazy

    lazy.install()


class _Bundle:
    """An open bundle of a folder, used as long as it is `sound`."""

    def __init__(self, folder: str, file: int, length: int) -> None:
        self.folder = folder
        self.sound = True
        self._file = file
        start = posix.pread(file, _HEADER, 0)
        size = int.from_bytes(start[32:], "little")
        index = posix.pread(file, min(size, length), _HEADER)
        if start != header(index, MAGIC_NUMBER):
            raise ImportError("it is damaged, or of another Python or version")
        self.index: dict[str, Entry] = marshal.loads(index)  # noqa: S302 - checked
        self._start = _HEADER + size

    def read(self, name: str) -> "CodeType":
        """Return a module's code.

        Raises:
            ImportError: it is not what was packed.

        """
        offset, size, digest, _ = self.index[name]
        data = posix.pread(self._file, size, self._start + offset)
        if source_hash(KEY, data) != digest:
            raise ImportError(f"the code of {name} is damaged")
        code: CodeType = marshal.loads(data)  # noqa: S302 - checked
        return code


class _Finder:
    """Finds modules of bundles, as long as `sys.path` begins as it did."""

    def __init__(self, bundles: "dict[str, _Bundle]", path: "list[str]") -> None:
        self._bundles = bundles
        self._path = path

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, _: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return how to load a module, or None to leave it to the next finder."""
        bundle = self._bundles.get(name)
        if bundle is None or not bundle.sound:
            return None
        place = f"{bundle.folder}/{name.replace('.', '/')}"
        if path is None:
            if sys.path[: len(self._path)] != self._path:
                return None
        elif next(iter(path), None) != place.rpartition("/")[0]:
            return None
        package = bundle.index[name][3]
        file = f"{place}/__init__.py" if package else f"{place}.py"
        return spec_from_file_location(
            name,
            file,
            loader=_Loader(name, file, bundle),
            submodule_search_locations=[place] if package else None,
        )


class _Loader(SourceFileLoader):
    """Loads a source file whose code is in a bundle."""

    def __init__(self, name: str, path: str, bundle: _Bundle) -> None:
        super().__init__(name, path)
        self._bundle = bundle

    def get_code(self, fullname: str) -> "CodeType | None":
        """Return the module's code, by the plain way where the bundle's is damaged."""
        try:
            return self._bundle.read(fullname)
        except (ImportError, OSError) as error:
            if self._bundle.sound:
                self._bundle.sound = False
                _say(self._bundle.folder, error)
            return super().get_code(fullname)


def _open(folder: str) -> _Bundle | None:
    try:
        file = posix.open(f"{folder}/{NAME}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return None
    try:
        length = posix.fstat(file).st_size
        if length:  # an empty file hides the bundle of a lower layer of the image
            return _Bundle(folder, file, length)
    except (ImportError, OSError) as error:
        _say(folder, error)
    posix.close(file)
    return None


def _listed(folder: str) -> "Iterable[str]":
    try:
        return posix.listdir(folder or ".")
    except OSError:
        return ()


def _say(folder: str, error: Exception) -> None:
    # By hand, since the json module may be what cannot be read.
    said = f"imports take longer: {folder}/{NAME} is not used: {error}"
    sys.stderr.write(f'{{"level": "WARNING", "message": "{said}"}}\n')
