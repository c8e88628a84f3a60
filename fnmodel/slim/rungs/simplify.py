"""Folds and fuses the graph with onnxslim, where that is installed."""

from fnmodel.slim.rungs.rung import Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import parse, serialise


def simplify(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with constants folded and nodes fused.

    Raises:
        NotApplicableError: onnxslim is not installed.

    """
    try:
        import onnxslim
    except ImportError:
        raise NotApplicableError("onnxslim is not installed (pip install onnxslim)") from None
    model = parse(onnx_bytes)
    slimmed = onnxslim.slim(parse(onnx_bytes))
    if slimmed is None:
        raise NotApplicableError("onnxslim gave nothing back")
    # onnxslim signs with its own name and sets the model's version to 0.
    for field in ("producer_name", "producer_version", "model_version"):
        setattr(slimmed, field, getattr(model, field))
    slimmed.ir_version = model.ir_version
    slimmed.graph.name = model.graph.name
    slimmed.graph.ClearField("value_info")
    return serialise(slimmed)
