"""What a tokenizer makes of single characters, as measured from it when the model was converted.

Unicode's tables differ between the library that trained and this Python, and between two Pythons;
so the front carries the tokenizer's own answers.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HANGUL = re.compile("[\uac00-\ud7a3]+")


class Table(dict[int, str | None]):
    """A table for `str.translate` over ranges, each with one rule for all of its characters.

    Rules: `removed`; `space`, a blank in its place; `alone`, blanks around it; else what `changed`
    says, or the character as it is. Looked up once for each character that occurs.
    """

    def __init__(
        self, ranges: Mapping[str, Sequence[Sequence[int]]], changed: Mapping[str, str]
    ) -> None:
        super().__init__((ord(character), text) for character, text in changed.items())
        flat = sorted(
            (int(first), int(last), rule) for rule, pairs in ranges.items() for first, last in pairs
        )
        self._firsts = [first for first, _, _ in flat]
        self._flat = flat

    def __missing__(self, code: int) -> str | None:
        """Return what becomes of a character that was not looked up before."""
        found: str | None = chr(code)
        at = bisect_right(self._firsts, code) - 1
        if at >= 0 and code <= self._flat[at][1]:
            rule = self._flat[at][2]
            found = {"removed": None, "space": " ", "alone": f" {chr(code)} "}[rule]
        self[code] = found
        return found


@dataclass(frozen=True)
class Characters:
    """Normalises a text and puts blanks between its words.

    `decomposed` says that accents were taken off by canonical decomposition, of which Hangul
    syllables and the order of the remaining marks are left to Python.
    """

    table: Table
    decomposed: bool

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Characters":
        """Read `ranges` by rule, `changed` and `decomposed`."""
        unknown = set(data["ranges"]) - {"removed", "space", "alone"}
        if unknown:
            message = f"no rule {unknown.pop()!r}"
            raise ValueError(message)
        return Characters(Table(data["ranges"], data["changed"]), bool(data["decomposed"]))

    def words(self, text: str) -> list[str]:
        """Return the words of a text, punctuation apart."""
        if self.decomposed and not text.isascii():
            text = _HANGUL.sub(lambda run: unicodedata.normalize("NFD", run[0]), text)
            text = text.translate(self.table)
            if any(map(unicodedata.combining, text)):
                text = unicodedata.normalize("NFD", text)
        else:
            text = text.translate(self.table)
        return [word for word in text.split(" ") if word]
