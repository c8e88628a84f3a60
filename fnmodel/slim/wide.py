"""Feeds the columns of a text vectorizer to a converted graph in the narrowest form it allows.

A text writes a few of many thousand columns. Where the graph only multiplies them by weights, it
gets the written values and gathers their weights; where only trees look at them, it gets the
columns that a split tests; else it gets them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim.converters.text import MARK

Array = NDArray[Any]

_WORTH_DROPPING = 0.9


@dataclass(frozen=True)
class Block:
    """What fills the columns of one slot: a `words` step without its names, and their number."""

    step: Mapping[str, Any]
    width: int


@dataclass(frozen=True)
class _Use:
    """A node where a block's way ends: its columns start at `offset` of what the node reads.

    `weights`, shape (columns, K), is the constant that the node multiplies by, with the factors on
    the way and in the float that the node computes in; None for trees.
    """

    node: Any
    offset: int
    factor: float = 1.0
    weights: Array | None = None


def feed(onnx_model: bytes, blocks: Sequence[Block]) -> tuple[bytes, dict[str, Any]]:
    """Replace each slot by inputs; return the model and the content of its `front.json`.

    Raises:
        UnsupportedModelError: a slot's text does not come from an input as it is.

    """
    import onnx

    model = onnx.load_from_string(onnx_model)
    steps = []
    for name, (number, source, column) in _declare(model, blocks).items():
        block = blocks[number]
        step: dict[str, Any] = {"op": "words", "inputs": [source], "outputs": [name]}
        if column:
            step["column"] = column
        step.update(block.step)
        kept, fan_out = _narrow(model, name, block.width)
        if fan_out:
            step.update(outputs=[name, _columns_of(name)], fan_out=fan_out)
        if len(kept) < block.width:
            step["then"] = [*step["then"], {"op": "columns", "columns": kept.tolist()}]
        steps.append(step)
    _prune(model.graph)
    onnx.checker.check_model(model)
    inputs = {value.name for value in model.graph.input}
    passes = sorted(inputs.intersection(name for step in steps for name in step["inputs"]))
    front = {"version": 1, "steps": steps, **({"passes": passes} if passes else {})}
    return model.SerializeToString(deterministic=True), front


def _declare(model: Any, blocks: Sequence[Block]) -> dict[str, tuple[int, str, int]]:
    """Turn slots into inputs of their whole width; return slot, text input and column by name."""
    import onnx

    graph = model.graph
    taken = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    taken |= {name for node in graph.node for name in node.output}
    made: dict[tuple[int, str, int], str] = {}
    for node in [node for node in graph.node if node.doc_string.startswith(MARK)]:
        number = int(node.doc_string.removeprefix(MARK))
        if number < 0:
            raise UnsupportedModelError(
                "a vectorizer in the model is not fitted", hint="call fit() before saving it"
            )
        key = (number, *_origin(graph, node.input[0]))
        if key not in made:
            name = f"text{len(made)}"
            while {name, _columns_of(name)} & taken:
                name += "_"
            made[key] = name
            taken |= {name, _columns_of(name)}
            shape = [None, blocks[number].width]
            graph.input.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, shape)
            )
        graph.node.remove(node)
        _reread(graph, node.output[0], made[key])
    _prune(graph)
    return {name: key for key, name in made.items()}


def _origin(graph: Any, name: str) -> tuple[str, int]:
    """Return the input, and the column of it, whose rows a slot counts.

    Raises:
        UnsupportedModelError: its text is computed.

    """
    makers = {output: node for node in graph.node for output in node.output}
    constants = _constants(graph)
    column = 0
    while name in makers:
        node = makers[name]
        if node.op_type == "Gather" and _attribute(node, "axis", 0) == 1:
            index = constants.get(node.input[1])
            if index is None or _array(index).size != 1:
                raise _computed(node)
            column = int(_array(index).reshape(-1)[0])
        elif node.op_type not in ("Shape", "Concat", "Identity"):
            raise _computed(node)
        name = node.input[0]
    return name, column


def _computed(node: Any) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the text of a vectorizer is first changed by {node.op_type}",
        hint="give the text to the vectorizer as it comes",
    )


def _narrow(model: Any, name: str, width: int) -> tuple[Array, int]:
    """Rewrite what reads the input; return the columns it still needs and the fan-out.

    The fan-out is the number of weights that each value is multiplied by, or 0 where the input
    remains a matrix.
    """
    uses = _uses(model, name, width) or []
    linear = [use for use in uses if use.weights is not None]
    if linear and len(linear) == len(uses):
        return _gather(model, name, width, linear)
    kept = np.arange(width)
    if uses and not linear:
        tested = [_tested(use, width) for use in uses]
        kept = np.unique(np.concatenate([*tested, [0]])).astype(np.int64)
        for use in uses:
            _renumber(use, width, kept)
        declared = next(value for value in model.graph.input if value.name == name)
        declared.type.tensor_type.shape.dim[1].dim_value = len(kept)
    return kept, 0


def _uses(model: Any, name: str, width: int) -> list[_Use] | None:
    """Return where the columns end up, or None where one use needs them as a matrix."""
    graph, widths = model.graph, _widths(model)
    constants = _constants(graph)
    outputs = {value.name for value in graph.output}
    uses: list[_Use] = []
    waiting = [(name, 0, 1.0)]
    while waiting:
        value, offset, factor = waiting.pop()
        if value in outputs:
            return None
        for node in graph.node:
            if value not in node.input:
                continue
            if list(node.input).count(value) > 1:
                return None
            position = list(node.input).index(value)
            passed = _passed(node, position, widths, constants)
            if passed is not None:
                waiting.append((node.output[0], offset + passed[0], factor * passed[1]))
                continue
            use = _ends(node, position, offset, factor, constants)
            if use is None or (use.weights is not None and len(use.weights) < offset + width):
                return None
            uses.append(use)
    return uses


def _passed(
    node: Any, position: int, widths: Mapping[str, int], constants: Mapping[str, Any]
) -> tuple[int, float] | None:
    """Return by how many columns and by which factor a node moves its input; None if it is used."""
    from onnx import TensorProto

    match node.op_type:
        case "Identity":
            return 0, 1.0
        case "Cast" if _attribute(node, "to", 0) in (TensorProto.FLOAT, TensorProto.DOUBLE):
            return 0, 1.0
        case "Mul":
            other = constants.get(node.input[1 - position])
            factor = np.empty(0) if other is None else _array(other)
            return (0, float(factor.reshape(-1)[0])) if factor.size == 1 else None
        case "Concat" if _attribute(node, "axis", 0) in (1, -1):
            before = list(node.input[:position])
            known = set(before) <= set(widths)
            return (sum(widths[name] for name in before), 1.0) if known else None
    return None


def _ends(
    node: Any, position: int, offset: int, factor: float, constants: Mapping[str, Any]
) -> _Use | None:
    if position:
        return None
    if node.op_type.startswith("TreeEnsemble"):
        return _Use(node, offset) if factor == 1 else None
    if node.op_type != "MatMul" or node.input[1] not in constants:
        return None
    weights = _array(constants[node.input[1]])
    return _Use(node, offset, factor, weights) if weights.ndim == 2 else None


def _gather(model: Any, name: str, width: int, uses: Sequence[_Use]) -> tuple[Array, int]:
    """Give every product the written values alone, and the weights of their columns."""
    import onnx
    from onnx import TensorProto

    graph = model.graph
    parts = [
        (use.weights[use.offset : use.offset + width] * use.weights.dtype.type(use.factor))
        for use in uses
        if use.weights is not None
    ]
    kept = np.arange(width)
    nonzero = np.flatnonzero(np.any([np.any(part != 0, axis=1) for part in parts], axis=0))
    if len(nonzero) < _WORTH_DROPPING * width:
        kept = nonzero if len(nonzero) else kept[:1]
    _disconnect(graph, name)
    for number, (use, part) in enumerate(zip(uses, parts, strict=True)):
        _replace_product(graph, use, width, part[kept], f"{name}_{number}")
    graph.input.remove(next(value for value in graph.input if value.name == name))
    for fresh, kind in ((name, TensorProto.DOUBLE), (_columns_of(name), TensorProto.INT64)):
        graph.input.append(onnx.helper.make_tensor_value_info(fresh, kind, [None, None]))
    return kept, max(part.shape[1] for part in parts)


def _replace_product(graph: Any, use: _Use, width: int, part: Array, prefix: str) -> None:
    """Write `use.node` as the product of the other columns plus that of the block's."""
    from onnx import TensorProto, helper, numpy_helper

    node, weights = use.node, use.weights
    assert weights is not None
    name = prefix.rsplit("_", 1)[0]

    def constant(hint: str, values: Array) -> str:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), hint))
        return hint

    values, added = name, []
    if part.dtype != np.float64:
        values = f"{prefix}_values"
        added.append(helper.make_node("Cast", [name], [values], to=TensorProto.FLOAT))
    axis = constant(f"{prefix}_axis", np.array([1], dtype=np.int64))
    table = constant(f"{prefix}_weights", part)
    added += [
        helper.make_node("Gather", [table, _columns_of(name)], [f"{prefix}_rows"], axis=0),
        helper.make_node("Unsqueeze", [values, axis], [f"{prefix}_wide"]),
        helper.make_node("MatMul", [f"{prefix}_wide", f"{prefix}_rows"], [f"{prefix}_deep"]),
        helper.make_node("Squeeze", [f"{prefix}_deep", axis], [f"{prefix}_product"]),
    ]
    rest = np.delete(weights, slice(use.offset, use.offset + width), axis=0)
    if len(rest):
        others = constant(f"{prefix}_rest_weights", rest)
        added += [
            helper.make_node("MatMul", [node.input[0], others], [f"{prefix}_rest"]),
            helper.make_node("Add", [f"{prefix}_product", f"{prefix}_rest"], [node.output[0]]),
        ]
    else:
        added[-1].output[0] = node.output[0]
    nodes = list(graph.node)
    at = nodes.index(node)
    graph.ClearField("node")
    graph.node.extend([*nodes[:at], *added, *nodes[at + 1 :]])


