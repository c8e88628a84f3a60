"""Makes the trees of a finished graph smaller: float32 instead of float64, or fewer trees."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim.trees import operator
from fnmodel.slim.trees.ensemble import Mode

Array = NDArray[Any]

_FLOAT, _DOUBLE = 1, 11
_PLAIN = ("aggregate_function", "n_targets", "post_transform")
# What a sum of trees passes through before it is divided.
_PASSING = ("Add", "Cast", "Concat", "Gather", "Identity", "ReduceSum", "Reshape", "Sub")


def narrow(onnx_bytes: bytes) -> bytes | None:
    """Return the model with float32 splits and leaves, or None where it has none to narrow.

    Only splits of features that are float32 already are rounded, so that each row falls into the
    same leaves; sums of leaves then lose digits.
    """
    import onnx
    from onnx import helper

    model = onnx.load_from_string(onnx_bytes)
    made = {name: node for node in model.graph.node for name in node.output}
    floats = _floats(model.graph)
    nodes: list[Any] = []
    narrowed = 0
    for node in model.graph.node:
        source = _float_source(made, floats, node)
        fitting = _narrowed(node) if source else None
        if source is None or fitting is None:
            nodes.append(node)
            continue
        narrowed += 1
        output = f"{node.output[0]}_float"
        small = helper.make_node("TreeEnsemble", [source], [output], node.name, domain=node.domain)
        small.attribute.extend(fitting)
        wide = helper.make_node("Cast", [output], [node.output[0]], f"{node.name}_wide", to=_DOUBLE)
        nodes += [small, wide]
    if not narrowed:
        return None
    _replace_nodes(model.graph, nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def truncate(onnx_bytes: bytes, share: float) -> bytes | None:
    """Return the model with that share of each ensemble's trees, the first ones.

    Averages are taken over the trees that are left. None where there is nothing to drop, or
    where it cannot be seen what the trees' sum is divided by.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(onnx_bytes)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    dropped = 0
    for number, group in enumerate(_sums(graph)):
        divisors = _divisors(graph, group, constants)
        if divisors is None:
            return None
        before = sum(len(_roots(node)) for node in group)
        kept = _kept(group, share, averaged=bool(divisors))
        after = sum(kept)
        dropped += before - after
        for node, count in zip(group, kept, strict=True):
            _cut(node, count, averaged=bool(divisors))
        for position, (node, at) in enumerate(divisors):
            name = f"trees_left_{number}_{position}"
            graph.initializer.append(numpy_helper.from_array(np.array(float(after)), name))
            node.input[at] = name
    if not dropped:
        return None
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _floats(graph: Any) -> set[str]:
    """Return the values that are known to be float32."""
    values = [value.name for value in graph.input if value.type.tensor_type.elem_type == _FLOAT]
    casts = [n.output[0] for n in graph.node if n.op_type == "Cast" and _value(n, "to") == _FLOAT]
    return {*values, *casts}


def _float_source(made: dict[str, Any], floats: set[str], node: Any) -> str | None:
    """Return the float32 value that an ensemble in float64 gets the features of, widened."""
    if node.op_type != "TreeEnsemble":
        return None
    cast = made.get(node.input[0])
    if cast is None or cast.op_type != "Cast" or _value(cast, "to") != _DOUBLE:
        return None
    if _tensor(node, "nodes_splits").dtype != np.float64:
        return None
    source = str(cast.input[0])
    behind = source
    while behind not in floats:
        # What replaces some of the values by others of the same kind keeps their kind.
        node = made.get(behind)
        if node is None or node.op_type not in ("Where", "Identity", "Gather"):
            return None
        behind = str(node.input[2] if node.op_type == "Where" else node.input[0])
    return source


def _narrowed(node: Any) -> list[Any] | None:
    from onnx import helper, numpy_helper

    modes = _tensor(node, "nodes_modes")
    splits = operator.floor(_tensor(node, "nodes_splits"), modes)
    members = _tensor(node, "membership_values")
    same = members is None or np.array_equal(members.astype(np.float32), members, equal_nan=True)
    if splits is None or not same:
        return None
    changed = {"nodes_splits": splits, "leaf_weights": _tensor(node, "leaf_weights")}
    if members is not None:
        changed["membership_values"] = members
    kept = [a for a in node.attribute if a.name not in changed]
    return kept + [
        helper.make_attribute(name, numpy_helper.from_array(values.astype(np.float32)))
        for name, values in changed.items()
    ]


