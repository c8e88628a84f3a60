"""A model opened by the C API. Buffers go in by name and come out, or numpy arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_char_p, c_int64, c_void_p, string_at
from dataclasses import dataclass
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from typing import Any

from fnmodel.buffers import Buffer
from fnmodel.deadline import Watch, current
from fnmodel.ort.api import INVALID_ARGUMENT, Api, OrtError, OrtStoppedError
from fnmodel.ort.frame import Frame, Frames, Texts
from fnmodel.ort.tensor import DATATYPES, TYPES, of_value, to_value


@dataclass(frozen=True)
class Node:
    """An input or output as onnxruntime's Python describes it.

    `type` is `tensor(float)` and the like; a size in `shape` is a number, a name, or None.
    """

    name: str
    type: str
    shape: list[int | str | None]


_WATCH = Watch()


class Options:
    """The options of a run; called from another thread, they stop it between two of its nodes."""

    def __init__(self, api: Api, *, shrinks: bool = False) -> None:
        """Make options; a run `shrinks` the memory that is reserved to what is in use."""
        self._api = api
        self.handle = api.made("CreateRunOptions")
        self.called = False
        self.shrinks = shrinks
        if shrinks:
            entry = b"memory.enable_memory_arena_shrinkage", b"cpu:0"
            api.do("AddRunConfigEntry", self.handle, *entry)

    def __call__(self) -> None:
        """Stop the run."""
        self.called = True
        self._api.do("RunOptionsSetTerminate", self.handle)

    def __del__(self) -> None:
        """Release the options."""
        self._api.ReleaseRunOptions(self.handle)


class Session:
    """One opened model. `run` may be called from several threads at once.

    What goes in is borrowed until `run` returns; what comes out is copied from ONNX Runtime's
    memory, which is released before. The session itself is released with the object.
    """

    def __init__(self, api: Api, model: bytes | Path, *, threads: int) -> None:
        """Open a model from its bytes, or from a file that may name others beside it.

        Raises:
            OrtError: ONNX Runtime refuses it.

        """
        self._api = api
        self._handle = 0
        with _released(api.ReleaseSessionOptions, api.made("CreateSessionOptions")) as options:
            api.do("SetIntraOpNumThreads", options, threads)
            api.do("SetInterOpNumThreads", options, 1)
            api.do("SetSessionLogSeverityLevel", options, 3)
            api.do("AddSessionConfigEntry", options, b"session.intra_op.allow_spinning", b"0")
            if isinstance(model, bytes):
                created = "CreateSessionFromArray", api.env, model, len(model), options
            else:
                created = "CreateSession", api.env, bytes(model), options  # type: ignore[assignment]
            self._handle = api.made(*created)
        # By the names of Python, those of C: a name that is not here never gets there.
        self._inputs = {name: name.encode() for name in self._names("Input")}
        self._outputs = {name: name.encode() for name in self._names("Output")}
        # Not a method, which would keep the session alive until the garbage is collected.
        self._texts = lru_cache(maxsize=64)(partial(_texts_of, self._inputs, self._outputs))
        self._frames = Frames()
        self._idle: list[Options] = []
        self._failed = False

    def __del__(self) -> None:
        """Release the session."""
        if self._handle:
            self._api.ReleaseSession(self._handle)

    def call(self, names: Sequence[str], feeds: Mapping[str, Buffer]) -> list[Buffer]:
        """Run the model on input tensors by name, and return the outputs of these names.

        Raises:
            OrtError: ONNX Runtime refuses an input, or a node fails.
            OrtStoppedError: the thread's answer is due (`fnmodel.deadline.current`).

        """
        moment = current.moment
        if moment is None and not self._failed:
            return self._call(names, feeds, None)
        options = self._options()
        _WATCH.begin(options, inf if moment is None else moment)
        try:
            return self._call(names, feeds, options.handle)
        except OrtError as error:
            if options.called:
                raise OrtStoppedError(error.code, "the time for it is over") from error
            raise
        finally:
            if not _WATCH.end(options) and not options.shrinks:
                self._idle.append(options)

    def _options(self) -> Options:
        if self._failed:
            self._failed = False
            return Options(self._api, shrinks=True)
        try:
            return self._idle.pop()
        except IndexError:
            return Options(self._api)

    def _call(
        self, names: Sequence[str], feeds: Mapping[str, Buffer], options: int | None
    ) -> list[Buffer]:
        given = [*feeds.values()]
        if not Frame.takes(given):
            return self._once(self._texts(tuple(feeds), tuple(names)), given, options)
        key = *names, *feeds, *[(datatype, shape) for datatype, shape, _ in given]
        frame = self._frames.take(key)
        if frame:
            quick = frame.run(given, options)
            if quick is not None:
                self._frames.keep(key, frame)
                return quick
        texts = self._texts(tuple(feeds), tuple(names))
        made = self._once(texts, given, options)
        if frame:  # it failed where a plain run did not
            self._frames.refuse(key)
        elif Frame.gives(made):
            self._frames.learn(key, lambda: Frame(self._api, self._handle, texts, given, made))
        return made

    def _once(self, texts: Texts, given: Sequence[Buffer], options: int | None) -> list[Buffer]:
        api, (inputs, outputs) = self._api, texts
        values, made = (c_void_p * len(inputs))(), (c_void_p * len(outputs))()
        try:
            for position, buffer in enumerate(given):
                values[position] = to_value(api, buffer)
            failed = api.Run(
                self._handle, options, inputs, values, len(inputs), outputs, len(outputs), made
            )
            if failed:
                self._failed = True  # what it has reserved is given back after the next run
                raise api.error(failed)
            return [of_value(api, value or 0) for value in made]
        finally:
            for value in (*values, *made):
                if value:
                    api.ReleaseValue(value)

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        """Run the model on numpy arrays, as `onnxruntime.InferenceSession.run`; None is all.

        Raises:
            OrtError: as `call`.
            InputError: an array has a dtype that ONNX has not.

        """
        # Who calls this has numpy loaded already; a cold start has not.
        from fnmodel.arrays import to_array, to_buffer

        given = {name: to_buffer(array) for name, array in feeds.items()}
        made = self.call([*self._outputs] if names is None else names, given)
        return [to_array(buffer) for buffer in made]

    def get_inputs(self) -> list[Node]:
        """Describe the inputs, in order."""
        return [self._node("Input", at, name) for at, name in enumerate(self._inputs)]

    def get_outputs(self) -> list[Node]:
        """Describe the outputs, in order."""
        return [self._node("Output", at, name) for at, name in enumerate(self._outputs)]

    def _names(self, side: str) -> list[str]:
        api, names = self._api, []
        for at in range(api.count(f"SessionGet{side}Count", self._handle)):
            text = api.made(f"SessionGet{side}Name", self._handle, at, api.allocator)
            names.append(string_at(text).decode())
            api.do("AllocatorFree", api.allocator, text)
        return names

    def _node(self, side: str, at: int, name: str) -> Node:
        api = self._api
        info = api.made(f"SessionGet{side}TypeInfo", self._handle, at)
        with _released(api.ReleaseTypeInfo, info):
            tensor = api.made("CastTypeInfoToTensorInfo", info)
            if not tensor:
                return Node(name, "not a tensor", [])
            datatype = DATATYPES.get(api.count("GetTensorElementType", tensor))
            rank = api.count("GetDimensionsCount", tensor)
            sizes, names = (c_int64 * rank)(), (c_char_p * rank)()
            api.do("GetDimensions", tensor, sizes, rank)
            api.do("GetSymbolicDimensions", tensor, names, rank)
            shape = [
                size if size >= 0 else (symbol or b"").decode() or None
                for size, symbol in zip(sizes, names, strict=True)
            ]
        return Node(name, f"tensor({TYPES[datatype][1] if datatype else 'unknown'})", shape)


def _texts_of(
    inputs: Mapping[str, bytes],
    outputs: Mapping[str, bytes],
    given: tuple[str, ...],
    asked: tuple[str, ...],
) -> Texts:
    """Return names as C has them; ONNX Runtime itself does not notice that an input is missing."""
    unknown = [f"input name: {name}" for name in given if name not in inputs]
    unknown += [f"output name:{name}" for name in asked if name not in outputs]
    if unknown:
        raise OrtError(INVALID_ARGUMENT, f"Invalid {unknown[0]}")
    missing = [name for name in inputs if name not in given]
    if missing:
        message = f"Required inputs ({missing}) are missing from input feed ({[*given]})."
        raise OrtError(INVALID_ARGUMENT, message)
    return (
        (c_char_p * len(given))(*(inputs[name] for name in given)),
        (c_char_p * len(asked))(*(outputs[name] for name in asked)),
    )


@contextmanager
def _released(release: Callable[[int], None], handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        release(handle)
