"""Writes the files of a model directory."""

import json
import os
from pathlib import Path
from typing import Any

from fnmodel.inference import Predictor
from fnmodel.model import FRONT, MODEL, SIGNATURE
from fnmodel.slim.subject import Converted


def write(folder: Path, converted: Converted) -> Predictor:
    """Write the graph, its signature and its front into `folder`, and open them.

    Raises:
        InputError: ONNX Runtime refuses the graph.

    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(converted.onnx)
    write_json(folder / SIGNATURE, converted.signature.to_json())
    (folder / FRONT).unlink(missing_ok=True)
    if converted.front is not None:
        write_json(folder / FRONT, converted.front)
    return Predictor(folder, threads=1)


def write_json(path: Path, data: Any) -> None:
    """Write plain data; NaN and infinities, which JSON has not, are a mistake."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_text(text + os.linesep, encoding="utf-8")
