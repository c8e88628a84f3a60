"""Opens a trained model with the reader of its framework."""

from collections.abc import Callable
from pathlib import Path

from fnmodel.slim import formats
from fnmodel.slim.subject import Subject


def open_subject(
    path: Path,
    *,
    sample: Path | None,
    target: str | None,
    trust: frozenset[str],
    progress: Callable[[str], None],
) -> Subject:
    """Return the model in `path` with its questions and the ways to convert it.

    Unpickling runs code: only the child process calls this.

    Raises:
        SlimError: the model or the sample cannot be read, or do not fit together.
        UntrustedModelError: the file needs code that is not on the allow list.
        MissingExtraError: the framework or its converter is not installed.
        UnsupportedModelError: a step has no converter, or a wrong one.

    """
    found = formats.detect(path)
    sample = sample or found.beside
    match found.kind:
        case "pickle" | "skops" | "xgboost" | "lightgbm" | "catboost":
            from fnmodel.slim.readers import tabular

            return tabular.subject(
                found, sample=sample, target=target, trust=trust, progress=progress
            )
        case "torch" | "torchscript" | "torch-export":
            from fnmodel.slim.readers import torch

            return torch.subject(found.path, sample=sample, target=target, trust=trust)
        case "keras":
            from fnmodel.slim.readers import keras

            return keras.subject(found.path, sample=sample, target=target, trust=trust)
        case "onnx":
            from fnmodel.slim.readers import onnx

            return onnx.subject(found.path, sample=sample, target=target, trust=trust)
        case "huggingface":
            from fnmodel.slim.readers import huggingface

            return huggingface.subject(found.path, sample=sample, target=target, trust=trust)
