"""Asks the tokenizers library what it makes of each character, since Unicode's tables differ."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from fnmodel.errors import UnsupportedModelError

# No character becomes these two letters, nor can it make them with its neighbours.
_MARK = "qz"
# Unicode without surrogates and without the planes that it has given to nobody.
_ASSIGNED = ((1, 0xD800), (0xE000, 0x40000), (0xE0000, 0x110000))
_CHUNK = 4096


@cache
def images(
    *, clean_text: bool, handle_chinese_chars: bool, strip_accents: bool, lowercase: bool
) -> dict[str, Any]:
    """Ask the tokenizer's own parts what they make of each character."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer = BertNormalizer(clean_text, handle_chinese_chars, strip_accents, lowercase)
    cutter = BertPreTokenizer()
    ranges: dict[str, list[list[int]]] = {"removed": [], "space": [], "alone": []}
    changed: dict[str, str] = {}
    codes = [code for span in _ASSIGNED for code in range(*span)]
    for start in range(0, len(codes), _CHUNK):
        chunk = [chr(code) for code in codes[start : start + _CHUNK]]
        for character, image in zip(chunk, _images(normalizer, cutter, chunk), strict=True):
            if image == character or (strip_accents and "\uac00" <= character <= "\ud7a3"):
                continue
            rules = {"": "removed", " ": "space", f" {character} ": "alone"}
            if image in rules:
                _extend(ranges[rules[image]], ord(character))
            else:
                changed[character] = image
    return {"ranges": ranges, "changed": changed, "decomposed": strip_accents}


def _images(normalizer: Any, cutter: Any, characters: Sequence[str]) -> list[str]:
    """Return what becomes of each character; a blank parts it from its neighbours."""
    text = _MARK.join(["", *characters, ""])
    words = [word for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text))]
    images = " ".join(words).split(_MARK)[1:-1]
    if len(images) != len(characters):
        raise UnsupportedModelError(
            "this tokenizer cannot be served: it does not treat characters one by one"
        )
    return images


def _extend(ranges: list[list[int]], code: int) -> None:
    if ranges and ranges[-1][1] == code - 1:
        ranges[-1][1] = code
    else:
        ranges.append([code, code])


@cache
def classes() -> dict[str, list[list[int]]]:
    """Return the ranges of letters, numbers and spaces that byte-level tokenizers cut by."""
    from tokenizers.pre_tokenizers import ByteLevel

    cutter = ByteLevel(add_prefix_space=False, use_regex=True)
    found: dict[str, list[list[int]]] = {"letters": [], "numbers": [], "spaces": []}
    codes = [code for span in _ASSIGNED for code in range(*span)]
    for start in range(0, len(codes), _CHUNK):
        chunk = codes[start : start + _CHUNK]
        # A character goes with the one before it when both are of one class.
        with_letter, with_number, with_other = (
            _joins(cutter, chunk, before, after) for before, after in ("a1", "1a", ".a")
        )
        for at, code in enumerate(chunk):
            if with_letter[at]:
                _extend(found["letters"], code)
            elif with_number[at]:
                _extend(found["numbers"], code)
            elif not with_other[at]:
                _extend(found["spaces"], code)
    return found


def _joins(cutter: Any, codes: Sequence[int], before: str, after: str) -> list[bool]:
    """Return whether each character stands in one word with `before`."""
    text = "".join(f"{before}{chr(code)}{after}" for code in codes)
    starts = {start for _, (start, _) in cutter.pre_tokenize_str(text)}
    return [3 * at + 1 not in starts for at in range(len(codes))]
