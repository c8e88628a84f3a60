"""River's own generators as streams of losses of a model that no longer learns, as JSON on stdout.

python river_streams.py

Twenty streams of each world: a model learns from 1,000 rows and is asked 6,000 more; in every
second stream the world changes after the first 3,000 of these. The model is River's own, frozen as
a deployed one is. Losses are 0 and 1; of the regression they are absolute errors, cut at ten
times the median of the first 1,000 and scaled to at most 1, as `fnmodel.watch.realised` feeds them.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator

from river import linear_model, preprocessing, tree
from river.datasets import synth

LEARNED, BEFORE, ASKED, STREAMS = 1000, 3000, 6000, 20
AT = LEARNED + BEFORE
Rows = Iterable[tuple[dict, float]]


def sea(seed: int, changes: bool) -> Rows:
    """Return two classes: whether a sum is over 7, later over 9.5; a tenth of them are wrong."""
    before, after = (synth.SEA(variant=variant, noise=0.1, seed=seed + 1) for variant in (2, 3))
    return turned(before, after) if changes else turned(before, before)


def hyperplane(seed: int, changes: bool) -> Rows:
    """Return two classes on the sides of a plane in ten dimensions; later of another plane."""
    before = synth.Hyperplane(seed=seed, n_features=10)
    after = synth.Hyperplane(seed=seed + 1000, n_features=10) if changes else before
    return turned(before, after)


def friedman(seed: int, changes: bool) -> Rows:
    """Return Friedman's regression; later with its features in other roles, abruptly."""
    never = 10**9
    position = (AT, never) if changes else (never, never + 1)
    return synth.FriedmanDrift(drift_type="gra", position=position, seed=seed)


def turned(before: Rows, after: Rows) -> Iterator[tuple[dict, float]]:
    """Yield rows of one world, and from row AT on of the other."""
    for at, (one, other) in enumerate(zip(before, after, strict=False)):
        yield one if at < AT else other


def classified(rows: Rows) -> list[float]:
    """Return 1 for each wrong label."""
    model = tree.HoeffdingTreeClassifier(grace_period=50, leaf_prediction="nb")
    return list(asked(rows, model, lambda said, true: float(said != true)))


def regressed(rows: Rows) -> list[float]:
    """Return absolute errors in ten medians of the first ones, at most 1."""
    model = preprocessing.StandardScaler() | linear_model.LinearRegression()
    errors = list(asked(rows, model, lambda said, true: abs(said - true)))
    most = 10 * statistics.median(errors[:LEARNED])
    return [min(error / most, 1.0) for error in errors]


def asked(rows: Rows, model, loss: Callable[[float, float], float]) -> Iterator[float]:
    """Yield the losses of a model that learns from the first rows only."""
    for at, (x, y) in enumerate(rows):
        if at >= LEARNED + ASKED:
            return
        if at < LEARNED:
            model.learn_one(x, y)
        else:
            yield loss(model.predict_one(x), y)


WORLDS = {
    "sea": (sea, classified),
    "hyperplane": (hyperplane, classified),
    "friedman": (friedman, regressed),
}


def main() -> None:
    """Print the streams of each world; those of odd numbers change."""
    made = {
        name: [losses(world(seed, seed % 2 == 1)) for seed in range(STREAMS)]
        for name, (world, losses) in WORLDS.items()
    }
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
