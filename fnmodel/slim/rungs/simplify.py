"""Folds and fuses the graph with onnxslim, where that is installed."""

from typing import Any

from fnmodel.slim.rungs.rung import Feeds, NotApplicableError
from fnmodel.slim.rungs.weights import parse, serialise

_WORTH_IT = 0.05


def simplify(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model with constants folded and nodes fused.

    Raises:
        NotApplicableError: onnxslim is not installed, or the nodes that it could fold weigh little.

    """
    model = parse(onnx_bytes)
    # It takes seconds to import and to run, and leaves weights and trees as they are.
    share = _foldable(model) / len(onnx_bytes)
    if share < _WORTH_IT:
        raise NotApplicableError(f"all nodes together are {share:.1%} of the model")
    try:
        import onnxslim
    except ImportError:
        raise NotApplicableError("onnxslim is not installed (pip install onnxslim)") from None
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


def _foldable(model: Any) -> int:
    """Return the bytes of all nodes but trees."""
    nodes = (node for node in model.graph.node if not node.op_type.startswith("TreeEnsemble"))
    return sum(int(node.ByteSize()) for node in nodes)
