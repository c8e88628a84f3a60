"""Converts a fitted model in memory and compares every answer with the original's."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fnmodel.inference import Predictor
from fnmodel.slim import folder as model_folder
from fnmodel.slim import signature
from fnmodel.slim.convert import candidates
from fnmodel.slim.original import Original, describe
from fnmodel.slim.proof.rows import nullable_columns, records
from fnmodel.slim.proof.trial import align
from fnmodel.slim.subject import Converted


@dataclass(frozen=True)
class Pair:
    """An original and its ONNX model, to be asked the same rows."""

    original: Original
    converted: Converted
    predictor: Predictor
    columns: tuple[signature.Column, ...]

    def records(self, rows: Any) -> list[dict[str, Any]]:
        """Return rows as a caller would send them."""
        names = {feature.name for feature in self.predictor.signature.features}
        return records(frame_of(rows), [c for c in self.columns if c.name in names])

    def answers(self, rows: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the original and the ONNX model answer, in the same layout."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = self.original.answer(frame_of(rows))
        actual = self.predictor.run(self.predictor.encode(self.records(rows)))
        return align(expected, self.converted, actual), actual

    def difference(self, rows: Any) -> float:
        """Return the largest difference, infinite where a label or a shape differs."""
        expected, actual = self.answers(rows)
        worst = 0.0
        for name, array in expected.items():
            other = actual[name]
            if array.shape != other.shape:
                return np.inf
            if array.dtype.kind == "f":
                gap = np.abs(array - other) / np.maximum(1.0, np.abs(array))
                gap = np.where((array == other) | (np.isnan(array) & np.isnan(other)), 0.0, gap)
                worst = max(worst, float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0)))
            elif not np.array_equal(array, other):
                return np.inf
        return worst


def frame_of(rows: Any) -> pd.DataFrame:
    """Return rows as a frame; an array's columns are x0, x1, …."""
    if isinstance(rows, pd.DataFrame):
        return rows.reset_index(drop=True)
    array = np.asarray(rows)
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def pair(model: Any, rows: Any) -> Pair:
    """Convert a fitted model; `rows` are like those it was fitted on."""
    original, frame = describe(model), frame_of(rows)
    texts = signature.text_columns(signature.encoded_columns(original))
    frame = signature.as_text(frame, texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nullable = nullable_columns(original, frame)
        encoded = signature.encoded_columns(original)
        used = list(signature.used_columns(original)) or list(frame.columns)
        columns = signature.columns(
            frame[used], {k: encoded[k] for k in used if k in encoded}, nullable
        )
        converted = candidates(original, columns)[0].convert()
    with tempfile.TemporaryDirectory() as folder:
        predictor = model_folder.write(Path(folder), converted)
    return Pair(original, converted, predictor, columns)
