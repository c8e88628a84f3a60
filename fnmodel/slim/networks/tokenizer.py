"""The tokenizer of a Hugging Face folder as a step of the front, proven on hostile texts."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import MissingExtraError, SlimError, UnsupportedModelError
from fnmodel.front.bytepairs import symbols
from fnmodel.front.front import Front
from fnmodel.slim.networks import characters
from fnmodel.slim.proof.hostile import HOSTILE

_TENSORS = ("input_ids", "attention_mask", "token_type_ids")
_LARGEST_LENGTH = 8192
_POSITIONS_AFTER_PADDING = (
    "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
_BPE_OPTIONS = (
    "dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges",
)  # fmt: skip
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
        UnsupportedModelError: it is of another kind than WordPiece and byte-level BPE, or has a
            part that the front does not know; names it.

    """
    tokenizer = _load(folder)
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    _check(tokenizer, data)
    names = tuple(gives or (name for name in _TENSORS if name in tokenizer.model_input_names))
    prefix, suffix = _frame(data["post_processor"])
    tokens = data["added_tokens"]
    step: dict[str, Any] = {
        "inputs": [column],
        "outputs": list(names),
        "gives": list(names),
        "special": {token["content"]: token["id"] for token in tokens},
        "strips": {
            token["content"]: [token["lstrip"], token["rstrip"]]
            for token in tokens
            if token["lstrip"] or token["rstrip"]
        },
        "prefix": prefix,
        "suffix": suffix,
        "padding": tokenizer.pad_token_id,
        "max_length": max_length or _longest(folder, tokenizer),
        **_cutting(data),
    }
    _prove(step, tokenizer, column)
    return [step]


def reader(
    folder: Path, names: Sequence[str], max_length: int
) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Return the folder's own tokenizer: texts to int64 arrays, padded to the longest of them.

    Raises:
        MissingExtraError: transformers is not installed.
        SlimError: the folder holds no tokenizer.

    """
    tokenizer = _load(folder)

    def read(texts: Sequence[str]) -> dict[str, Any]:
        made = tokenizer(
            list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="np"
        )
        return {name: made[name].astype(np.int64) for name in names}

    return read


def _cutting(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the step that cuts texts."""
    model = data["model"]
    vocabulary = {str(piece): int(number) for piece, number in model.get("vocab", {}).items()}
    match model["type"]:
        case "WordPiece":
            return _wordpiece(data, model, vocabulary)
        case "BPE":
            return _bytepairs(data, model, vocabulary)
        case other:
            raise _unknown(f"its model is {other}, neither WordPiece nor byte-level BPE")


def _wordpiece(
    data: Mapping[str, Any], model: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> dict[str, Any]:
    _expect(data, "normalizer", "BertNormalizer")
    _expect(data, "pre_tokenizer", "BertPreTokenizer")
    if model["unk_token"] not in vocabulary:
        raise _unknown(f"its vocabulary lacks the unknown token {model['unk_token']!r}")
    normalizer = data["normalizer"]
    strips = normalizer["strip_accents"]
    return {
        "op": "wordpiece",
        "characters": characters.images(
            clean_text=bool(normalizer["clean_text"]),
            handle_chinese_chars=bool(normalizer["handle_chinese_chars"]),
            strip_accents=bool(normalizer["lowercase"] if strips is None else strips),
            lowercase=bool(normalizer["lowercase"]),
        ),
        "vocabulary": _by_number(vocabulary),
        "unknown": vocabulary[model["unk_token"]],
        "continuing": model["continuing_subword_prefix"],
        "longest_word": model["max_input_chars_per_word"],
    }


def _bytepairs(
    data: Mapping[str, Any], model: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> dict[str, Any]:
    _expect(data, "normalizer", "none")
    _expect(data, "pre_tokenizer", "ByteLevel")
    if not data["pre_tokenizer"]["use_regex"]:
        raise _unknown("it does not cut texts into words")
    for option in _BPE_OPTIONS:
        if model.get(option):
            raise _unknown(f"its {option} is {model[option]!r}")
    if not set(symbols()) <= set(vocabulary):
        raise _unknown("its vocabulary lacks a byte")
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return {
        "op": "bytepairs",
        **characters.classes(),
        "vocabulary": _by_number(vocabulary),
        "merges": pairs,
        "add_prefix_space": bool(data["pre_tokenizer"]["add_prefix_space"]),
    }


def _expect(data: Mapping[str, Any], part: str, known: str) -> None:
    kind = (data[part] or {"type": "none"})["type"]
    if kind != known:
        raise _unknown(f"its {part} is {kind}")


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
    for token in data["added_tokens"]:
        if token["single_word"] or (token["normalized"] and data["normalizer"]):
            raise _unknown(f"its added token {token['content']!r} is matched in a special way")
    for side in ("truncation_side", "padding_side"):
        if getattr(tokenizer, side) != "right":
            raise _unknown(f"its {side} is {getattr(tokenizer, side)}")
    if tokenizer.pad_token_id is None:
        raise _unknown("it has no padding token")


def _frame(processor: Mapping[str, Any] | None) -> tuple[list[int], list[int]]:
    """Return the ids before and after a single text."""
    if processor is None or processor["type"] == "ByteLevel":  # which moves offsets only
        return [], []
    if processor["type"] in ("BertProcessing", "RobertaProcessing"):
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
            config = json.loads(path.read_text(encoding="utf-8"))
            # These count positions from the padding token's number on.
            offset = 2 if config.get("model_type") in _POSITIONS_AFTER_PADDING else 0
            found = config.get(key)
            limits += [found - offset] if isinstance(found, int) and found > offset else []
    return min(limits)


def _by_number(vocabulary: Mapping[str, int]) -> list[str | None]:
    pieces: list[str | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for piece, number in vocabulary.items():
        pieces[number] = piece
    return pieces


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
