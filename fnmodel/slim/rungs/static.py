"""Multiplies in int8 with scales that were measured beforehand on the sample's rows."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fnmodel.slim.rungs.rung import Array, Feeds, NotApplicableError, rows
from fnmodel.slim.rungs.weights import parse, require_opset, serialise

_OPSET = 13
_MOST_ROWS = 320
_BATCH = 16


def static_int8(onnx_bytes: bytes, feeds: Feeds) -> bytes:
    """Return the model with convolutions and what stands between them in int8.

    Scales come from the least and the largest value that each tensor takes over the feeds, and
    each channel of a weight has its own.

    Raises:
        NotApplicableError: there is no convolution.

    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = parse(onnx_bytes)
    require_opset(model, _OPSET)
    if not any(node.op_type == "Conv" for node in model.graph.node):
        raise NotApplicableError("no convolutions")
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"  # the quantizer goes by names and some exporters give none
    with tempfile.TemporaryDirectory() as folder, _silence():
        path = Path(folder) / "model.onnx"
        quantize_static(
            model,
            path,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Seven bits: processors without VNNI would clip sums of two full products.
            reduce_range=True,
        )
        quantised = parse(path.read_bytes())
    for field in ("producer_name", "producer_version", "ir_version"):
        setattr(quantised, field, getattr(model, field))
    quantised.ClearField("metadata_props")
    quantised.graph.ClearField("value_info")
    return serialise(quantised)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the quantizer from advising the user on how to call it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class _Reader:
    """Hands the rows out in batches, as ONNX Runtime's calibrator asks for them."""

    def __init__(self, feeds: Feeds) -> None:
        have = min((len(array) for array in feeds.values() if array.ndim), default=0)
        self._batches = self._iterate(rows(feeds, min(have, _MOST_ROWS)))

    @staticmethod
    def _iterate(feeds: dict[str, Array]) -> Iterator[dict[str, Array]]:
        count = max((len(array) for array in feeds.values() if array.ndim), default=0)
        for start in range(0, count, _BATCH):
            part = slice(start, start + _BATCH)
            yield {name: a[part] if a.ndim else a for name, a in feeds.items()}

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch, or None after the last."""
        return next(self._batches, None)
