"""The classes that we write ourselves, each with its shape calculator and its converter."""

from collections.abc import Callable
from typing import Any

from fnmodel.slim.converters import imputer

Converter = tuple[Callable[[Any], None], Callable[[Any, Any, Any], None]]
"""What skl2onnx calls: `shape(operator)`, then `convert(scope, operator, container)`.

The output has the float of the input: a graph in float64 stays in float64.
"""


def custom() -> dict[type, Converter]:
    """Return our converters by class, for `skl2onnx.convert_sklearn`."""
    return {**imputer.converters()}
