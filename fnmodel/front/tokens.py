"""Token ids to the tensors that a transformer takes: cut, framed by special tokens, padded."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnmodel.front.column import texts

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS = 32
_NEITHER = (False, False)
# Unicode's White_Space; Python's strip() takes four control characters more.
_SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_GIVEN = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Tokens:
    """Texts, shape (rows, 1), to int64 tensors (rows, L), where L is the longest row's length.

    `gives` says which tensor stands where. A special token written in a text is that token;
    `strips` says of some whether the spaces before and after go with it.
    """

    encode: Callable[[str], Sequence[int]]
    special: Mapping[str, int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    padding: int
    longest: int
    gives: tuple[str, ...]
    pattern: re.Pattern[str] | None
    strips: Mapping[str, tuple[bool, bool]]
    source: int = 0
    rows_at_once: int = _ROWS

    @staticmethod
    def from_json(data: Mapping[str, Any], encode: Callable[[str], Sequence[int]]) -> "Tokens":
        """Read what all tokenizers share; `encode` cuts a text without special tokens."""
        special = {str(text): int(number) for text, number in data["special"].items()}
        # The longest first, as the tokenizer matches them.
        names = sorted(special, key=len, reverse=True)
        pattern = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None
        unknown = set(data["gives"]) - set(_GIVEN)
        if unknown:
            message = f"a tokenizer gives no {unknown.pop()!r}"
            raise ValueError(message)
        made = Tokens(
            encode=encode,
            special=special,
            prefix=tuple(map(int, data["prefix"])),
            suffix=tuple(map(int, data["suffix"])),
            padding=int(data["padding"]),
            longest=int(data["max_length"]),
            gives=tuple(data["gives"]),
            pattern=pattern,
            strips={str(text): (bool(a), bool(b)) for text, (a, b) in data["strips"].items()},
            source=int(data.get("column", 0)),
        )
        if made.longest <= len(made.prefix) + len(made.suffix):
            message = f"max_length {made.longest} leaves no room for a text"
            raise ValueError(message)
        return made

    def weight(self, outputs: Sequence[Array]) -> int:  # noqa: ARG002 - of the protocol
        """Return 0: the rows at once are few enough."""
        return 0

    def ids(self, text: str) -> list[int]:
        """Return the ids of one text, cut to the longest length, with prefix and suffix."""
        parts = [text] if self.pattern is None else self.pattern.split(text)
        inner: list[int] = []
        for at, part in enumerate(parts):
            inner += (self.special[part],) if at % 2 else self._between(parts, at)
        room = self.longest - len(self.prefix) - len(self.suffix)
        return [*self.prefix, *inner[:room], *self.suffix]

    def _between(self, parts: Sequence[str], at: int) -> Sequence[int]:
        """Return the ids of the text between two special tokens, which may take its spaces."""
        part = parts[at]
        if at and self.strips.get(parts[at - 1], _NEITHER)[1]:
            part = part.lstrip(_SPACES)
        if at + 1 < len(parts) and self.strips.get(parts[at + 1], _NEITHER)[0]:
            part = part.rstrip(_SPACES)
        return self.encode(part) if part else ()

    def __call__(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return the tensors that `gives` names.

        Raises:
            InputError: the input is not text.

        """
        rows = [self.ids(text) for text in texts(inputs[0], self.source)]
        shape = (len(rows), max(map(len, rows), default=0))
        tensors = {name: np.zeros(shape, dtype=np.int64) for name in self.gives}
        for name, value in (("input_ids", self.padding), ("attention_mask", 0)):
            if name in tensors:
                tensors[name][:] = value
        for row, ids in enumerate(rows):
            if "input_ids" in tensors:
                tensors["input_ids"][row, : len(ids)] = ids
            if "attention_mask" in tensors:
                tensors["attention_mask"][row, : len(ids)] = 1
        return tuple(tensors[name] for name in self.gives)
