"""Hugging Face folders: texts in, answers out, and no code of the folder's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from slim_cases import convert

from fnmodel.errors import SlimError, UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.model import OnnxModel

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

LINES = [
    "the quick brown fox jumps over the lazy dog",
    "Größe und Straße, naïve café!",
    "total 1,299.00 EUR (19 % VAT) no. 2024-117",
    "東京 is far from Köln, isn't it?",
] * 5
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": 64}  # fmt: skip


def _wordpiece(folder: Path) -> int:
    tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(LINES, vocab_size=200, show_progress=False)
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer._tokenizer)
    fast.model_max_length = 32
    fast.save_pretrained(folder)
    return len(fast)


def _bytepairs(folder: Path) -> int:
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        LINES, vocab_size=320, special_tokens=special, show_progress=False
    )
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
             "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}  # fmt: skip
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names)
    fast.model_max_length = 32
    fast.save_pretrained(folder)
    return len(fast)


def _save(folder: Path, kind: str, config: Any) -> Any:
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():  # random weights of the usual size tell no texts apart
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(6)
    model.save_pretrained(folder)
    return model


def _classifier(folder: Path, **more: Any) -> Any:
    count = _wordpiece(folder)
    labels = {0: "schlecht", 1: "mittel", 2: "gut"}
    config = transformers.BertConfig(vocab_size=count, id2label=labels, **SIZES, **more)
    return _save(folder, "BertForSequenceClassification", config)


def _asked(folder: Path, texts: list[str], **more: Any) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer(texts, padding=True, truncation=True, return_tensors="pt", **more)


def _made(folder: Path) -> Predictor:
    return Predictor(OnnxModel.load(folder / "model").folder)


def test_texts_are_classified_by_the_words_of_their_labels(tmp_path: Path) -> None:
    """The tokenizer runs in front of the graph, in our own code; a caller sends a text."""
    source = tmp_path / "bert"
    model = _classifier(source)
    texts = [*LINES[:4], "unheard-of zzz 🙂", " ", "x" * 500, "[MASK] [SEP] it"]
    with torch.no_grad():
        model.classifier.bias -= model(**_asked(source, texts, max_length=32)).logits.mean(0)
        wanted = model(**_asked(source, texts, max_length=32)).logits.softmax(-1).numpy()
    model.save_pretrained(source)

    report = convert(tmp_path, source, None)

    assert report.passed
    assert report.framework == "Hugging Face"
    answers = _made(tmp_path).predict([{"text": text} for text in texts])
    assert np.allclose([list(a["probabilities"].values()) for a in answers], wanted, atol=1e-4)
    words = ["schlecht", "mittel", "gut"]
    assert [a["label"] for a in answers] == [words[i] for i in wanted.argmax(1)]
    assert len({a["label"] for a in answers}) > 1


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_sentence_embeddings_are_pooled_and_normalised(mode: str, tmp_path: Path) -> None:
    """A sentence-transformers folder gives one vector a text, whatever stands beside it."""
    source = tmp_path / "minilm"
    count = _wordpiece(source)
    model = _save(source, "BertModel", transformers.BertConfig(vocab_size=count, **SIZES))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    parts = [
        {"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (source / "modules.json").write_text(json.dumps(parts))
    (source / "1_Pooling").mkdir()
    suffix = "token" if mode == "cls" else "tokens"
    settings = {f"pooling_mode_{mode}_{suffix}": True, "word_embedding_dimension": 32}
    (source / "1_Pooling" / "config.json").write_text(json.dumps(settings))

    assert convert(tmp_path, source, None).passed

    texts = ["one", LINES[2], LINES[3] * 3]
    answers = _made(tmp_path).predict([{"text": text} for text in texts])
    found = np.array([a["embedding"] for a in answers])
    for text, vector in zip(texts, found, strict=True):
        with torch.no_grad():
            tokens = model(**_asked(source, [text], max_length=32)).last_hidden_state[0]
        pooled = {"mean": tokens.mean(0), "cls": tokens[0], "max": tokens.max(0).values}[mode]
        # Weights are rounded: it is the direction that must stay.
        assert float(vector @ (pooled / pooled.norm()).numpy()) > 0.999
        assert np.isclose(np.linalg.norm(vector), 1, atol=1e-4)


def test_byte_pairs_and_a_table_of_texts(tmp_path: Path) -> None:
    """RoBERTa's tokenizer, and a sample whose column has another name."""
    source = tmp_path / "roberta"
    count = _bytepairs(source)
    config = transformers.RobertaConfig(
        vocab_size=count, pad_token_id=1, bos_token_id=0, eos_token_id=2, num_labels=2, **SIZES
    )
    model = _save(source, "RobertaForSequenceClassification", config)
    sample = tmp_path / "reviews.csv"
    texts = [*LINES[:4], "isn't  it?\t\n", "naïve 🙂 <mask> x"]
    pd.DataFrame({"Bewertung": texts, "stars": range(6)}).to_csv(sample, index=False)

    report = convert(tmp_path, source, sample, target="stars")

    assert report.passed
    with torch.no_grad():
        wanted = model(**_asked(source, texts, max_length=32)).logits.softmax(-1).numpy()
    answers = _made(tmp_path).predict([{"Bewertung": text} for text in texts])
    assert np.allclose([list(a["probabilities"].values()) for a in answers], wanted, atol=1e-4)


