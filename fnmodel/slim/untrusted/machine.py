"""Follows the instructions of a pickle, without those that no saved model uses.

Arrays of joblib's files lie between the instructions, each after the state of a wrapper.
"""

import pickle
from collections.abc import Callable
from math import prod
from pickle import _Unpickler  # the machine in Python: each of its steps can be replaced
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from fnmodel.slim.untrusted.stream import Stream

JOBLIB_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"
Steps = dict[int, Callable[[Any], None]]

_DEEPEST = 16


class RefusedError(Exception):
    """The stream does something that no saved model does."""


class Machine(_Unpickler):
    """Reads one pickle to its end, and refuses what follows it.

    Instructions for persistent ids, extension codes, outside buffers and the classes of Python 2
    are refused. Subclasses say what the others do.
    """

    dispatch: ClassVar[Steps] = dict(_Unpickler.dispatch)
    if TYPE_CHECKING:  # what the base class sets where type checkers do not look
        append: Callable[[Any], None]
        pop_mark: Callable[[], list[Any]]
        proto: int
        read: Callable[[int], bytes]
        stack: list[Any]
        _unframer: Any

    def __init__(self, stream: Stream, depth: int = 0) -> None:
        super().__init__(stream)
        if depth > _DEEPEST:
            raise RefusedError("arrays of arrays without end")
        self.stream = stream
        self.depth = depth

    def load(self) -> Any:
        """Return the object."""
        value = super().load()
        if self._left_in_frame() or (not self.depth and not self.stream.ended()):
            raise RefusedError("more data follows its end")
        return value

    def _left_in_frame(self) -> bool:
        frame = self._unframer.current_frame
        return bool(frame and frame.read(1))

    def arrays_begin(self) -> None:
        """Leave the frame that the wrapper was in: the array's bytes stand behind it."""
        if self._left_in_frame():
            raise RefusedError("an array inside a frame")
        self._unframer.current_frame = None

    def padding(self, alignment: object) -> None:
        """Pass over what aligns the array's bytes."""
        if alignment is not None:
            self.stream.skip(self.stream.read(1)[0])

    def _refuse(self) -> NoReturn:
        raise RefusedError("it uses outside or outdated objects")

    def _bytearray8(self) -> None:
        count = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(count)))

    for _name in "PERSID BINPERSID EXT1 EXT2 EXT4 INST OBJ NEXT_BUFFER READONLY_BUFFER".split():
        dispatch[getattr(pickle, _name)[0]] = _refuse
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray8


def count(shape: Any) -> int:
    """Return how many elements a shape has."""
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise RefusedError("an array without a shape")
    return prod(shape)
