"""Reads a trained scikit-learn model. Unpickling runs code: only the child process does this."""

import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import MissingExtraError, SlimError

_INSTALL = "pip install 'fnmodel[sklearn]'"
_OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive, such as torch.save, Keras or skops write"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes"),
    (b"\x08", "perhaps an ONNX file already"),
    (b"{", "JSON text"),
    (b"<", "a web page or XML text"),
)


@dataclass(frozen=True)
class Source:
    """A trained model in memory, the framework version that saved it, and what loading warned."""

    model: Any
    version: str
    notes: tuple[str, ...]


def check_extra(installed: Callable[[str], bool] | None = None) -> None:
    """Return when the packages that convert scikit-learn models are installed.

    `installed` answers for the name of a module.

    Raises:
        MissingExtraError: one of them is not; names it.

    """
    installed = installed or (lambda name: find_spec(name) is not None)
    for name in ("sklearn", "joblib", "pandas", "onnx", "skl2onnx"):
        if not installed(name):
            raise MissingExtraError(
                f"converting scikit-learn models needs {name}, which is not installed",
                hint=_INSTALL,
            )


def load(path: Path) -> Source:
    """Unpickle a fitted estimator from a joblib or pickle file, compressed or not.

    Raises:
        SlimError: the file is empty, is no pickle, needs a missing module or class, or holds
            something that is not a fitted estimator.

    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _unpickle(path)
    # Whoever unpickled an estimator has imported scikit-learn; what is none need not wait for it.
    base = sys.modules.get("sklearn.base")
    if base is None or not isinstance(model, base.BaseEstimator):
        raise SlimError(
            f"{path.name} holds a {type(model).__name__}, not a scikit-learn estimator",
            hint="save the fitted estimator itself: joblib.dump(pipeline, 'model.joblib')",
        )
    import sklearn

    version, notes = _saved_by(caught) or sklearn.__version__, []
    if version != sklearn.__version__:
        notes.append(
            f"saved by scikit-learn {version}, read by {sklearn.__version__}: "
            "compared with what the original answers here"
        )
    model = _chosen(model)
    if not _fitted(model):
        raise SlimError(
            f"{path.name} holds a {type(model).__name__} that is not fitted",
            hint="call fit() before saving it",
        )
    return Source(model, version, tuple(notes))


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


def _unpickle(path: Path) -> Any:
    import joblib

    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise SlimError(f"{path.name} is empty", hint="save the model again")
    try:
        return joblib.load(path)
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
    except MemoryError:
        raise
    except Exception as error:
        # A broken or foreign stream makes pickle raise nearly any class.
        kind = next((words for magic, words in _OTHER_FORMATS if head.startswith(magic)), "")
        if not kind and not isinstance(error, pickle.UnpicklingError | EOFError):
            kind = f"{type(error).__name__}: {str(error)[:200]}"
        raise SlimError(
            f"{path.name} is not a complete pickle or joblib file" + (f" ({kind})" if kind else ""),
            hint="fnmodel reads scikit-learn models saved by joblib.dump or pickle.dump",
        ) from error
