"""Networks of PyTorch, Keras and Hugging Face, small and with random weights.

Each is saved as its framework saves it, in a folder that stays as long as the process.
"""

import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Kind = tuple[str, Callable[[], tuple[Path, Path | None]]]
_FOLDER = tempfile.TemporaryDirectory()


def _place(name: str) -> Path:
    place = Path(_FOLDER.name) / "".join(c if c.isalnum() else "_" for c in name)
    place.mkdir()
    return place


def torch() -> Iterator[Kind]:
    """Yield PyTorch modules, exported by torch.export and as TorchScript."""
    import torch
    from torch import nn

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.numbers = nn.EmbeddingBag(50, 8), nn.Linear(3, 8)
            self.score, self.side = nn.Linear(16, 2), nn.Linear(16, 1)

        def forward(self, words: Any, numbers: Any) -> tuple[Any, Any]:
            both = torch.cat([self.words(words), self.numbers(numbers)], 1)
            return self.score(both).softmax(1), self.side(both)

    class Recurrent(nn.Module):
        def __init__(self, cell: Any) -> None:
            super().__init__()
            self.cell, self.head = (
                cell(6, 12, batch_first=True, bidirectional=True),
                nn.Linear(24, 3),
            )

        def forward(self, series: Any) -> Any:
            return self.head(self.cell(series)[0][:, -1])

    cnn = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    mlp = nn.Sequential(nn.Linear(12, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 3))
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), 2,
        enable_nested_tensor=False,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    floats = {
        "perceptron": (mlp, [rng.normal(size=(20, 12))]),
        "convolutions": (cnn, [rng.normal(size=(20, 1, 16, 16))]),
        "LSTM": (Recurrent(nn.LSTM), [rng.normal(size=(20, 9, 6))]),
        "GRU": (Recurrent(nn.GRU), [rng.normal(size=(20, 9, 6))]),
        "transformer encoder": (encoder, [rng.normal(size=(20, 7, 16))]),
        "two inputs, two outputs": (
            Pairs(),
            [rng.integers(0, 50, (20, 5)), rng.normal(size=(20, 3))],
        ),
    }
    for name, (module, arrays) in floats.items():
        args = tuple(
            torch.tensor(a, dtype=torch.float32 if a.dtype.kind == "f" else torch.int64)
            for a in arrays
        )
        for form in ("torch.export", "TorchScript"):
            yield f"{name}, {form}", _saved_torch(torch, f"{name} {form}", module, args, form)


def _saved_torch(
    torch: Any, name: str, module: Any, args: tuple[Any, ...], form: str
) -> Callable[[], tuple[Path, Path]]:
    def save() -> tuple[Path, Path]:
        place = _place(name)
        module.eval()
        path = place / ("model.pt2" if form == "torch.export" else "model.pt")
        arguments = list(inspect.signature(module.forward).parameters)[: len(args)]
        if form == "torch.export":
            batch = torch.export.Dim("batch", min=1, max=4096)
            exported = torch.export.export(
                module, args, dynamic_shapes=tuple({0: batch} for _ in args)
            )
            torch.export.save(exported, path)
            arguments = [
                spec.arg.name
                for spec in exported.graph_signature.input_specs
                if spec.kind.name == "USER_INPUT"
            ]
        else:
            # A transformer takes another path the second time, so that traces differ.
            torch.jit.trace(module, args, check_trace=False).save(path)
        sample = place / "sample.npz"
        np.savez(sample, **{k: a.numpy() for k, a in zip(arguments, args, strict=True)})
        return path, sample

    return save


def keras() -> Iterator[Kind]:
    """Yield Keras models, saved as `.keras`."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    layers, rng = keras.layers, np.random.default_rng(0)
    attended = keras.Input((6, 8), name="series")
    whole = layers.MultiHeadAttention(2, 4)(attended, attended)
    numbers, codes = keras.Input((4,), name="numbers"), keras.Input((2,), name="codes")
    both = layers.Concatenate()([layers.Dense(8, activation="relu")(numbers), codes])
    models = {
        "Keras perceptron": (
            keras.Sequential(
                [keras.Input((10,), name="rows"), layers.Dense(32, activation="relu"),
                 layers.Dense(3, activation="softmax")]
            ),
            [rng.normal(size=(20, 10))],
        ),
        "Keras convolutions": (
            keras.Sequential(
                [keras.Input((12, 12, 1), name="images"), layers.Conv2D(6, 3, activation="relu"),
                 layers.MaxPooling2D(), layers.Flatten(), layers.Dense(4, activation="softmax")]
            ),
            [rng.normal(size=(20, 12, 12, 1))],
        ),
        "Keras LSTM": (
            keras.Sequential([keras.Input((7, 5), name="series"), layers.LSTM(8), layers.Dense(1)]),
            [rng.normal(size=(20, 7, 5))],
        ),
        "Keras attention": (
            keras.Model(attended, layers.GlobalAveragePooling1D()(whole)),
            [rng.normal(size=(20, 6, 8))],
        ),
        "Keras, two inputs, two outputs": (
            keras.Model(
                [numbers, codes],
                [layers.Dense(2, name="a")(both), layers.Dense(1, name="b")(both)],
            ),
            [rng.normal(size=(20, 4)), rng.normal(size=(20, 2))],
        ),
    }  # fmt: skip
    for name, (model, arrays) in models.items():
        yield name, _saved_keras(name, model, arrays)


def _saved_keras(name: str, model: Any, arrays: list[Any]) -> Callable[[], tuple[Path, Path]]:
    def save() -> tuple[Path, Path]:
        place = _place(name)
        model.save(place / "model.keras")
        sample = place / "sample.npz"
        names = [tensor.name for tensor in model.inputs]
        named = {n: a.astype(np.float32) for n, a in zip(names, arrays, strict=True)}
        np.savez(sample, **named)
        return place / "model.keras", sample

    return save


def huggingface() -> Iterator[Kind]:
    """Yield Hugging Face models without a tokenizer, made from a configuration."""
    import transformers as tf

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "vocab_size": 60}  # fmt: skip
    bert = tf.BertConfig(**small, max_position_embeddings=32, num_labels=3)
    yield "BERT, sequence classification", _saved_hf(tf.BertForSequenceClassification, bert)
    yield "BERT, token classification", _saved_hf(tf.BertForTokenClassification, bert)
    yield "BERT, features", _saved_hf(tf.BertModel, bert)
    distil = tf.DistilBertConfig(
        dim=16, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=60, max_position_embeddings=32
    )
    yield (
        "DistilBERT, sequence classification",
        _saved_hf(tf.DistilBertForSequenceClassification, distil),
    )
    yield (
        "RoBERTa, features",
        _saved_hf(tf.RobertaModel, tf.RobertaConfig(**small, max_position_embeddings=40)),
    )
    yield (
        "GPT-2, next token",
        _saved_hf(
            tf.GPT2LMHeadModel,
            tf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=60, n_positions=32),
        ),
    )
    yield "ViT, image classification", _saved_hf(
        tf.ViTForImageClassification,
        tf.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            image_size=16, patch_size=4, num_labels=3,
        ),
    )  # fmt: skip


def _saved_hf(kind: Any, configuration: Any) -> Callable[[], tuple[Path, None]]:
    def save() -> tuple[Path, None]:
        place = _place(f"{kind.__name__}")
        kind(configuration).eval().save_pretrained(place)
        return place, None

    return save
