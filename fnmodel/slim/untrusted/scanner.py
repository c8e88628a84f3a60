"""Finds every name in a pickle while nothing in it comes to life."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from fnmodel.slim.untrusted import allowed
from fnmodel.slim.untrusted.machine import JOBLIB_ARRAY, Machine, RefusedError, Steps, count
from fnmodel.slim.untrusted.stream import Stream

_DTYPE_CODE = frozenset("?bBhHiIlLqQefdgFDGSUVOMmaciup")


@dataclass(eq=False, slots=True)
class _Inert:
    """Stands for an object: what name it was made by, with which arguments and state."""

    name: str
    arguments: Any = None
    state: Any = None


class Scanner(Machine):
    """Follows a pickle with stand-ins and tells each name to `tell`."""

    dispatch: ClassVar[Steps] = dict(Machine.dispatch)

    def __init__(self, stream: Stream, tell: Callable[[str, str], None], depth: int = 0) -> None:
        super().__init__(stream, depth)
        self._tell = tell

    def find_class(self, module: Any, name: Any) -> Any:
        """Tell a name, and return a stand-in for what it means."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise RefusedError("a name that is no text")
        module, name = allowed.renamed(module, name)
        self._tell(module, name)
        return _Inert(f"{module}.{name}")

    def _call(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _Inert(_name_of(self.stack[-1]), arguments)

    def _call_with_keywords(self) -> None:
        self.stack.pop()
        self._call()

    def _set_state(self) -> None:
        state = self.stack.pop()
        inert = self.stack[-1]
        if not isinstance(inert, _Inert):
            return
        inert.state = state
        if inert.name == JOBLIB_ARRAY:
            self._array(state)

    def _array(self, state: Any) -> None:
        dtype, shape = state["dtype"], state["shape"]
        self.arrays_begin()
        size = _item_size(dtype)
        if size is None:
            Scanner(self.stream, self._tell, self.depth + 1).load()
            return
        self.padding(state.get("numpy_array_alignment_bytes"))
        self.stream.skip(count(shape) * size)

    def _items(self) -> None:
        items = self.pop_mark()
        self._fill(items)

    def _item(self) -> None:
        value = self.stack.pop()
        self._fill([self.stack.pop(), value])

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, str))

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(items)

    def _drop_items(self) -> None:
        self.pop_mark()

    def _drop_item(self) -> None:
        self.stack.pop()

    def _frozenset(self) -> None:
        self.pop_mark()
        self.append(_Inert("builtins.frozenset"))

    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _call
    dispatch[pickle.NEWOBJ_EX[0]] = _call_with_keywords
    dispatch[pickle.BUILD[0]] = _set_state
    dispatch[pickle.SETITEM[0]] = _item
    dispatch[pickle.SETITEMS[0]] = _items
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.APPEND[0]] = _drop_item
    dispatch[pickle.APPENDS[0]] = _drop_items
    dispatch[pickle.ADDITEMS[0]] = _drop_items
    dispatch[pickle.FROZENSET[0]] = _frozenset


def _name_of(function: object) -> str:
    return function.name if isinstance(function, _Inert) else ""


def _item_size(dtype: Any) -> int | None:
    """Return the bytes of one element of an inert dtype, or None for Python objects."""
    import numpy as np

    made = isinstance(dtype, _Inert) and dtype.name == "numpy.dtype"
    code = dtype.arguments[0] if made and dtype.arguments else None
    if not (isinstance(code, str) and code and code.lstrip("|<>=")[:1] in _DTYPE_CODE):
        raise RefusedError("an array without an element type")
    real = np.dtype(code)
    state: tuple[Any, ...] = dtype.state or ()
    held = len(state) > 7 and isinstance(state[7], int) and bool(state[7] & 1)
    return None if real.hasobject or held else real.itemsize
