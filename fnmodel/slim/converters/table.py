"""All writers that there are, by method and class."""

from functools import cache

from fnmodel.slim.converters import (
    bayes,
    boosters,
    encoding,
    imputing,
    linear,
    neighbours,
    network,
    piping,
    processes,
    projecting,
    scaling,
    text,
    trees,
    vectors,
    wrapping,
)
from fnmodel.slim.converters.emit import Writers, merged


def writers() -> Writers:
    """Return the writers of scikit-learn's classes, and of the boosters that are imported."""
    return merged([_core(), boosters.writers()])


@cache
def _core() -> Writers:
    parts = (
        bayes, encoding, imputing, linear, neighbours, network, piping, processes,
        projecting, scaling, text, trees, vectors, wrapping,
    )  # fmt: skip
    return merged([part.writers() for part in parts])