def test_arrays_as_sample_leave_the_tokenizer_to_the_caller(tmp_path: Path) -> None:
    """Answers for each token, and token ids of any length in."""
    source = tmp_path / "tagger"
    count = _wordpiece(source)
    config = transformers.BertConfig(vocab_size=count, num_labels=4, **SIZES)
    model = _save(source, "BertForTokenClassification", config)
    ids = np.random.default_rng(0).integers(0, count, (6, 8))
    sample = tmp_path / "sample.npz"
    np.savez(sample, input_ids=ids, attention_mask=np.ones_like(ids))

    assert convert(tmp_path, source, sample).passed

    longer = np.concatenate([ids, ids[:, :5]], axis=1)
    given = {"input_ids": longer, "attention_mask": np.ones_like(longer)}
    with torch.no_grad():
        wanted = model(**{k: torch.from_numpy(v) for k, v in given.items()}).logits.numpy()
    assert np.allclose(_made(tmp_path).run(given)["logits"], wanted, atol=1e-4)


def test_an_answer_for_each_token_of_a_text_is_refused(tmp_path: Path) -> None:
    """Whoever sends text sees no tokens."""
    count = _wordpiece(tmp_path / "m")
    _save(tmp_path / "m", "BertModel", transformers.BertConfig(vocab_size=count, **SIZES))

    with pytest.raises(UnsupportedModelError, match="answers for each token"):
        convert(tmp_path, tmp_path / "m", None)


def _own_code(folder: Path) -> None:
    _change(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text("import pathlib; pathlib.Path('ran').touch()")


def _other_class(folder: Path) -> None:
    _change(folder / "config.json", architectures=["os"])


def _other_attribute(folder: Path) -> None:
    _change(folder / "config.json", architectures=["pipeline"])


def _leads_out(folder: Path) -> None:
    parts = [{"path": "../../other", "type": "sentence_transformers.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(parts))


def _extra_module(folder: Path) -> None:
    parts = [{"path": "", "type": "sentence_transformers.models.Dense"}]
    (folder / "modules.json").write_text(json.dumps(parts))


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def _headless(folder: Path) -> None:
    _save(folder, "BertModel", transformers.BertConfig.from_pretrained(folder))
    _change(folder / "config.json", architectures=["BertForSequenceClassification"])


def _same_labels(folder: Path) -> None:
    _change(folder / "config.json", id2label={"0": "a", "1": "a", "2": "b"})


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_own_code, "Python code of its own"),
        (_other_class, "no model class 'os'"),
        (_other_attribute, "no model class 'pipeline'"),
        (_leads_out, "leads out of the folder"),
        (_extra_module, "'Dense'"),
        (_no_weights, "cannot be loaded"),
        (_half_weights, "cannot be loaded"),
        (_headless, "lacks weights .* classifier"),
        (_same_labels, "the same name"),
    ],
)
def test_what_cannot_be_trusted_or_read_is_refused(
    damage: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal says why, and nothing of the folder runs."""
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "bert"
    _classifier(source)
    damage(source)

    with pytest.raises(SlimError, match=reason):
        convert(tmp_path, source, None)
    assert not (tmp_path / "ran").exists()
