"""A model directory in, the model as the endpoint holds it: two ways to one answer."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fnmodel.encoding import Inference
from fnmodel.engine import open_session
from fnmodel.model import FRONT, MODEL, PROCESSING, Signature, read_signature
from fnmodel.serve.lean import Lean

if TYPE_CHECKING:
    from fnmodel.inference import Predictor

Around = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Gets what runs the graph, and returns what runs it in its place."""

# About 90 rows of 30 features by name, where both ways take as long. Of tensors it is 110, which
# numpy does in half the time; but its import takes that of a hundred such requests.
_SMALL_BODY = 1 << 15


class Model:
    """The signature of a loaded model, its `Predictor`, and `Lean` where the model allows it.

    The predictor is made when it is first asked for, since that imports numpy. May be used from
    several threads.
    """

    def __init__(
        self,
        signature: Signature,
        predictor: "Callable[[], Predictor]",
        lean: Lean | None = None,
        folder: Path | None = None,
    ) -> None:
        self.signature = signature
        self.folder = folder
        """Where the model was opened, with what else is known of it."""
        self._make_predictor = predictor
        self._lean = lean
        self._around: Around | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a model directory.

        Raises:
            InputError: ONNX Runtime refuses the model.
            SlimError: its signature or its front cannot be read.
            ProcessingError: its own steps cannot be imported.

        """
        signature = read_signature(folder)
        session = open_session(folder / MODEL)

        def predictor() -> "Predictor":
            from fnmodel.inference import Predictor

            return Predictor(folder, session=session)

        plain = not any((folder / name).exists() for name in (FRONT, PROCESSING))
        if plain and Lean.fits(signature, session):
            return cls(signature, predictor, Lean(signature, session), folder)
        made = cls(signature, predictor, folder=folder)
        # What is wrong with it is to be seen now, not at the first request.
        _ = made.predictor
        return made

    @cached_property
    def predictor(self) -> "Predictor":
        """The way for any number of rows."""
        made = self._make_predictor()
        if self._around is not None:
            _surround(made, self._around)
        return made

    def observe(self, around: Around) -> None:
        """Have `around` stand around each run of the graph, in either way, before the first."""
        self._around = around
        for way in (self._lean, self.__dict__.get("predictor")):
            if way is not None:
                _surround(way, around)

    def way(self, size: int) -> Inference[Any]:
        """Return the way for a request whose body has `size` bytes."""
        return self._lean if self._lean and size <= _SMALL_BODY else self.predictor


def _surround(way: Inference[Any], around: Around) -> None:
    # `predict` calls its own `run`, so that it is the way's own that has to be another one.
    way.run = around(way.run)  # type: ignore[method-assign]
