"""Whether a function's memory holds the models of its image, told before Lambda ends a process."""

from collections.abc import Mapping

from fnmodel.errors import ImageLimitError
from fnmodel.model import OnnxModel
from fnmodel.units import size

# What a process has in use before the first model: Python, ONNX Runtime, our own code. MB.
_RUNTIME = 40


def needed(models: Mapping[str, OnnxModel]) -> int:
    """Return the MB that all models need at least, loaded at once and answering nothing.

    A loaded model holds the weights of its file; what requests need comes on top.
    """
    return _RUNTIME + -(-sum(model.size for model in models.values()) // (1 << 20))


def require(models: Mapping[str, OnnxModel], megabytes: int) -> None:
    """Refuse models that a function cannot hold.

    Raises:
        ImageLimitError: says what each of them has.

    """
    least = needed(models)
    if least <= megabytes:
        return
    shown = ", ".join(f"{name} {size(model.size)}" for name, model in models.items())
    raise ImageLimitError(
        f"the function has {megabytes:,} MB of memory, and its models need at least {least:,} MB: "
        f"{shown}",
        hint=f"set `function.memory` to {least:,} or more (10,240 is the most), or "
        + ("leave models out" if len(models) > 1 else "make the model smaller: `slim.goal: size`"),
    )
