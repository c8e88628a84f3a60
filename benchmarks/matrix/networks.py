"""Asks networks arrays that the conversion never saw: the framework by itself, and what is served.

The file is opened by the framework's own call, not by fnmodel's reader.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fresh import Fresh

from fnmodel.arrays import DTYPES
from fnmodel.inference import Predictor

_ROWS = 16
_SEED = 20_240
_LENGTH = 9
# A tenth of the default budget of parity.
_ABSOLUTE, _RELATIVE = 1e-5, 1e-4

Arrays = Mapping[str, Any]


def ask(source: Path, sample: Path | None, served: Path) -> Fresh:
    """Compare a saved network with its conversion on 16 rows, and on the first of them alone."""
    predictor = Predictor(served)
    arrays = _drawn(predictor, np.load(sample) if sample else None)
    for count in (_ROWS, 1):
        part = {name: array[:count] for name, array in arrays.items()}
        ours = list(predictor.run(part).values())
        given = _original(source)(part)
        if len(given) != len(ours):
            return Fresh(0, 0, f"{len(given)} outputs, ours {len(ours)}")
        for number, (theirs, own) in enumerate(zip(given, ours, strict=True)):
            if theirs.size != own.size:
                return Fresh(0, 0, f"output {number} is {theirs.shape}, ours {own.shape}")
            if theirs.dtype.kind == "U":
                if theirs.tolist() != [_text(word) for word in own.tolist()]:
                    return Fresh(count, 0, f"output {number} of {count} rows has other words")
                continue
            far = np.abs(theirs.reshape(own.shape) - own)
            if not (far <= _ABSOLUTE + _RELATIVE * np.abs(own)).all():
                return Fresh(
                    count, 0, f"output {number} of {count} rows differs by {far.max():.1e}"
                )
    return Fresh(_ROWS)


def _drawn(predictor: Predictor, sample: Any) -> dict[str, Any]:
    random = np.random.default_rng(_SEED)
    made = {}
    for tensor in predictor.signature.inputs:
        dtype = DTYPES[tensor.datatype]
        known = sample[tensor.name] if sample is not None and tensor.name in sample else None
        shape = (
            known.shape[1:]
            if known is not None
            else tuple(size if size > 0 else _LENGTH for size in tensor.shape[1:])
        )
        shape = (_ROWS, *shape)
        if dtype.kind == "f":
            array = random.normal(0, 1, shape)
        elif "mask" in tensor.name:
            lengths = random.integers(1, _LENGTH + 1, _ROWS)
            array = np.arange(shape[1]) < lengths[:, None]
        elif "type" in tensor.name:
            array = np.zeros(shape)
        else:
            array = random.integers(0, 1 + int(known.max()) if known is not None else 50, shape)
        made[tensor.name] = array.astype(dtype)
    return made


def _original(source: Path) -> Callable[[Arrays], list[Any]]:
    """Open a file as its framework does; what comes back takes arrays and gives arrays."""
    import torch

    if source.is_dir():
        return _transformer(source)
    if source.suffix == ".keras":
        import keras

        network = keras.saving.load_model(source, compile=False)
        names = [tensor.name for tensor in network.inputs]

        def asked(arrays: Arrays) -> list[Any]:
            values = [arrays[name] for name in names]
            return _flat(network(values if len(values) > 1 else values[0], training=False))

        return asked
    call: Any = (
        torch.export.load(source).module() if source.suffix == ".pt2" else torch.jit.load(source)
    )

    def tensors(arrays: Arrays) -> list[Any]:
        with torch.no_grad():
            return _flat(call(*(torch.from_numpy(array) for array in arrays.values())))

    return tensors


def _transformer(source: Path) -> Callable[[Arrays], list[Any]]:
    import json

    import torch
    import transformers

    kind = json.loads((source / "config.json").read_bytes())["architectures"][0]
    network = getattr(transformers, kind).from_pretrained(source).eval()

    def asked(arrays: Arrays) -> list[Any]:
        with torch.no_grad():
            answer = network(**{name: torch.from_numpy(a) for name, a in arrays.items()})
        if kind.endswith(("SequenceClassification", "ImageClassification")):
            scores = answer["logits"].softmax(-1).numpy()
            words = [network.config.id2label[best] for best in scores.argmax(-1).tolist()]
            return [np.array(words), scores]
        # What is served has the model's own answer, without the states that it keeps for itself.
        return _flat([answer[name] for name in ("logits", "last_hidden_state") if name in answer])

    return asked


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _flat(answer: Any) -> list[Any]:
    parts = answer if isinstance(answer, list | tuple) else [answer]
    return [np.asarray(part.detach().numpy()) for part in parts]