def _sums(graph: Any) -> Iterator[list[Any]]:
    """Yield the ensembles whose outputs are added up together."""
    group: dict[str, list[Any]] = {}
    order: list[list[Any]] = []
    for node in graph.node:
        if node.op_type == "TreeEnsemble":
            own = [node]
            order.append(own)
            group[node.output[0]] = own
        elif node.op_type in _PASSING:
            met = [group[name] for name in node.input if name in group]
            if node.op_type == "Concat" and any(other is not met[0] for other in met):
                continue
            for other in met[1:]:
                if other is not met[0]:
                    met[0].extend(other)
                    order = [kept for kept in order if kept is not other]
                    group.update({n: met[0] for n, g in group.items() if g is other})
            if met:
                group[node.output[0]] = met[0]
    yield from order


def _divisors(
    graph: Any, group: Sequence[Any], constants: dict[str, Any]
) -> list[tuple[Any, int]] | None:
    """Return the nodes, and which input of each, that hold the number of trees of a group.

    None where the sum is divided by something else.
    """
    from onnx import numpy_helper

    reached = {name for node in group for name in node.output}
    total = float(sum(len(_roots(node)) for node in group))
    found = []
    for node in graph.node:
        if not reached & set(node.input):
            continue
        numbers = {
            at: numpy_helper.to_array(constants[name])
            for at, name in enumerate(node.input)
            if name in constants
        }
        if node.op_type == "Div" and node.input[0] in reached:
            if 1 not in numbers or numbers[1].size != 1 or float(numbers[1].item()) != total:
                return None
            found.append((node, 1))
        elif node.op_type == "Sub" and 0 in numbers and float(numbers[0].item()) == total:
            found.append((node, 0))
            reached.update(node.output)
        elif node.op_type in _PASSING:
            reached.update(node.output)
    return found


def _kept(group: Sequence[Any], share: float, *, averaged: bool) -> list[int]:
    """Return how many trees stay in each node of a sum, at least one."""
    counts = [len(_roots(node)) for node in group]
    if averaged:
        return [max(1, ceil(count * share)) for count in counts]
    # Boosting adds in rounds of one tree a target, and later trees mend the earlier ones.
    targets = int(_value(group[0], "n_targets"))
    left = max(targets, targets * ceil(sum(counts) * share / targets))
    kept = []
    for count in counts:
        kept.append(min(count, max(left, 0)))
        left -= count
    return kept


def _cut(node: Any, count: int, *, averaged: bool) -> None:
    """Keep the first trees of a node; where none is left, one that adds nothing."""
    from onnx import helper, numpy_helper

    roots = _roots(node)
    if count == len(roots):
        return
    left = max(1, count)
    integers = {a.name: np.array(a.ints) for a in node.attribute if a.ints}
    tensors = {a.name: numpy_helper.to_array(a.t) for a in node.attribute if a.HasField("t")}
    plain = {a.name: a.i for a in node.attribute if a.name in _PLAIN}
    stop = int(roots[left]) if left < len(roots) else len(integers["nodes_featureids"])
    for arrays in (integers, tensors):
        for name in [name for name in arrays if name.startswith("nodes_")]:
            arrays[name] = arrays[name][:stop]
    ends = [
        integers[f"nodes_{side}nodeids"][integers[f"nodes_{side}leafs"] != 0]
        for side in ("true", "false")
    ]
    leaves = int(np.concatenate(ends).max()) + 1
    integers["leaf_targetids"] = integers["leaf_targetids"][:leaves]
    integers["tree_roots"] = roots[:left]
    tensors["leaf_weights"] = tensors["leaf_weights"][:leaves] * (1 if count else 0)
    if "membership_values" in tensors:
        chains = int((tensors["nodes_modes"] == Mode.MEMBER).sum())
        values = tensors.pop("membership_values")
        if chains:
            last = np.flatnonzero(np.isnan(values))[chains - 1]
            tensors["membership_values"] = values[: int(last) + 1]
    if averaged and plain["n_targets"] == len(roots) > 1:
        plain["n_targets"] = left
    made = {name: numpy_helper.from_array(np.ascontiguousarray(v)) for name, v in tensors.items()}
    del node.attribute[:]
    node.attribute.extend(operator.integers(name, v) for name, v in sorted(integers.items()))
    node.attribute.extend(
        helper.make_attribute(name, value) for name, value in sorted({**made, **plain}.items())
    )


def _roots(node: Any) -> Array:
    return np.array(next(a.ints for a in node.attribute if a.name == "tree_roots"))


def _value(node: Any, name: str) -> int:
    return int(next((a.i for a in node.attribute if a.name == name), 0))


def _tensor(node: Any, name: str) -> Any:
    from onnx import numpy_helper

    found = next((a.t for a in node.attribute if a.name == name), None)
    return None if found is None else numpy_helper.to_array(found)


def _replace_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    """Put nodes in place of a graph's, without casts that nothing needs any longer."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    graph.ClearField("node")
    graph.node.extend(reversed(kept))
