"""Whether a function's memory holds the models of its image, told before Lambda ends a process."""

from collections.abc import Collection, Mapping

from fnmodel.engine import TWO_VCPU_MEMORY_MB
from fnmodel.errors import ImageLimitError
from fnmodel.model import OnnxModel
from fnmodel.units import size

# What a process has in use before the first model: Python, ONNX Runtime, our own code. MB.
_RUNTIME = 40


def needed(models: Mapping[str, OnnxModel], twice: Collection[str] = ()) -> int:
    """Return the MB that all models need at least, loaded at once and answering nothing.

    A loaded model holds the weights of its file; what requests need comes on top. Those named
    `twice` are opened a second time.
    """
    sizes = [model.size * (1 + (name in twice)) for name, model in models.items()]
    return _RUNTIME + -(-sum(sizes) // (1 << 20))


def require(models: Mapping[str, OnnxModel], megabytes: int, batch: Collection[str] = ()) -> None:
    """Refuse models that a function cannot hold.

    From two processors on, those that `batch` jobs score are opened once more, each session for
    one thread, since requests are answered by sessions with threads of their own.

    Raises:
        ImageLimitError: says what each of them has.

    """
    least = needed(models, batch if megabytes >= TWO_VCPU_MEMORY_MB else ())
    if least <= megabytes:
        return
    shown = ", ".join(f"{name} {size(model.size)}" for name, model in models.items())
    raise ImageLimitError(
        f"the function has {megabytes:,} MB of memory, and its models need at least {least:,} MB: "
        f"{shown}",
        hint=f"set `function.memory` to {least:,} or more (10,240 is the most), or "
        + ("leave models out" if len(models) > 1 else "make the model smaller: `slim.goal: size`"),
    )
