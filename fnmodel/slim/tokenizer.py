"""The tokenizer of a Hugging Face folder as a step of the front, proven on hostile texts."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import MissingExtraError, SlimError, UnsupportedModelError
from fnmodel.front.front import Front
from fnmodel.slim.hostile import HOSTILE

_TENSORS = ("input_ids", "attention_mask", "token_type_ids")
_LARGEST_LENGTH = 8192
# No character becomes these two letters, nor can it make them with its neighbours.
_MARK = "qz"
# Unicode without surrogates and without the planes that it has given to nobody.
_ASSIGNED = ((1, 0xD800), (0xE000, 0x40000), (0xE0000, 0x110000))
_CHUNK = 4096
_HINT = "serve the model on token ids: keep its tokenizer in front of the endpoint"


def tokenizer_steps(
    folder: Path,
    *,
    column: str = "text",
    gives: Sequence[str] | None = None,
    max_length: int | None = None,
) -> list[dict[str, Any]]:
    """Return the steps from an input of texts, `column`, to the tensors of a transformer.

    `gives` names these tensors, which are the graph's inputs too; without it they are those that
    the tokenizer says. Texts are cut at `max_length` tokens, or where the folder says.

    Raises:
        MissingExtraError: transformers is not installed.
        SlimError: the folder holds no tokenizer.
        UnsupportedModelError: it is of another kind than WordPiece, or has a part that the front
            does not know; names it.

    """
    tokenizer = _load(folder)
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    model = data["model"]
    if model["type"] != "WordPiece":
        raise _unknown(f"its model is {model['type']}, not WordPiece")
    _check(tokenizer, data)
    names = tuple(gives or (name for name in _TENSORS if name in tokenizer.model_input_names))
    prefix, suffix = _frame(data["post_processor"])
    vocabulary = {str(piece): int(number) for piece, number in model["vocab"].items()}
    if model["unk_token"] not in vocabulary:
        raise _unknown(f"its vocabulary lacks the unknown token {model['unk_token']!r}")
    normalizer = data["normalizer"]
    strips = normalizer["strip_accents"]
    step: dict[str, Any] = {
        "op": "wordpiece",
        "inputs": [column],
        "outputs": list(names),
        "gives": list(names),
        "characters": _characters(
            clean_text=bool(normalizer["clean_text"]),
            handle_chinese_chars=bool(normalizer["handle_chinese_chars"]),
            strip_accents=bool(normalizer["lowercase"] if strips is None else strips),
            lowercase=bool(normalizer["lowercase"]),
        ),
        "vocabulary": _by_number(vocabulary),
        "unknown": vocabulary[model["unk_token"]],
        "continuing": model["continuing_subword_prefix"],
        "longest_word": model["max_input_chars_per_word"],
        "special": {token["content"]: token["id"] for token in data["added_tokens"]},
        "prefix": prefix,
        "suffix": suffix,
        "padding": tokenizer.pad_token_id,
        "max_length": max_length or _longest(folder, tokenizer),
    }
    _prove(step, tokenizer, column)
    return [step]


def _load(folder: Path) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "reading a tokenizer needs transformers, which is not installed",
            hint="pip install 'fnmodel[huggingface]'",
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        # It raises OSError, ValueError, KeyError and classes of its Rust part.
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise SlimError(f"{folder.name} has no tokenizer that can be read: {first}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise _unknown(f"a {type(tokenizer).__name__} has no tokenizer.json")
    return tokenizer


def _check(tokenizer: Any, data: Mapping[str, Any]) -> None:
    """Refuse what the front does not do."""
    for part, known in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        kind = (data[part] or {"type": "none"})["type"]
        if kind != known:
            raise _unknown(f"its {part} is {kind}")
    for token in data["added_tokens"]:
        if token["normalized"] or token["single_word"] or token["lstrip"] or token["rstrip"]:
            raise _unknown(f"its added token {token['content']!r} is matched in a special way")
    for side in ("truncation_side", "padding_side"):
        if getattr(tokenizer, side) != "right":
            raise _unknown(f"its {side} is {getattr(tokenizer, side)}")
    if tokenizer.pad_token_id is None:
        raise _unknown("it has no padding token")


def _frame(processor: Mapping[str, Any] | None) -> tuple[list[int], list[int]]:
    """Return the ids before and after a single text."""
    if processor is None:
        return [], []
    if processor["type"] == "BertProcessing":
        return [processor["cls"][1]], [processor["sep"][1]]
    if processor["type"] != "TemplateProcessing":
        raise _unknown(f"its post_processor is {processor['type']}")
    before: list[int] = []
    after: list[int] = []
    side = before
    for part in processor["single"]:
        (kind, entry), *_ = part.items()
        if entry["type_id"]:
            raise _unknown("it gives a single text another token type than 0")
        if kind == "Sequence":
            side = after
        else:
            side += processor["special_tokens"][entry["id"]]["ids"]
    return before, after


def _longest(folder: Path, tokenizer: Any) -> int:
    """Return the smallest limit that the folder's files set."""
    limits = [int(min(tokenizer.model_max_length, _LARGEST_LENGTH))]
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("config.json", "max_position_embeddings"),
    ):
        path = folder / name
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8")).get(key)
            limits += [found] if isinstance(found, int) and found > 0 else []
    return min(limits)


def _by_number(vocabulary: Mapping[str, int]) -> list[str | None]:
    pieces: list[str | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for piece, number in vocabulary.items():
        pieces[number] = piece
    return pieces


@cache
def _characters(
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
        raise _unknown("it does not treat characters one by one")
    return images


def _extend(ranges: list[list[int]], code: int) -> None:
    if ranges and ranges[-1][1] == code - 1:
        ranges[-1][1] = code
    else:
        ranges.append([code, code])


def _prove(step: Mapping[str, Any], tokenizer: Any, column: str) -> None:
    """Compare the step with the tokenizer.

    Raises:
        UnsupportedModelError: they differ; names the text.

    """
    front = Front.from_json({"version": 1, "steps": [step]})
    for batch in _batches(list(_questions())):
        given = np.array(batch, dtype=object).reshape(-1, 1)
        found = front({column: given})
        wanted = tokenizer(
            batch, padding=True, truncation=True, max_length=step["max_length"], return_tensors="np"
        )
        for name in step["gives"]:
            if name in wanted and not np.array_equal(wanted[name], found[name]):
                raise _unknown(
                    f"the front reads {_different(batch, wanted[name], found[name])!r} otherwise"
                )


def _different(batch: Sequence[str], wanted: Any, found: Any) -> str:
    if wanted.shape == found.shape:
        return batch[int(np.flatnonzero((wanted != found).any(axis=1))[0])][:60]
    return batch[0][:60]


def _questions() -> Iterator[str]:
    yield from HOSTILE
    chance = random.Random(0)  # noqa: S311 - the same texts each time
    spans = ((0x20, 0x7F), (0x80, 0x250), (0x250, 0x3100), (0x3100, 0xD7FF), (0xE000, 0x1FFFF))
    for number in range(500):
        chosen = spans[: 1 + number % len(spans)]
        size = chance.randrange(1, 40)
        yield "".join(chr(chance.randrange(*chance.choice(chosen))) for _ in range(size))


def _batches(texts: Sequence[str]) -> Iterable[list[str]]:
    return (list(texts[start : start + 32]) for start in range(0, len(texts), 32))


def _unknown(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"this tokenizer cannot be served: {reason}", hint=_HINT)
