"""Leaves out what serving never opens: a reviewed list of patterns, applied to an installed tree.

A line of the list is a pattern of paths from the tree's root: `*` stays within one folder, `**/`
spans any number of them, and a folder stands for all that it holds. `!` in front keeps what a
pattern would remove. `#` starts a comment.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class PruneList:
    """Patterns of what to remove and of what to keep in spite of them."""

    remove: tuple[str, ...]
    keep: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> "PruneList":
        """Read a list."""
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        return PruneList(
            tuple(line for line in lines if line and not line.startswith("!")),
            tuple(line[1:] for line in lines if line.startswith("!")),
        )

    def removes(self, path: str) -> bool:
        """Whether the file of this path is left out."""
        return self._matches(self.remove, path) and not self._matches(self.keep, path)

    @staticmethod
    def _matches(patterns: tuple[str, ...], path: str) -> bool:
        return bool(patterns) and _expression(patterns).match(path) is not None

    def unused(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the patterns that match none of these paths, which should leave the list."""
        known = list(paths)
        return tuple(
            pattern
            for pattern in (*self.remove, *self.keep)
            if not any(_expression((pattern,)).match(path) for path in known)
        )


@cache
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(_translate(pattern) for pattern in patterns)
    return re.compile(f"(?:{either})(?:/|$)")


def _translate(pattern: str) -> str:
    words = {"**/": "(?:.*/)?", "*": "[^/]*"}
    return "".join(words.get(word, re.escape(word)) for word in re.split(r"(\*\*/|\*)", pattern))


def prune(folder: Path, listed: PruneList) -> None:
    """Remove files of an installed tree, their lines in RECORD, and folders left empty."""
    prune_where(folder, listed.removes)


def prune_where(folder: Path, unwanted: Callable[[str], bool]) -> None:
    """Remove files as `prune` does, by their paths from the tree's root."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif unwanted(path.relative_to(folder).as_posix()):
            path.unlink()
    edit_records(folder, lambda row: row if (folder / row[0]).exists() else None)


def edit_records(folder: Path, edit: Callable[[list[str]], list[str] | None]) -> None:
    """Write what an edit makes of each line of the packages' RECORDs; None leaves a line out."""
    for record in folder.glob("*.dist-info/RECORD"):
        rows = csv.reader(io.StringIO(record.read_text(encoding="utf-8")))
        text = io.StringIO()
        kept = (edited for row in rows if row and (edited := edit(row)))
        csv.writer(text, lineterminator="\n").writerows(kept)
        # uv may have linked the file from its cache: a new one, never an edit in place.
        record.unlink()
        record.write_text(text.getvalue(), encoding="utf-8")
