"""A project's own steps around its model: `preprocess` and `postprocess` of `processing.py`.

`preprocess(records)` gets what callers send, a list of dicts, and returns as many dicts of the
model's features. `postprocess(predictions, records)` gets the model's predictions beside what the
callers sent, and returns as many answers. Either may be left out. A row's result depends on that
row alone. A ValueError of theirs is the caller's mistake, and the caller reads its words.
"""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fnmodel.errors import InputError, ProcessingError
from fnmodel.model import PROCESSING

_STEPS = ("preprocess", "postprocess")


@dataclass(frozen=True)
class Processing:
    """The two functions; None where the file has not got one."""

    preprocess: Callable[[list[dict[str, Any]]], Any] | None
    postprocess: Callable[[list[dict[str, Any]], list[dict[str, Any]]], Any] | None

    @staticmethod
    def load(folder: Path) -> "Processing | None":
        """Import `processing.py` of a model directory; None when there is none.

        Raises:
            ProcessingError: it fails on import, or holds neither function.

        """
        path = folder / PROCESSING
        if not path.is_file():
            return None
        # By its folder, since an image may have several.
        module = ModuleType(f"processing_{folder.name}")
        module.__file__ = str(path)
        # Dataclasses look their module up; a plain import would write __pycache__ beside the model.
        sys.modules[module.__name__] = module
        try:
            exec(compile(path.read_bytes(), path, "exec"), module.__dict__)  # noqa: S102
        except Exception as error:  # the project's own code raises whatever it likes
            raise _failed("the import", error) from error
        found = {name: getattr(module, name, None) for name in _STEPS}
        if not any(callable(step) for step in found.values()):
            raise ProcessingError(
                f"{PROCESSING} has neither preprocess nor postprocess",
                hint="define preprocess(records) or postprocess(predictions, records)",
            )
        return Processing(found["preprocess"], found["postprocess"])

    def before(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the model's features for what callers sent.

        Raises:
            InputError: `preprocess` raises a ValueError.
            ProcessingError: it raises anything else, or returns something else than as many dicts.

        """
        given = [dict(record) for record in records]
        if self.preprocess is None:
            return given
        made = _call("preprocess", self.preprocess, given)
        _check("preprocess", made, len(records))
        if not all(isinstance(record, dict) for record in made):
            raise ProcessingError("preprocess returned something else than a list of dicts")
        return list(made)

    def after(
        self, predictions: list[dict[str, Any]], records: Sequence[Mapping[str, Any]]
    ) -> list[Any]:
        """Return the answers for the model's predictions.

        Raises:
            InputError: `postprocess` raises a ValueError.
            ProcessingError: it raises anything else, or returns another number of answers.

        """
        if self.postprocess is None:
            return predictions
        given = [dict(record) for record in records]
        made = _call("postprocess", self.postprocess, predictions, given)
        _check("postprocess", made, len(records))
        return list(made)


def _call(name: str, step: Callable[..., Any], *given: Any) -> Any:
    try:
        return step(*given)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error) or f"{name} refuses this input") from error
    except Exception as error:  # the project's own code raises whatever it likes
        raise _failed(name, error) from error


def _check(name: str, made: Any, count: int) -> None:
    if not isinstance(made, list | tuple) or len(made) != count:
        told = f"{len(made)}" if isinstance(made, list | tuple) else f"a {type(made).__name__}"
        raise ProcessingError(
            f"{name} returned {told} for {count} records", hint="return a list with one entry a row"
        )


def _failed(what: str, error: Exception) -> ProcessingError:
    """Return the error that names the line of `processing.py` that failed."""
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if PROCESSING in f.filename
    ]
    where = f", line {lines[-1]}" if lines else ""
    return ProcessingError(
        f"{what} of {PROCESSING} failed{where}: {type(error).__name__}: {error}",
        hint="a ValueError tells a caller what is wrong with a record; mend everything else",
    )
