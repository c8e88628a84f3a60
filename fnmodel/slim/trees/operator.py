"""The attributes of ai.onnx.ml 5's TreeEnsemble, from trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.slim.trees.ensemble import Mode, Tree

Array = NDArray[Any]

# No unused leaf is ever answered; with two, a root's children never have equal numbers, which
# older runtimes take for a tree of one leaf.
_UNUSED = 2


def attributes(
    trees: Sequence[Tree],
    weights: Sequence[Array],
    targets: Sequence[int],
    width: int,
    single: bool,
) -> list[Any]:
    """Return the operator's attributes, in float32 where `single`.

    `weights` gives, for each tree, what its nodes would add as leaves, shape (nodes,), and
    `targets` to which of the `width` targets. Splits and leaves are numbered apart, in order.
    """
    from onnx import helper, numpy_helper

    number = np.float32 if single else np.float64
    parts = [_numbered(tree) for tree in trees]
    nodes = np.cumsum([0, *(len(part.split) for part in parts)])
    leaves = np.cumsum([_UNUSED, *(part.leaves for part in parts)])

    def joined(arrays: Sequence[Array], dtype: Any) -> Array:
        return np.concatenate([np.asarray(a).astype(dtype) for a in arrays])

    def split(name: str, dtype: Any) -> Array:
        return joined([getattr(t, name)[p.split] for t, p in zip(trees, parts, strict=True)], dtype)

    def child(which: int) -> list[Array]:
        return [
            np.where(part.ends[which], leaf, node) + part.child[which]
            for part, node, leaf in zip(parts, nodes, leaves, strict=False)
        ]

    members = [
        value
        for tree, part in zip(trees, parts, strict=True)
        for node in part.split
        if tree.mode[node] == Mode.MEMBER and tree.feature[node] >= 0
        for value in (*tree.members[int(node)], np.nan)
    ]
    thresholds = [_exactly(tree) if single else tree.threshold for tree in trees]
    splits = [values[part.split] for values, part in zip(thresholds, parts, strict=True)]
    unused = [np.zeros(_UNUSED)]
    numbers = {
        "nodes_featureids": np.maximum(split("feature", np.int64), 0),
        "nodes_truenodeids": joined(child(0), np.int64),
        "nodes_trueleafs": joined([part.ends[0] for part in parts], np.int64),
        "nodes_falsenodeids": joined(child(1), np.int64),
        "nodes_falseleafs": joined([part.ends[1] for part in parts], np.int64),
        "leaf_targetids": np.repeat([0, *targets], [_UNUSED, *(part.leaves for part in parts)]),
        "tree_roots": nodes[:-1],
    }
    missing = split("missing_true", np.int64)
    if missing.any():
        numbers["nodes_missing_value_tracks_true"] = missing
    tensors = {
        "nodes_modes": split("mode", np.uint8),
        "nodes_splits": joined(splits, number),
        "leaf_weights": joined(
            unused + [w[part.leaf] for w, part in zip(weights, parts, strict=True)], number
        ),
    }
    if members:
        tensors["membership_values"] = np.array(members, dtype=number)
    made = [integers(name, values) for name, values in sorted(numbers.items())]
    made += [
        helper.make_attribute(name, numpy_helper.from_array(values))
        for name, values in sorted(tensors.items())
    ]
    plain = {"aggregate_function": 1, "n_targets": width, "post_transform": 0}
    return made + [helper.make_attribute(name, value) for name, value in plain.items()]


@dataclass(frozen=True)
class _Numbered:
    """A tree's splits and leaves in the order in which the operator gets them.

    `split` and `leaf` hold node numbers of the tree; a tree of one leaf gets one split that both
    branches of end in a copy of it. `child` and `ends` say, for the true and the false branch of
    each split, the number among splits or leaves and whether it is a leaf.
    """

    split: Array
    leaf: Array
    child: tuple[Array, Array]
    ends: tuple[Array, Array]

    @property
    def leaves(self) -> int:
        return len(self.leaf)


def _numbered(tree: Tree) -> _Numbered:
    ends = tree.feature < 0
    if ends[0]:
        yes = np.array([True])
        return _Numbered(
            np.array([0]), np.array([0, 0]), (np.array([0]), np.array([1])), (yes, yes)
        )
    split, leaf = np.flatnonzero(~ends), np.flatnonzero(ends)
    place = np.where(ends, np.cumsum(ends), np.cumsum(~ends)) - 1
    branches = (tree.when_true[split], tree.when_false[split])
    return _Numbered(
        split,
        leaf,
        (place[branches[0]], place[branches[1]]),
        (ends[branches[0]], ends[branches[1]]),
    )


def _exactly(tree: Tree) -> Array:
    near = floored(tree)
    assert near is not None
    return near


def integers(name: str, values: Array) -> Any:
    """Return an attribute of integers."""
    from onnx import AttributeProto

    # make_attribute looks at each number by itself, which takes seconds for a forest.
    attribute = AttributeProto(name=name, type=AttributeProto.INTS)
    attribute.ints.extend(np.asarray(values).tolist())
    return attribute


def floored(tree: Tree) -> Array | None:
    """Return thresholds in float32 that decide as the tree's do for every float32 value.

    None where a node looks for a value that float32 does not have.
    """
    members = [value for node in tree.members.values() for value in node]
    if any(float(np.float32(value)) != value for value in members):
        return None
    # A leaf has no threshold to look at.
    modes = np.where(tree.feature < 0, int(Mode.LEQ), tree.mode)
    return floor(tree.threshold, modes)


def floor(thresholds: Array, modes: Array) -> Array | None:
    """Return float32 thresholds that divide the float32 numbers as these in float64 do.

    `x <= t` holds for a float32 x just when `x <= floor(t)` does. None where a node looks for a
    value that float32 does not have.
    """
    with np.errstate(over="ignore"):  # infinity is as good as any number beyond float32
        near = thresholds.astype(np.float32)
        above = np.isin(modes, (Mode.LEQ, Mode.GT)) & (near > thresholds)
        below = np.isin(modes, (Mode.LT, Mode.GTE)) & (near < thresholds)
        near = np.where(above, np.nextafter(near, np.float32(-np.inf)), near)
        near = np.where(below, np.nextafter(near, np.float32(np.inf)), near)
    if np.any(np.isin(modes, (Mode.EQ, Mode.NEQ)) & (near != thresholds)):
        return None
    return near.astype(np.float32)
