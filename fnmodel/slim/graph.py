"""Puts a converted ONNX graph in order: names, unused nodes, metadata, versions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HIGHEST_IR = 10


def tidy(model: Any, inputs: Mapping[str, str], outputs: Sequence[str], *, boolean: bool) -> Any:
    """Return the model with our names on its inputs and first outputs, and nothing it needs not.

    `inputs` maps the converter's names to ours. Outputs beyond `outputs` go, with the nodes that
    only they needed. `boolean` makes the first output a BOOL, for classes that are booleans.
    """
    import onnx

    tidied = onnx.ModelProto()
    tidied.CopyFrom(model)
    graph = tidied.graph
    del graph.output[len(outputs) :]
    _prune(graph)
    taken = {*inputs.values()}
    fresh = [name if name not in taken else f"{name}_output" for name in outputs]
    renamed = {graph.output[i].name: name for i, name in enumerate(fresh)}
    # Inner names move out of the way first, so that none meets a name of ours.
    inner = {name: f"_{name}" for name in _names(graph) if name}
    _rename(graph, {**inner, **inputs, **renamed})
    if boolean:
        _cast_to_bool(graph)
    graph.name = "model"
    _strip(tidied)
    _dedupe_opsets(tidied)
    tidied.ir_version = min(tidied.ir_version, HIGHEST_IR)
    onnx.checker.check_model(tidied)
    return tidied


def send_missing_left(model: Any, estimator: Any) -> Any:
    """Return the model with the tracks of missing values that a tree or forest learned.

    skl2onnx writes 0 for each of them. Only a model with one ensemble node can be mended, since
    the node does not say which estimator it came from.
    """
    import onnx

    trees = _trees(estimator)
    ensembles = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    if not trees or len(ensembles) != 1:
        return model
    attributes = {a.name: a for a in ensembles[0].attribute}
    nodes = zip(
        attributes["nodes_treeids"].ints,
        attributes["nodes_nodeids"].ints,
        attributes["nodes_modes"].strings,
        strict=True,
    )
    tracks = [
        int(trees[tree].missing_go_to_left[node]) if mode != b"LEAF" else 0
        for tree, node, mode in nodes
    ]
    mended = onnx.ModelProto()
    mended.CopyFrom(model)
    node = next(n for n in mended.graph.node if n.op_type.startswith("TreeEnsemble"))
    kept = [a for a in node.attribute if a.name != "nodes_missing_value_tracks_true"]
    tracked = onnx.helper.make_attribute("nodes_missing_value_tracks_true", tracks)
    del node.attribute[:]
    node.attribute.extend([*kept, tracked])
    return mended


def _trees(estimator: Any) -> list[Any]:
    if hasattr(estimator, "tree_"):
        return [estimator.tree_]
    members = getattr(estimator, "estimators_", ())
    members = list(members.flat) if isinstance(members, np.ndarray) else list(members)
    return [m.tree_ for m in members] if all(hasattr(m, "tree_") for m in members) else []


def _names(graph: Any) -> set[str]:
    return {
        name for node in graph.node for name in (*node.input, *node.output)
    } | {tensor.name for tensor in graph.initializer}  # fmt: skip


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for number, node in enumerate(graph.node):
        node.name = f"n{number}"
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]


def _prune(graph: Any) -> None:
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    nodes = list(reversed(kept))
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    inputs = [value for value in graph.input if value.name in needed]
    for field, values in (("node", nodes), ("initializer", tensors), ("input", inputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)


def _cast_to_bool(graph: Any) -> None:
    import onnx

    output = graph.output[0]
    _rename_one = f"_{output.name}_int64"
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [_rename_one if name == output.name else name for name in side]
    graph.node.append(
        onnx.helper.make_node(
            "Cast", [_rename_one], [output.name], name="to_bool", to=onnx.TensorProto.BOOL
        )
    )
    output.type.tensor_type.elem_type = onnx.TensorProto.BOOL


def _strip(model: Any) -> None:
    model.doc_string = ""
    model.graph.doc_string = ""
    model.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for node in model.graph.node:
        node.doc_string = ""
        node.ClearField("metadata_props")


def _dedupe_opsets(model: Any) -> None:
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        versions[entry.domain] = max(entry.version, versions.get(entry.domain, 0))
    model.ClearField("opset_import")
    for domain, version in sorted(versions.items()):
        model.opset_import.add(domain=domain, version=version)
