"""When the files of a cache were last used, so that a clean-up takes what nobody needs.

The mark is a file's time of modification, set anew at each use: access times are kept by few
mounts, and a backup that reads all files would renew them. Whoever marks a file may count on it
for an hour.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SAFE_SECONDS = 3600.0
_FRESH_SECONDS = 600.0


@dataclass(frozen=True)
class Freed:
    """What a clean-up removed, or would remove: how many things, of how many bytes."""

    count: int = 0
    size: int = 0

    def __add__(self, other: "Freed") -> "Freed":
        return Freed(self.count + other.count, self.size + other.size)


class Uses:
    """The marks below one folder; several processes may mark and remove at a time."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock

    def mark(self, path: Path) -> bool:
        """Mark a file as used now; whether it is there."""
        try:
            now = self._clock()
            if path.stat().st_mtime < now - _FRESH_SECONDS:
                with self.locked(fcntl.LOCK_SH):
                    os.utime(path, (now, now))
        except OSError:
            # What cannot be marked (another's, a read-only folder's) nobody cleans up either.
            return path.exists()
        return True

    def clean(
        self, things: Iterable[tuple[Path, Path]], seconds: float, *, dry_run: bool = False
    ) -> Freed:
        """Remove files and folders whose mark, a file, says that nobody used them for so long.

        `things` are pairs of what to remove and its mark. What was used within an hour stays in
        any case: a build may be under way.
        """
        freed = Freed()
        for path, mark in things:
            with self.locked():  # nobody marks it between the question and the removal
                if not self._unused(mark, max(seconds, _SAFE_SECONDS)):
                    continue
                freed += Freed(1, _size(path))
                if not dry_run:
                    _remove(path)
        return freed

    def _unused(self, mark: Path, seconds: float) -> bool:
        try:
            return mark.stat().st_mtime < self._clock() - seconds
        except FileNotFoundError:  # another clean-up was first
            return False

    @contextmanager
    def locked(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Hold the folder's lock for the length of a block."""
        with (self._root / ".lock").open("a") as file:
            fcntl.flock(file, how)
            yield


def _size(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(one.lstat().st_size for one in inside if not one.is_dir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
