"""Writes the files of a model directory."""

import json
import os
from pathlib import Path
from typing import Any

from fnmodel.inference import Predictor
from fnmodel.model import FRONT, MODEL, SIGNATURE, WEIGHTS
from fnmodel.slim import external
from fnmodel.slim.subject import Converted


def write(folder: Path, converted: Converted) -> Predictor:
    """Write the graph, its weights, its signature and its front into `folder`, and open them.

    Raises:
        InputError: ONNX Runtime refuses the graph.

    """
    folder.mkdir(parents=True, exist_ok=True)
    external.save(folder, converted.onnx)
    write_json(folder / SIGNATURE, converted.signature.to_json())
    (folder / FRONT).unlink(missing_ok=True)
    if converted.front is not None:
        write_json(folder / FRONT, converted.front)
    return Predictor(folder, threads=1)


def sizes(folder: Path) -> tuple[int, int]:
    """Return the bytes of the graph, and of the weights that are mapped: 0 where none are."""
    weights = folder / WEIGHTS
    return (folder / MODEL).stat().st_size, weights.stat().st_size if weights.is_file() else 0


def write_json(path: Path, data: Any) -> None:
    """Write plain data; NaN and infinities, which JSON has not, are a mistake."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_text(text + os.linesep, encoding="utf-8")
