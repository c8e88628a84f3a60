"""Runs that repeat: for shapes that were seen before, one call into C in the place of ten.

Each call costs half a microsecond and more, and most requests have one row. A frame keeps the
tensors of a run in memory of its own, which ONNX Runtime reads and writes in place.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_void_p
from typing import Any

from fnmodel.buffers import Buffer
from fnmodel.ort.api import Api
from fnmodel.ort.tensor import of_value, to_value

_LARGEST = 4096
"""Values of the largest tensor that is kept."""
_SHAPES, _IDLE = 32, 4
"""How many different shapes are kept, and how many idle frames of each, one a thread."""

_PATTERN = b"\xa5"
"""What outputs are filled with before the first run: where it is left, nothing was written."""

Key = tuple[Any, ...]
"""Names of outputs and of inputs; of each input its datatype and its shape."""
Texts = tuple[Any, Any]
"""The names of inputs and outputs as arrays of C."""


class Frame:
    """The tensors of one run. Only for one thread at a time; released with the object."""

    def __init__(
        self, api: Api, session: int, texts: Texts, given: Sequence[Buffer], made: Sequence[Buffer]
    ) -> None:
        """Prepare runs on inputs like `given` that answer in the shapes of `made`."""
        self._api, self._session, self._texts = api, session, texts
        self._proven = False
        kept = [Buffer(b.datatype, b.shape, b.data[:]) for b in given]
        self._inputs = [memoryview(buffer.data) for buffer in kept]
        self._outputs = [_unwritten(buffer) for buffer in made]
        self._given = (c_void_p * len(given))(*(to_value(api, buffer) for buffer in kept))
        self._made = (c_void_p * len(made))(
            *(to_value(api, b) if b.datatype != "BYTES" else None for b in self._outputs)
        )

    @staticmethod
    def takes(given: Iterable[Buffer]) -> bool:
        """Whether the inputs of a run are small arrays; numpy's never are, nor lists of texts."""
        return all(type(data) is array and 0 < len(data) <= _LARGEST for _, _, data in given)

    @staticmethod
    def gives(made: Iterable[Buffer]) -> bool:
        """Whether the outputs of a run are small."""
        return all(0 < len(data) <= _LARGEST for _, _, data in made)

    def run(self, given: Iterable[Buffer], options: int | None) -> list[Buffer] | None:
        """Return the outputs; None where the model fails, or answers in other shapes now.

        `options` are those of ONNX Runtime for this run.
        """
        for kept, buffer in zip(self._inputs, given, strict=True):
            kept[:] = buffer.data
        inputs, outputs = self._texts
        failed = self._api.Run(
            self._session, options, inputs, self._given, len(inputs),
            outputs, len(outputs), self._made,
        )  # fmt: skip
        if failed:
            self._api.ReleaseStatus(failed)
            return None
        if not self._proven:
            if not all(map(_written, self._outputs)):
                return None
            self._proven = True
        return [
            Buffer(datatype, shape, data[:]) if datatype != "BYTES" else self._texts_at(at)
            for at, (datatype, shape, data) in enumerate(self._outputs)
        ]

    def _texts_at(self, at: int) -> Buffer:
        """Return an output of texts, which ONNX Runtime makes anew each time."""
        value, self._made[at] = self._made[at], None
        try:
            return of_value(self._api, value or 0)
        finally:
            self._api.ReleaseValue(value)

    def __del__(self) -> None:
        """Release the tensors."""
        for value in (*self._given, *self._made):
            if value:
                self._api.ReleaseValue(value)


def _unwritten(made: Buffer) -> Buffer:
    """Return memory for an output that shows whether it was written."""
    if made.datatype == "BYTES":
        return made
    return made._replace(
        data=array(made.data.typecode, _PATTERN * (made.data.itemsize * len(made.data)))
    )


def _written(output: Buffer) -> bool:
    return output.datatype == "BYTES" or bool(output.data.tobytes().strip(_PATTERN))


class Frames:
    """The idle frames of a session. May be used from several threads."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[Frame] | None] = {}

    def take(self, key: Key) -> Frame | None:
        """Take a frame away, which no other thread then has."""
        idle = self._idle.get(key)
        try:
            return idle.pop() if idle else None
        except IndexError:  # another thread was faster
            return None

    def keep(self, key: Key, frame: Frame) -> None:
        """Put a frame back, or a new one in."""
        idle = self._idle.get(key)
        if idle is not None and len(idle) < _IDLE:
            idle.append(frame)

    def refuse(self, key: Key) -> None:
        """Make no more frames of these shapes: the model's answers have others at times."""
        self._idle[key] = None

    def learn(self, key: Key, frame: Callable[[], Frame]) -> None:
        """See shapes that had no frame; from the second time on one is made for the next run."""
        try:
            refused = self._idle[key] is None
        except KeyError:
            if len(self._idle) >= _SHAPES:
                self._idle.clear()
            self._idle[key] = []
        else:
            if not refused:
                self.keep(key, frame())
