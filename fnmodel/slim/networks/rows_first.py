"""Brings rows to the first axis of a graph whose inputs or outputs have them elsewhere.

Recurrent networks take and give their state as (layers, rows, units), and a sampling rate or
another setting as a single value. The endpoint asks in rows, so that axes are moved inside the
graph, and single values become constants of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.networks import network

Array = NDArray[Any]
Run = Callable[[Any, Mapping[str, Array]], dict[str, Array]]
"""Runs a graph on arrays by input name; raises InputError where it fails."""


def settings(model: Any) -> tuple[str, ...]:
    """Return the inputs that are single values."""
    return tuple(
        value.name
        for value in model.graph.input
        if value.type.tensor_type.HasField("shape") and not value.type.tensor_type.shape.dim
    )


def fix(model: Any, values: Mapping[str, Array]) -> None:
    """Make inputs constants of the graph, in place."""
    import onnx

    graph = model.graph
    for value in [value for value in graph.input if value.name in values]:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        constant = np.asarray(values[value.name], dtype=kind)
        graph.input.remove(value)
        graph.initializer.append(onnx.numpy_helper.from_array(constant, value.name))


def turned(model: Any) -> dict[str, int]:
    """Return where the rows are in inputs that do not have them first.

    That is so where the first axis is of one size, more than 1, and the only open one is called as
    the first axis of another input is, or has no name. A size of 1 may be rows that an exporter
    froze.
    """
    shapes = {value.name: _dims(value) for value in model.graph.input}
    rows = {shape[0] for shape in shapes.values() if shape and not isinstance(shape[0], int)}
    found = {}
    for name, shape in shapes.items():
        axes = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
        if rows and len(axes) == 1 and shape[0] != 1 and shape[axes[0]] in {None, *rows}:
            found[name] = axes[0]
    return {name: axis for name, axis in found.items() if axis > 0}


def turn_inputs(model: Any, places: Mapping[str, int]) -> None:
    """Take rows on the first axis of these inputs, in place."""
    import onnx

    moves = []
    for number, value in enumerate(model.graph.input):
        axis = places.get(value.name)
        if axis is None:
            continue
        inside = f"{value.name}/turned{number}"
        _replace_uses(model.graph, value.name, inside)
        dims = list(value.type.tensor_type.shape.dim)
        dims.insert(0, dims.pop(axis))
        ours = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString()) for d in dims]
        value.type.tensor_type.shape.ClearField("dim")
        value.type.tensor_type.shape.dim.extend(ours)
        order = [*range(1, axis + 1), 0, *range(axis + 1, len(ours))]
        moves.append(onnx.helper.make_node("Transpose", [value.name], [inside], perm=order))
    nodes = [*moves, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def turn_outputs(model: Any, arrays: Mapping[str, Array], run: Run) -> None:
    """Give rows on the first axis of all outputs, in place; asks the graph where they are.

    Raises:
        InputError: the graph fails on the arrays.
        UnsupportedModelError: an output has no axis that grows with the rows.

    """
    import onnx

    count = len(next(iter(arrays.values())))
    if count < 3:
        arrays = {name: np.resize(array, (3, *array.shape[1:])) for name, array in arrays.items()}
    two, three = (run(model, {n: a[:rows] for n, a in arrays.items()}) for rows in (2, 3))
    for number, value in enumerate(model.graph.output):
        shapes = two[value.name].shape, three[value.name].shape
        grown = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if sizes == (2, 3)]
        if grown[:1] == [0]:
            continue
        if len(grown) != 1:
            raise UnsupportedModelError(
                f"output {value.name!r} has no axis of rows: 2 rows give {list(shapes[0])}, 3 rows "
                f"{list(shapes[1])}",
                hint="export the model with an answer for each row",
            )
        inside = f"{value.name}/turned{number}"
        _rename_made(model.graph, value.name, inside)
        order = [grown[0], *(axis for axis in range(len(shapes[0])) if axis != grown[0])]
        model.graph.node.append(
            onnx.helper.make_node("Transpose", [inside], [value.name], perm=order)
        )
        value.type.tensor_type.ClearField("shape")


def _dims(value: Any) -> list[int | str | None]:
    """Return an input's axes: a size, a name, or None."""
    return [
        dim.dim_value
        if dim.HasField("dim_value") and dim.dim_value > 0
        else (dim.dim_param or None)
        for dim in value.type.tensor_type.shape.dim
    ]


def _replace_uses(graph: Any, name: str, fresh: str) -> None:
    for part in network.graphs(graph):
        for node in part.node:
            node.input[:] = [fresh if one == name else one for one in node.input]


def _rename_made(graph: Any, name: str, fresh: str) -> None:
    _replace_uses(graph, name, fresh)
    for node in graph.node:
        node.output[:] = [fresh if one == name else one for one in node.output]