def _disconnect(graph: Any, name: str) -> None:
    """Take the matrix that was `name` out of every concatenation, with what only passed it on."""
    gone = [name]
    while gone:
        value = gone.pop()
        for node in list(graph.node):
            if value not in node.input:
                continue
            if node.op_type == "Concat":
                rest = [other for other in node.input if other != value]
                node.ClearField("input")
                node.input.extend(rest)
                if rest:
                    continue
            elif node.op_type not in ("Identity", "Cast", "Mul"):
                continue
            graph.node.remove(node)
            gone.append(node.output[0])


def _tested(use: _Use, width: int) -> Array:
    """Return the columns of the block that a split of the ensemble tests."""
    features, real = _splits(use.node)
    mine = real & (features >= use.offset) & (features < use.offset + width)
    columns: Array = np.unique(features[mine] - use.offset)
    return columns


def _splits(node: Any) -> tuple[Array, Array]:
    """Return the feature of each node of the ensemble, and which nodes are splits."""
    features = np.array(_attribute(node, "nodes_featureids", []), dtype=np.int64)
    modes = _attribute(node, "nodes_modes", [])
    if node.op_type == "TreeEnsemble":
        return features, np.ones(len(features), dtype=bool)
    return features, np.array([mode != b"LEAF" for mode in modes], dtype=bool)


