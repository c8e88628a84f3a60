"""The `bytepairs` step: texts to the ids of a byte-level vocabulary that grew by merging pairs."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fnmodel.front.tokens import Tokens

_REMEMBERED_WORDS = 1 << 16


def bytepairs(data: Mapping[str, Any]) -> Tokens:
    """Read the step.

    `letters`, `numbers` and `spaces` are ranges of characters, as the tokenizer has them;
    `vocabulary` holds the pieces in the order of their ids, `merges` the pairs in the order of
    their rank.
    """
    vocabulary = {piece: number for number, piece in enumerate(data["vocabulary"]) if piece}
    pieces = pieces_of(vocabulary, [tuple(pair) for pair in data["merges"]])
    cut = cutter(*(_class(data[name]) for name in ("letters", "numbers", "spaces")))
    lead = " " if data["add_prefix_space"] else ""

    def encode(text: str) -> Sequence[int]:
        ids: list[int] = []
        if text:
            for word in cut(text if text[0] == " " else lead + text):
                ids += pieces(word)
        return ids

    return Tokens.from_json(data, encode)


def cutter(letters: str, numbers: str, spaces: str) -> Callable[[str], list[str]]:
    """Return the function from a text to words: each takes the blank before it along.

    English contractions stand alone; of a run of spaces, the last one goes to the next word.
    """
    return re.compile(
        "'(?:s|t|re|ve|m|ll|d)"
        f"| ?[{letters}]+| ?[{numbers}]+| ?[^{spaces}{letters}{numbers}]+"
        f"|[{spaces}]+(?![^{spaces}])|[{spaces}]+"
    ).findall


def symbols() -> list[str]:
    """Return the printable character that stands for each byte.

    Bytes that print stand for themselves, the others for the characters from 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    table |= {byte: chr(256 + at) for at, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]


def pieces_of(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, ...]]
) -> Callable[[str], tuple[int, ...]]:
    """Return the function from a word to the ids of its pieces.

    Neighbours are merged, the pair of the lowest rank first, the leftmost of equal ones.

    Raises:
        ValueError: a byte is no piece, or a merge gives none.

    """
    ranks = {}
    for rank, (left, right) in enumerate(merges):
        if left + right not in vocabulary:
            message = f"{left + right!r} is merged but no piece"
            raise ValueError(message)
        ranks[left, right] = rank
    table = symbols()
    if not set(table) <= set(vocabulary):
        message = "a byte is no piece"
        raise ValueError(message)
    never = len(ranks)

    @lru_cache(maxsize=_REMEMBERED_WORDS)
    def pieces(word: str) -> tuple[int, ...]:
        parts = [table[byte] for byte in word.encode()]
        while len(parts) > 1:
            best = min(
                range(len(parts) - 1), key=lambda at: ranks.get((parts[at], parts[at + 1]), never)
            )
            pair = (parts[best], parts[best + 1])
            if pair not in ranks:
                break
            parts = _merged(parts, best, pair)
        return tuple(vocabulary[part] for part in parts)

    return pieces


def _merged(parts: list[str], first: int, pair: tuple[str, str]) -> list[str]:
    """Merge a pair from its first place on, wherever it stands: nothing ranks between two of it."""
    found, at = parts[:first], first
    while at < len(parts):
        if parts[at : at + 2] == [*pair]:
            found.append(pair[0] + pair[1])
            at += 2
        else:
            found.append(parts[at])
            at += 1
    return found


def _class(ranges: Sequence[Sequence[int]]) -> str:
    return "".join(f"\\U{int(first):08x}-\\U{int(last):08x}" for first, last in ranges)
