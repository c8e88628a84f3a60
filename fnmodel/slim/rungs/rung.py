"""A rung of the ladder: one way to make a model smaller, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Feeds = Mapping[str, Array]
"""Input tensors by name, the rows along axis 0."""

Build = Callable[[bytes, Feeds], bytes]
"""Turns a serialised model into a smaller one; the rows are there to calibrate on.

The same arguments give the same bytes. Raises NotApplicableError where it has nothing to do; any
other exception marks the rung as broken for this model.
"""

Goal = Literal["balanced", "size", "latency"]


class NotApplicableError(Exception):
    """A rung has nothing to do in this model; the message is the reason."""


@dataclass(frozen=True)
class Rung:
    """One way to make a model smaller.

    The result of a `foundation` is what later rungs build on. One that `cleans` is kept though it
    gains nothing in size. `by_metric` is how much of the metric the rung may cost where it cannot
    give the same answers, or None where it must. One that `widens` stores weights that ONNX Runtime
    has to compute with each time the model is opened.
    """

    name: str
    build: Build
    foundation: bool = False
    cleans: bool = False
    by_metric: float | None = None
    widens: bool = False


@dataclass(frozen=True)
class Options:
    """What to go for, and what to allow.

    `four_bit` allows 4-bit weights; `truncate_trees` allows to drop trees for up to that loss of
    the metric. `rungs` names the rungs to try: all by default, none when empty.
    """

    goal: Goal = "balanced"
    four_bit: bool = False
    truncate_trees: float | None = None
    rungs: tuple[str, ...] | None = None


def rows(feeds: Feeds, count: int) -> dict[str, Array]:
    """Return `count` rows of the feeds, repeated from the start where there are fewer."""
    have = min((len(array) for array in feeds.values() if array.ndim), default=0)
    index = np.arange(count) % max(have, 1)
    return {name: array[index] if array.ndim else array for name, array in feeds.items()}
