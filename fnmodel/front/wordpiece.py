"""The `wordpiece` step: texts to the ids of a BERT vocabulary."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fnmodel.front.characters import Characters
from fnmodel.front.tokens import Tokens

_REMEMBERED_WORDS = 1 << 16


def wordpiece(data: Mapping[str, Any]) -> Tokens:
    """Read the step: `vocabulary` in the order of the ids, None where an id is free."""
    characters = Characters.from_json(data["characters"])
    pieces = pieces_of(
        {piece: number for number, piece in enumerate(data["vocabulary"]) if piece is not None},
        unknown=int(data["unknown"]),
        continuing=str(data["continuing"]),
        longest=int(data["longest_word"]),
    )

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = []
        for word in characters.words(text):
            ids += pieces(word)
        return ids

    return Tokens.from_json(data, encode)


def pieces_of(
    vocabulary: Mapping[str, int], *, unknown: int, continuing: str, longest: int
) -> Callable[[str], tuple[int, ...]]:
    """Return the function from a word to its pieces, the longest known one first at each place.

    A word with a place where nothing is known, or longer than `longest`, is `unknown` as a whole.
    """
    # No piece is longer than this, so that looking for one ends early in a long word.
    most = max(map(len, vocabulary), default=0)

    @lru_cache(maxsize=_REMEMBERED_WORDS)
    def pieces(word: str) -> tuple[int, ...]:
        if len(word) > longest:
            return (unknown,)
        found = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + most), start, -1):
                piece = word[start:end]
                number = vocabulary.get(continuing + piece if start else piece)
                if number is not None:
                    break
            else:
                return (unknown,)
            found.append(number)
            start = end
        return tuple(found)

    return pieces