def _renumber(use: _Use, width: int, kept: Array) -> None:
    from onnx import helper

    features, real = _splits(use.node)
    end = use.offset + width
    inside = (features >= use.offset) & (features < end)
    moved = np.where(features >= end, features - width + len(kept), features)
    moved[inside] = use.offset + np.searchsorted(kept, features[inside] - use.offset)
    moved[~real] = 0
    old = next(a for a in use.node.attribute if a.name == "nodes_featureids")
    use.node.attribute.remove(old)
    use.node.attribute.append(helper.make_attribute("nodes_featureids", moved.tolist()))


def _widths(model: Any) -> dict[str, int]:
    """Return the second dimension of each matrix, where it can be inferred."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {}
    for value in (*inferred.value_info, *inferred.input):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 2 and dims[1].HasField("dim_value"):
            found[value.name] = dims[1].dim_value
    return found


def _constants(graph: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in graph.initializer}


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    array: Array = numpy_helper.to_array(tensor)
    return array


def _columns_of(name: str) -> str:
    return f"{name}_columns"


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default


def _reread(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
    if old in {value.name for value in graph.output}:
        from onnx import helper

        graph.node.append(helper.make_node("Identity", [new], [old]))


def _prune(graph: Any) -> None:
    """Remove the nodes, weights and inputs that no output needs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    for field, values in (
        ("node", list(reversed(kept))),
        ("initializer", [tensor for tensor in graph.initializer if tensor.name in needed]),
        ("input", [value for value in graph.input if value.name in needed]),
    ):
        graph.ClearField(field)
        getattr(graph, field).extend(values)
