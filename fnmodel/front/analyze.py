"""Cuts a text into terms as scikit-learn's vectorizers do.

The words are scikit-learn's: an analyzer is a preprocessor, a tokenizer and n-grams.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

Analyzer = Callable[[str], list[str]]

_RUN_OF_SPACE = re.compile(r"\s\s+")


def analyzer(data: Mapping[str, Any]) -> Analyzer:
    """Return the function from a text to its terms, repeated as often as they occur.

    Raises:
        KeyError: a parameter is missing.
        ValueError: a parameter has an unknown value, or the pattern is no regular expression.

    """
    prepare = _preprocessor(data)
    least, most = (int(n) for n in data["ngram_range"])
    match data["analyzer"]:
        case "word":
            tokenize, stop = _tokenizer(data), frozenset(data["stop_words"] or ())
            return _words(prepare, tokenize, stop, least, most)
        case "char":
            return lambda text: _slices(_RUN_OF_SPACE.sub(" ", prepare(text)), least, most)
        case "char_wb":
            return lambda text: _padded(_RUN_OF_SPACE.sub(" ", prepare(text)), least, most)
        case unknown:
            message = f"no analyzer {unknown!r}"
            raise ValueError(message)


def _preprocessor(data: Mapping[str, Any]) -> Callable[[str], str]:
    strippers: dict[str | None, Callable[[str], str]] = {
        None: str,
        "ascii": _to_ascii,
        "unicode": _without_accents,
    }
    if data["strip_accents"] not in strippers:
        message = f"no strip_accents {data['strip_accents']!r}"
        raise ValueError(message)
    strip = strippers[data["strip_accents"]]
    if not data["lowercase"]:
        return strip
    return str.lower if strip is str else lambda text: strip(text.lower())


def _tokenizer(data: Mapping[str, Any]) -> Callable[[str], list[str]]:
    pattern = data["token_pattern"]
    if pattern is None:
        return str.split
    compiled = re.compile(pattern)
    if compiled.groups > 1:
        message = f"more than one group in {pattern!r}"
        raise ValueError(message)
    return compiled.findall


def _words(
    prepare: Callable[[str], str],
    tokenize: Callable[[str], list[str]],
    stop: frozenset[str],
    least: int,
    most: int,
) -> Analyzer:
    def words(text: str) -> list[str]:
        tokens = tokenize(prepare(text))
        return [token for token in tokens if token not in stop] if stop else tokens

    if (least, most) == (1, 1):
        return words

    def ngrams(text: str) -> list[str]:
        tokens = words(text)
        found = list(tokens) if least == 1 else []
        for n in range(max(least, 2), min(most, len(tokens)) + 1):
            found += map(" ".join, zip(*(tokens[i:] for i in range(n)), strict=False))
        return found

    return ngrams


def _slices(text: str, least: int, most: int) -> list[str]:
    size = len(text)
    return [
        text[start : start + n]
        for n in range(least, min(most, size) + 1)
        for start in range(size - n + 1)
    ]


def _padded(text: str, least: int, most: int) -> list[str]:
    """Return n-grams inside words; a word shorter than n counts whole, once."""
    found: list[str] = []
    for word in text.split():
        padded = f" {word} "
        size = len(padded)
        found += [
            padded[start : start + n]
            for n in range(least, min(most, size) + 1)
            for start in range(size - n + 1)
        ]
        if size < least:
            found.append(padded)
    return found


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _to_ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
