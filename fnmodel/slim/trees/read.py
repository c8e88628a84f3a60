"""Reads the trees of any estimator that is known, without importing a framework that is absent."""

import importlib
from typing import Any

from fnmodel.slim.trees.ensemble import Ensemble

_FRAMEWORKS = ("catboost", "lightgbm", "sklearn", "xgboost")


def read(estimator: Any) -> Ensemble | None:
    """Return the trees of a fitted estimator, or None where it is no tree ensemble.

    Raises:
        UnsupportedModelError: it is one, but answers in a way that is not known.

    """
    roots = {kind.__module__.partition(".")[0] for kind in type(estimator).__mro__}
    for framework in _FRAMEWORKS:
        if framework in roots:
            reader = importlib.import_module(f"fnmodel.slim.trees.{framework}")
            ensemble: Ensemble | None = reader.read(estimator)
            if ensemble is not None:
                return ensemble
    return None
