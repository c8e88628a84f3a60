"""The value between a framework's trees and the ONNX operator: trees as arrays, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Mode(IntEnum):
    """How a node decides, by the numbers of ai.onnx.ml 5 TreeEnsemble's `nodes_modes`."""

    LEQ = 0
    LT = 1
    GTE = 2
    GT = 3
    EQ = 4
    NEQ = 5
    MEMBER = 6


Link = Literal["identity", "logistic", "softmax", "exp", "softplus", "signed_square", "step"]
"""From raw scores to answers: `softplus` is log(1 + e^x), `signed_square` is x|x|, and `step` is 1
above 0, else 0."""

Rounding = Literal["floor", "truncate"]

Number = Literal["FP32", "FP64", "INT64", "BOOL"]
"""The datatype in which the features come."""


@dataclass(frozen=True)
class Tree:
    """One tree of N nodes; node 0 is the root.

    Arrays of shape (N,): `feature` (-1 at a leaf), `mode`, `threshold` (float64),
    `missing_true` (whether a missing value takes the true branch), `when_true` and `when_false`
    (node numbers). `values`, shape (N, K), is what a leaf adds to the targets from `target` on.
    `members` gives, for each MEMBER node, the values that take the true branch.
    """

    feature: Array
    mode: Array
    threshold: Array
    missing_true: Array
    when_true: Array
    when_false: Array
    values: Array
    target: int = 0
    members: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ensemble:
    """Trees over `features` columns whose sum, plus `base`, passes through `link`.

    `compares` is the float in which the original compares a value with a threshold: it casts its
    input to that first. `divide` is what the sum is divided by before `base` is added (the number
    of trees, where the original averages). `base` has shape (targets,). The sum is multiplied by
    `scale` before `link`.

    Before any comparison, and after the cast to `compares`: values of a feature in `absent` that
    lie in its closed range count as missing, and values of a feature in `codes` lose their
    fraction in that direction (a category of 2.7 is 2). `weights`, shape (features, targets), is
    what each value adds to the targets times itself, where the original is linear; a missing
    value adds nothing.
    """

    trees: tuple[Tree, ...]
    features: int
    targets: int
    compares: Literal["FP32", "FP64"]
    base: Array
    divide: float = 1.0
    link: Link = "identity"
    scale: float = 1.0
    absent: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    codes: Mapping[int, Rounding] = field(default_factory=dict)
    weights: Array | None = None

    def thresholds(self) -> dict[int, Array]:
        """Return the distinct thresholds of each feature that is split by order, ascending."""
        found: dict[int, list[Array]] = {}
        for tree in self.trees:
            ordered = (tree.feature >= 0) & (tree.mode < Mode.EQ)
            for feature in np.unique(tree.feature[ordered]):
                chosen = tree.threshold[ordered & (tree.feature == feature)]
                found.setdefault(int(feature), []).append(chosen)
        return {feature: np.unique(np.concatenate(parts)) for feature, parts in found.items()}
