"""Brings a pickle to life, each step within what the names in it permit."""

import functools
import pickle
import types
from collections import UserList, deque
from dataclasses import dataclass
from typing import Any, ClassVar

from fnmodel.slim.untrusted import allowed
from fnmodel.slim.untrusted.allowed import ArgumentsError, Permit
from fnmodel.slim.untrusted.machine import JOBLIB_ARRAY, Machine, RefusedError, Steps, count
from fnmodel.slim.untrusted.stream import Stream

_RECONSTRUCTOR = "copyreg._reconstructor"
_PARTIAL = "functools.partial"
KNOWN = frozenset({JOBLIB_ARRAY, _RECONSTRUCTOR, _PARTIAL})
"""Names whose meaning is here."""


@dataclass(frozen=True, eq=False, slots=True)
class _Kind:
    """A class that may be made bare. It is no value: left in a model, nothing can call it."""

    value: type


class _Array:
    """What joblib writes in the place of an array."""


class Reader(Machine):
    """Follows a pickle for real, each step within what its name permits."""

    dispatch: ClassVar[Steps] = dict(Machine.dispatch)

    def __init__(self, stream: Stream, trusted: frozenset[str], depth: int = 0) -> None:
        super().__init__(stream, depth)
        self._trusted = trusted
        self._permits: dict[int, Permit] = {}
        self._own: set[type] = set()
        self._names: dict[tuple[str, str], Any] = {}
        self._kept: list[Any] = []  # an id is good while its object lives

    def find_class(self, module: Any, name: Any) -> Any:
        """Return what a name means, as far as a pickle may use it."""
        module, name = allowed.renamed(module, name)
        if (module, name) not in self._names:
            self._names[module, name] = self._resolve(module, name)
        return self._names[module, name]

    def _resolve(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in KNOWN:
            return self._resolve_here(full)
        if full in self._trusted:
            return self._resolve_own(module, name)
        permit = allowed.permit(module, name)
        if permit is None:
            raise RefusedError(f"it uses {allowed.shown(full)}")
        if permit.make:
            kind = _Kind(permit.value)
            self._permits[id(kind)] = permit
            return kind
        self._permits[id(permit.value)] = permit
        return permit.value

    def _resolve_own(self, module: str, name: str) -> Any:
        value = super().find_class(module, name)
        if isinstance(value, type):
            self._own.add(value)
        self._permits[id(value)] = Permit(value, call=value, make=isinstance(value, type))
        return value

    def _resolve_here(self, full: str) -> Any:
        if full == JOBLIB_ARRAY:
            kind = _Kind(_Array)
            self._permits[id(kind)] = Permit(_Array, make=True)
            return kind
        call = self._reconstruct if full == _RECONSTRUCTOR else self._partial
        self._permits[id(call)] = Permit(call, call=call)
        return call

    def _permit(self, value: object) -> Permit:
        permit = self._permits.get(id(value))
        if permit is None:
            raise RefusedError(f"it calls a {type(value).__name__}")
        return permit

    def _shown(self, value: object) -> str:
        names = (f"{m}.{n}" for (m, n), known in self._names.items() if known is value)
        return allowed.shown(next(names, f"a {type(value).__name__}"))

    def _call(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        call = self._permit(function).call
        if call is None or not isinstance(arguments, tuple):
            raise RefusedError(f"it calls {self._shown(function)}")
        plain = [item.value if isinstance(item, _Kind) else item for item in arguments]
        try:
            made = call(*plain)
        except ArgumentsError:
            raise RefusedError(f"it calls {self._shown(function)} with strange arguments") from None
        if isinstance(made, Permit):
            self._permits[id(made.value)] = made
            self._kept.append(made.value)
            made = made.value
        self.stack[-1] = made

    def _make(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self._new(self.stack[-1], arguments, {})

    def _make_with_keywords(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = self._new(self.stack[-1], arguments, keywords)

    def _new(self, kind: Any, arguments: Any, keywords: Any) -> Any:
        permit = self._permit(kind)
        if not permit.make or not isinstance(arguments, tuple) or not isinstance(keywords, dict):
            raise RefusedError(f"it makes {self._shown(kind)}")
        if _is_record(permit.value) and len(arguments) == len(permit.value._fields):
            return tuple.__new__(permit.value, arguments)
        if permit.value not in self._own and (arguments or keywords):
            raise RefusedError(f"it makes {self._shown(kind)} with arguments")
        return permit.value.__new__(permit.value, *arguments, **keywords)

    def _reconstruct(self, kind: Any, base: Any, state: Any) -> Any:
        # The oldest protocols make instances this way.
        made = next((p for p in self._permits.values() if p.make and p.value is kind), None)
        if made is None or base not in (object, dict, list):
            raise ArgumentsError
        if base is object:
            return object.__new__(kind)
        if not issubclass(kind, base) or type(state) is not base:
            raise ArgumentsError
        instance = base.__new__(kind, state)
        base.__init__(instance, state)
        return instance

    def _partial(self, *arguments: Any) -> Any:
        if len(arguments) != 1:
            raise ArgumentsError
        self._permit_function(arguments[0])
        return functools.partial(arguments[0])

    def _permit_function(self, value: Any) -> None:
        if not callable(value) or isinstance(value, type) or id(value) not in self._permits:
            raise ArgumentsError

    def _set_state(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, _Array):
            self.stack[-1] = self._array(state)
        elif isinstance(target, allowed.Unread):
            return
        elif isinstance(target, functools.partial):
            self._set_partial(target, state)
        elif isinstance(target, type | types.FunctionType | types.ModuleType | _Kind):
            raise RefusedError(f"it changes {self._shown(target)}")
        elif id(target) in self._permits:
            raise RefusedError("it changes a function")
        else:
            _set(target, state)

    def _set_partial(self, target: Any, state: Any) -> None:
        match state:
            case (function, tuple(), dict() as keywords, None | {}) if all(
                isinstance(key, str) for key in keywords
            ):
                self._permit_function(function)
                target.__setstate__(state)
            case _:
                raise RefusedError("it changes a function")

    def _array(self, state: Any) -> Any:
        import numpy as np

        if not isinstance(state, dict) or getattr(state.get("dtype"), "kind", "T") == "T":
            raise RefusedError("an array without an element type")
        if state.get("subclass") is not np.ndarray and state.get("subclass") is not np.matrix:
            raise RefusedError("an array of another class")
        dtype, shape = state["dtype"], state["shape"]
        self.arrays_begin()
        if dtype.hasobject:
            array = Reader(self.stream, self._trusted, self.depth + 1).load()
            if not isinstance(array, np.ndarray):
                raise RefusedError("an array that is none")
            return array
        self.padding(state.get("numpy_array_alignment_bytes"))
        held = count(shape)
        array = np.frombuffer(self.stream.take(held * dtype.itemsize), dtype, held)
        if state.get("order") == "F":
            array = array.reshape(shape[::-1]).transpose()
        else:
            array = array.reshape(shape)
        native = array.dtype.newbyteorder("=")
        return array if array.dtype == native else array.astype(native)

    def _append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        # By its class: an instance could bring functions of its own under these names.
        if type(target) in (list, deque, UserList) or isinstance(target, list):
            type(target).extend(target, items)
        elif type(target) in self._own:
            target.extend(items)
        else:
            raise RefusedError(f"it fills a {type(target).__name__}")

    def _setitem(self) -> None:
        value = self.stack.pop()
        self._set_items([self.stack.pop(), value])

    def _setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) and type(target) not in self._own:
            raise RefusedError(f"it fills a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_key(key)
            target[key] = value

    def _additems(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        if not isinstance(target, set):
            raise RefusedError(f"it fills a {type(target).__name__}")
        for item in items:
            _check_key(item)
            target.add(item)

    def _frozenset(self) -> None:
        items = self.pop_mark()
        for item in items:
            _check_key(item)
        self.append(frozenset(items))

    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _make
    dispatch[pickle.NEWOBJ_EX[0]] = _make_with_keywords
    dispatch[pickle.BUILD[0]] = _set_state
    dispatch[pickle.APPEND[0]] = _append
    dispatch[pickle.APPENDS[0]] = _appends
    dispatch[pickle.SETITEM[0]] = _setitem
    dispatch[pickle.SETITEMS[0]] = _setitems
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.ADDITEMS[0]] = _additems
    dispatch[pickle.FROZENSET[0]] = _frozenset


def _is_record(kind: type) -> bool:
    """Whether a class is a named tuple, which no more than its parts makes."""
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _check_key(key: Any) -> None:
    try:
        allowed.check_key(key)
    except ArgumentsError:
        raise RefusedError("a key of parts without end") from None


def _set(target: Any, state: Any) -> None:
    """Set an instance's state through its class: the instance may hold anything by now.

    Raises:
        RefusedError: the state would replace what Python itself looks up on an object.

    """
    import numpy as np

    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict) and any(_is_magic(key) for key in part):
            raise RefusedError(f"it changes how a {type(target).__name__} behaves")
    if isinstance(target, np.dtype):
        _check_dtype(state)
    setstate = getattr(type(target), "__setstate__", None)
    if setstate is not None:
        setstate(target, state)
        return
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if attributes:
        vars(target).update(attributes)
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def _is_magic(key: object) -> bool:
    return isinstance(key, str) and key.startswith("__") and key.endswith("__")


def _check_dtype(state: Any) -> None:
    """Refuse the state of a dtype that says less than its fields: numpy believes it.

    Raises:
        RefusedError: its flags hide that it holds references, or its fields lie outside it.

    """
    import numpy as np

    if not isinstance(state, tuple) or len(state) not in (8, 9):
        raise RefusedError("an element type of another form")
    _, _, subarray, names, fields, size, _, flags, *_ = state
    holds = False
    if subarray is not None:
        holds = bool(subarray[0].hasobject)
    if fields is not None:
        if set(names) != set(fields):
            raise RefusedError("an element type whose fields have no names")
        for kind, offset, *_ in fields.values():
            holds |= bool(kind.hasobject)
            if not (isinstance(kind, np.dtype) and 0 <= offset <= size - kind.itemsize):
                raise RefusedError("an element type whose fields lie outside it")
    if holds and flags & 0b1000011 != 0b1000011 & np.dtype(object).flags:
        raise RefusedError("an element type that hides its references")
