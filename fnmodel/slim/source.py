"""Reads a trained estimator. Unpickling runs code: only the child process does this."""

import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import FnmodelError, MissingExtraError, SlimError
from fnmodel.slim.formats import Found

_INSTALL = "pip install 'fnmodel[sklearn]'"


@dataclass(frozen=True)
class Source:
    """A trained model in memory, what trained it, and what loading warned."""

    model: Any
    framework: str
    version: str
    notes: tuple[str, ...]


def check_extra(installed: Callable[[str], bool] | None = None) -> None:
    """Return when the packages that convert scikit-learn models are installed.

    `installed` answers for the name of a module.

    Raises:
        MissingExtraError: one of them is not; names it.

    """
    installed = installed or (lambda name: find_spec(name) is not None)
    for name in ("sklearn", "joblib", "pandas", "onnx"):
        if not installed(name):
            raise MissingExtraError(
                f"converting scikit-learn models needs {name}, which is not installed",
                hint=_INSTALL,
            )


def load(found: Found, trust: frozenset[str] = frozenset()) -> Source:
    """Read a fitted estimator or booster from its file.

    Raises:
        SlimError: the file is broken, needs a missing module or class, or holds something that
            is not a fitted estimator.
        UntrustedModelError: the file needs code that is not on the allow list.
        MissingExtraError: its framework is not installed.

    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _read(found, trust)
    framework = _framework(model)
    if framework is None:
        raise SlimError(
            f"{found.path.name} holds a {type(model).__name__}, not a trained estimator",
            hint="save the fitted estimator itself: joblib.dump(pipeline, 'model.joblib')",
        )
    check_extra()
    installed = _installed(framework)
    saved, notes = _saved_by(caught) or installed, []
    if saved != installed:
        notes.append(
            f"saved by {framework} {saved}, read by {installed}: "
            "compared with what the original answers here"
        )
    model = _chosen(model)
    if not _fitted(model):
        raise SlimError(
            f"{found.path.name} holds a {type(model).__name__} that is not fitted",
            hint="call fit() before saving it",
        )
    return Source(model, framework, saved, tuple(notes))


def _read(found: Found, trust: frozenset[str]) -> Any:
    match found.kind:
        case "skops":
            from fnmodel.slim.untrusted import skopsfile

            return skopsfile.load(found.path, trust)
        case "xgboost" | "lightgbm" | "catboost":
            from fnmodel.slim.readers import boosters

            return boosters.open_native(found.path)
        case _:
            return _unpickle(found.path, trust)


def _framework(model: Any) -> str | None:
    """Return the framework whose estimator this is, or None."""
    root = type(model).__module__.partition(".")[0]
    if root in {"xgboost", "lightgbm", "catboost"}:
        return root
    # Whoever unpickled an estimator has imported scikit-learn; what is none need not wait for it.
    base = sys.modules.get("sklearn.base")
    return "scikit-learn" if base is not None and isinstance(model, base.BaseEstimator) else None


def _installed(framework: str) -> str:
    # The same module comes from more than one distribution.
    module = sys.modules.get(framework)
    return str(module.__version__) if module is not None else version(framework)


def _saved_by(caught: list[warnings.WarningMessage]) -> str | None:
    from sklearn.exceptions import InconsistentVersionWarning

    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            saved: str = warning.message.original_sklearn_version
            return saved
    return None


def walk(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield every estimator inside a model with the step name it is known by, outermost first."""
    from sklearn.base import BaseEstimator

    seen: set[int] = set()

    def visit(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, BaseEstimator):
            if id(value) in seen:
                return
            seen.add(id(value))
            yield name or type(value).__name__, value
            inner = [(name, item) for item in vars(value).values()]
        else:
            inner = _parts(value, name)
        for part, item in inner:
            yield from visit(item, part)

    yield from visit(model, "")


def _parts(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        # (name, estimator) and (name, estimator, columns) are steps.
        named = len(value) > 1 and isinstance(value[0], str)
        return [(value[0] if named else name, item) for item in value]
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [(name, item) for item in value.flat]
    return []


def _chosen(model: Any) -> Any:
    # A search answers through the estimator that it refitted.
    while hasattr(model, "best_estimator_") and hasattr(model, "cv_results_"):
        model = model.best_estimator_
    return model


def _fitted(model: Any) -> bool:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    except TypeError:  # no fit method: stateless
        return True
    return True


def _unpickle(path: Path, trust: frozenset[str]) -> Any:
    from fnmodel.slim.untrusted import unpickle

    try:
        return unpickle.load(path, trust=trust)
    except ModuleNotFoundError as error:
        raise SlimError(
            f"{path.name} needs the module {error.name!r}, which is not installed here",
            hint=f"install the package that provides {error.name!r} beside fnmodel",
        ) from error
    except AttributeError as error:
        raise SlimError(
            f"{path.name} needs something that is not there: {error}",
            hint="a class defined in the training script cannot be read elsewhere, and another "
            "version of a library may lack a class: install the version that trained the model",
        ) from error
    except (FnmodelError, MemoryError):
        raise
    except Exception as error:
        # A broken or foreign stream makes pickle raise nearly any class.
        words = "" if isinstance(error, pickle.UnpicklingError | EOFError) else f" ({_said(error)})"
        raise SlimError(
            f"{path.name} is not a complete pickle or joblib file{words}",
            hint="save the model again with joblib.dump or pickle.dump",
        ) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
