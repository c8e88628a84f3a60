"""The `wordpiece` step gives the ids that the tokenizer of a Hugging Face folder gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.front.front import Front
from fnmodel.slim.proof.hostile import HOSTILE
from fnmodel.slim.text import tokenizer_steps

transformers = pytest.importorskip("transformers")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def folder(path: Path, *, lowercase: bool, longest: int = 48) -> Path:
    """Write a tokenizer that knows most single characters, so that each of them shows."""
    spans = ((0x21, 0x3100), (0xAC00, 0xAD00), (0x1F300, 0x1F700), (0x11900, 0x11A80))
    characters = [chr(c) for span in spans for c in range(*span) if not chr(c).isspace()]
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters), "hello", "##llo", "the"]
    path.mkdir(exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": longest,
        "do_lower_case": lowercase,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    (path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return path


@pytest.fixture(scope="module", params=[True, False], ids=["lowercase", "cased"])
def pair(request: Any, tmp_path_factory: Any) -> tuple[Any, Front]:
    path = folder(tmp_path_factory.mktemp("tokenizer"), lowercase=request.param)
    steps = json.loads(json.dumps(tokenizer_steps(path)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    return tokenizer, Front.from_json({"version": 1, "steps": steps})


def asked(texts: list[str]) -> dict[str, Any]:
    return {"text": np.array(texts, dtype=object).reshape(-1, 1)}


def assert_equal(pair: tuple[Any, Front], texts: list[str]) -> None:
    tokenizer, front = pair
    expected = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    found = front(asked(texts))

    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=repr(texts))
        assert found[name].dtype == np.int64


def test_random_unicode(pair: tuple[Any, Front]) -> None:
    """2,000 random texts over all of Unicode, one by one, get the tokenizer's ids."""
    chance = np.random.default_rng(0)
    tops = (0x80, 0x250, 0x3000, 0x10000, 0x20000, 0x110000)
    for number in range(2000):
        codes = chance.integers(1, tops[number % len(tops)], int(chance.integers(0, 40)))
        assert_equal(pair, ["".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)])


def test_hostile_texts_one_by_one_and_padded(pair: tuple[Any, Front]) -> None:
    """Accents, scripts, emoji, control characters, special tokens and long words all agree."""
    for text in HOSTILE:
        assert_equal(pair, [text])
    assert_equal(pair, list(HOSTILE))


def test_single_characters(pair: tuple[Any, Front]) -> None:
    """Each assigned character alone, and inside a word, gives the tokenizer's ids."""
    codes = [c for c in range(1, 0x20000, 7) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(codes), 500):
        assert_equal(pair, [f"{chr(c)} a{chr(c)}b" for c in codes[start : start + 500]])


def test_the_graph_gets_what_it_asks_for(tmp_path: Path) -> None:
    """`gives` and `max_length` choose the tensors and their longest length."""
    path = folder(tmp_path, lowercase=True)
    (step,) = tokenizer_steps(path, column="review", gives=["attention_mask"], max_length=5)
    found = Front.from_json({"version": 1, "steps": [step]})(
        {"review": np.array([["a b c d e f"], ["a"]], dtype=object)}
    )

    assert list(found) == ["attention_mask"]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_the_smallest_limit_of_the_folder_counts(tmp_path: Path) -> None:
    """A sentence model cuts where its own file says."""
    path = folder(tmp_path, lowercase=True, longest=512)
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')

    assert tokenizer_steps(path)[0]["max_length"] == 16


def test_other_tokenizers_are_refused_by_name(tmp_path: Path) -> None:
    """A model that cuts words in another way, or an added token with a rule, is not guessed at."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordLevel

    other = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "?": 1}, unk_token="?")), pad_token="?"
    )
    other.save_pretrained(tmp_path / "words")
    with pytest.raises(UnsupportedModelError, match="WordLevel"):
        tokenizer_steps(tmp_path / "words")

    path = folder(tmp_path / "bert", lowercase=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens([AddedToken("new", single_word=True)])
    tokenizer.save_pretrained(tmp_path / "added")
    with pytest.raises(UnsupportedModelError, match="'new'"):
        tokenizer_steps(tmp_path / "added")


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    """Nothing to read is an error of the folder, not a traceback."""
    with pytest.raises(SlimError, match=tmp_path.name):
        tokenizer_steps(tmp_path)
