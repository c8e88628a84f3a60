"""Leaves out what no answer depends on: metadata, dead nodes, unused and repeated constants.

Exporters write the source paths and stack traces of the user's code into a model; they go, too.
"""

import hashlib
from typing import Any

from fnmodel.slim.rungs.rung import Feeds
from fnmodel.slim.rungs.weights import graphs, parse, pinned, refill, serialise

_INITIALISERS_ARE_NOT_INPUTS = 4  # from this IR version on


def tidy(onnx_bytes: bytes, _: Feeds) -> bytes:
    """Return the model without anything that its answers do not need."""
    model = parse(onnx_bytes)
    _strip(model)
    graph = model.graph
    _constants_to_tensors(graph)
    for inner in graphs(graph):
        _drop_default_attributes(inner)
    _merge_repeated(graph)
    _prune(graph)
    _drop_unused_functions(model)
    known = {tensor.name for tensor in graph.initializer}
    # As an input, a constant could be replaced by a caller, so that nothing could be folded.
    refill(graph, "input", [value for value in graph.input if value.name not in known])
    model.ir_version = max(model.ir_version, _INITIALISERS_ARE_NOT_INPUTS)
    return serialise(model)


def _strip(model: Any) -> None:
    for field in ("doc_string", "metadata_props", "training_info"):
        model.ClearField(field)
    functions = list(model.functions)
    for function in functions:
        for field in ("doc_string", "metadata_props", "value_info"):
            function.ClearField(field)
    for graph in graphs(model.graph):
        for field in ("doc_string", "metadata_props", "value_info"):
            graph.ClearField(field)
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.ClearField("doc_string")
            value.ClearField("metadata_props")
        for node in graph.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
            for attribute in node.attribute:
                attribute.ClearField("doc_string")
    for node in (node for function in functions for node in function.node):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")


def _constants_to_tensors(graph: Any) -> None:
    """Make the tensors of Constant nodes constants of the graph, where every rung looks."""
    shown = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        value = node.attribute[0] if len(node.attribute) == 1 else None
        constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx")
        if constant and value is not None and value.name == "value" and node.output[0] not in shown:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
            tensor.ClearField("doc_string")
        else:
            kept.append(node)
    refill(graph, "node", kept)


def _drop_default_attributes(graph: Any) -> None:
    """Drop from tree nodes what only says the default: hit rates, and no tracks of missing values.

    ONNX Runtime reads the hit rates and does nothing with them.
    """
    for node in graph.node:
        if node.domain != "ai.onnx.ml" or not node.op_type.startswith("TreeEnsemble"):
            continue
        kept = [
            attribute
            for attribute in node.attribute
            if not attribute.name.startswith("nodes_hitrates")
            and not (
                attribute.name == "nodes_missing_value_tracks_true" and not any(attribute.ints)
            )
        ]
        refill(node, "attribute", kept)


def _merge_repeated(graph: Any) -> None:
    """Keep one of several equal constants."""
    kept_names = pinned(graph)
    first: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    for tensor in sorted(graph.initializer, key=lambda tensor: str(tensor.name)):
        if tensor.name in kept_names:
            continue
        anonymous = type(tensor)()
        anonymous.CopyFrom(tensor)
        anonymous.ClearField("name")
        content = anonymous.SerializeToString(deterministic=True)
        name = first.setdefault(hashlib.sha256(content).digest(), str(tensor.name))
        if name != tensor.name:
            renamed[str(tensor.name)] = name
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in renamed:
                node.input[position] = renamed[name]


def _prune(graph: Any) -> None:
    """Drop nodes and constants that no output needs."""
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            for attribute in node.attribute:
                for inner in (*attribute.graphs, attribute.g):
                    for graph_inside in graphs(inner):
                        needed.update(n for child in graph_inside.node for n in child.input)
                        needed.update(value.name for value in graph_inside.output)
    refill(graph, "node", [node for node in graph.node if needed.intersection(node.output)])
    refill(graph, "initializer", [t for t in graph.initializer if t.name in needed])


def _drop_unused_functions(model: Any) -> None:
    called = {(node.domain, node.op_type) for graph in graphs(model.graph) for node in graph.node}
    known = {(f.domain, f.name): f for f in model.functions}
    waiting = [key for key in called if key in known]
    reached: set[tuple[str, str]] = set()
    while waiting:
        key = waiting.pop()
        if key in reached:
            continue
        reached.add(key)
        waiting += [
            (n.domain, n.op_type) for n in known[key].node if (n.domain, n.op_type) in known
        ]
    refill(model, "functions", [f for key, f in known.items() if key in reached])
