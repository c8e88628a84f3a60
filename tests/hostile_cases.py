"""Model files that try to do harm, and a watch over what reading them does."""

import bz2
import gzip
import lzma
import os
import pickle
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np

Make = Callable[[Path, str], None]
"""Writes a file whose reading would make the file at a second path."""


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self) -> tuple[Any, ...]:
        made = (self.function, self.arguments)
        return made if self.state is None else (*made, self.state)


def word(name: str) -> bytes:
    """Return instructions that push a name: `module name`, which need not exist here."""
    module, _, inner = name.partition(" ")
    return b"c" + module.encode() + b"\n" + inner.encode() + b"\n"


def text(value: str) -> bytes:
    """Return instructions that push a text."""
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def call(name: str, *arguments: bytes) -> bytes:
    """Return instructions that call a name with what other instructions push."""
    return word(name) + b"(" + b"".join(arguments) + b"tR"


def stream(*parts: bytes) -> bytes:
    """Return a whole pickle of these instructions."""
    return b"\x80\x04" + b"".join(parts) + b"."


def touching(marker: str) -> str:
    """Return Python code that makes the marker."""
    return f"open({marker!r}, 'w').close()"


class Watch:
    """What Python was asked to do while it was watched: files opened, programs started."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event that no reading of a model needs."""
        if not self.on:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, flags = os.fsdecode(os.fspath(arguments[0])), arguments[2] or 0
            # One step down from an open folder, and not through a link.
            if not (flags & os.O_NOFOLLOW and "/" not in path and path != ".."):
                self.seen.append(path)
        elif event.startswith(("os.system", "os.exec", "os.posix_spawn", "subprocess.", "socket.")):
            self.seen.append(event)


_WATCH = Watch()
sys.addaudithook(_WATCH)
_PYTHON = (sys.prefix, sys.base_prefix, "/proc", "/sys", "/usr", "/dev/null", "/etc/mime.types")


@contextmanager
def nothing_outside(folder: Path) -> Iterator[None]:
    """Fail when anything but Python itself and files below `folder` is touched meanwhile."""
    _WATCH.seen.clear()
    _WATCH.on = True
    try:
        yield
    finally:
        _WATCH.on = False
    roots = (str(folder), *_PYTHON, str(Path(__file__).parents[1] / "fnmodel"))
    assert [seen for seen in _WATCH.seen if not seen.startswith(roots)] == []


def _dumped(make: Callable[[str], Any]) -> Make:
    def write(path: Path, marker: str) -> None:
        path.write_bytes(pickle.dumps(make(marker)))

    return write


def _raw(make: Callable[[str], bytes]) -> Make:
    def write(path: Path, marker: str) -> None:
        path.write_bytes(make(marker))

    return write


def _fixed(data: bytes) -> Make:
    def write(path: Path, _marker: str) -> None:
        path.write_bytes(data)

    return write


def _joblib(compress: Any) -> Make:
    def write(path: Path, marker: str) -> None:
        payload = [np.arange(1000.0), Calls(exec, touching(marker))]
        joblib.dump(payload, path, compress=compress)

    return write


def _packed(pack: Callable[[bytes], bytes]) -> Make:
    return _raw(lambda marker: pack(pickle.dumps(Calls(exec, touching(marker)))))


def _object_array(path: Path, marker: str) -> None:
    array = np.array([None, Calls(os.system, f"touch {marker}")], dtype=object)
    joblib.dump([np.arange(5), array], path)


def _estimator(name: str, **state: bytes) -> bytes:
    """Return instructions for an instance of a known class with a state of instructions."""
    pairs = b"".join(text(key) + value for key, value in state.items())
    return word(name) + b")\x81}(" + pairs + b"ub"


_STRAIGHT = "sklearn.preprocessing._function_transformer FunctionTransformer"
_LINEAR = "sklearn.linear_model._logistic LogisticRegression"


def _joblib_array(subclass: bytes, dtype: bytes, shape: bytes = b"(K\x04t") -> bytes:
    return _estimator(
        "joblib.numpy_pickle NumpyArrayWrapper",
        subclass=subclass,
        shape=shape,
        order=text("C"),
        dtype=dtype,
        allow_mmap=b"\x88",
        numpy_array_alignment_bytes=b"N",
    )


def _dtype(code: str) -> bytes:
    return call("numpy dtype", text(code), b"\x89", b"\x88")


def _distribution(marker: str) -> bytes:
    """Return an object of scipy whose state holds program text, run when the state is set."""
    return _estimator(
        "scipy.stats._continuous_distns uniform_gen", _parse_arg_template=text(touching(marker))
    )


def _partial(marker: str) -> bytes:
    made = call("functools partial", word("posix system"))
    return call("builtins map", made, b"](" + text(f"touch {marker}") + b"e")


def _pointers() -> bytes:
    """Return an element type with a field of objects that says it holds none."""
    fields = b"}(" + text("a") + b"(" + _dtype("O") + b"K\x00tu"
    state = b"(K\x03" + text("|") + b"N(" + text("a") + b"t" + fields + b"K\x08K\x01K\x00t"
    return _dtype("V8") + state + b"b"


def _laughing(before: bytes, after: bytes) -> bytes:
    """Return a key of 2 to the power of 40 parts, that are two each time."""
    doubled = b"".join(b"0h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(40))
    return before + b")\x94" + doubled + after


def _nested_arrays(depth: int) -> bytes:
    array = _joblib_array(word("numpy ndarray"), _dtype("O"))
    return b"".join(b"\x80\x04" + array for _ in range(depth)) + b"."


def _tree(child: int) -> Make:
    """Return what writes a fitted tree with another left child of its root."""

    def write(path: Path, _marker: str) -> None:
        from sklearn.tree import DecisionTreeClassifier

        rows = np.arange(40.0).reshape(20, 2)
        model = DecisionTreeClassifier(max_depth=2).fit(rows, rows[:, 0] > 17)
        good = pickle.dumps(model)
        nodes = model.tree_.__getstate__()["nodes"]
        changed = nodes.copy()
        changed["left_child"][0] = child
        assert good.count(nodes.tobytes()) == 1
        path.write_bytes(good.replace(nodes.tobytes(), changed.tobytes()))

    return write


def _bomb(path: Path, _marker: str) -> None:
    size = 340 << 20
    zeros = stream(b"\x8e", size.to_bytes(8, "little"), bytes(size))
    path.write_bytes(zlib.compress(zeros))


PICKLES: dict[str, Make] = {
    "os.system": _dumped(lambda m: Calls(os.system, f"touch {m}")),
    "subprocess": _raw(
        lambda m: stream(call("subprocess Popen", b"](" + text("touch") + text(m) + b"e"))
    ),
    "exec": _dumped(lambda m: Calls(exec, touching(m))),
    "eval": _dumped(lambda m: Calls(eval, f"open({m!r}, 'w')")),
    "builtins-of-python-2": _raw(
        lambda m: b"\x80\x02" + call("__builtin__ eval", text(f"open({m!r}, 'w')")) + b"."
    ),
    "partial": _raw(lambda m: stream(_partial(m))),
    "timeit": _raw(lambda m: stream(call("timeit timeit", text(touching(m))))),
    "cprofile": _raw(lambda m: stream(call("cProfile run", text(touching(m))))),
    "pydoc": _raw(lambda m: stream(call("pydoc pipepager", text(""), text(f"touch {m}")))),
    "code-object": _raw(lambda m: stream(call("marshal loads", text(m)))),
    "methodcaller": _raw(
        lambda m: stream(
            call("operator methodcaller", text("system"), text(f"touch {m}")),
            b"0",
            call("importlib import_module", text("os")),
        )
    ),
    "attrgetter": _raw(
        lambda m: stream(call("operator attrgetter", text("__class__.__mro__")), text(m), b"0")
    ),
    "getattr": _fixed(
        stream(call("builtins getattr", word("zoneinfo ZoneInfo"), text("from_file")))
    ),
    "dotted-name": _fixed(
        stream(text("sklearn.linear_model"), text("LogisticRegression.fit.__globals__"), b"\x93")
    ),
    "module-of-a-package": _raw(
        lambda m: stream(text("sklearn.utils"), text("os.system"), b"\x93", text(m), b"\x85R")
    ),
    "second-pickle": _raw(
        lambda m: pickle.dumps({"a": 1}) + pickle.dumps(Calls(exec, touching(m)))
    ),
    "broken-tail": _raw(lambda m: pickle.dumps(Calls(exec, touching(m)))[:-1] + b"\xff\xff"),
    "joblib": _joblib(0),
    "joblib-zlib": _joblib(3),
    "joblib-gzip": _joblib(("gzip", 3)),
    "joblib-bz2": _joblib(("bz2", 3)),
    "joblib-lzma": _joblib(("lzma", 3)),
    "joblib-xz": _joblib(("xz", 3)),
    "pickle-zlib": _packed(zlib.compress),
    "pickle-gzip": _packed(gzip.compress),
    "pickle-bz2": _packed(bz2.compress),
    "pickle-xz": _packed(lzma.compress),
    "joblib-object-array": _object_array,
    "array-object": _dumped(lambda m: np.array([Calls(exec, touching(m))], dtype=object)),
    "reconstructor": _fixed(
        stream(
            call("copyreg _reconstructor", word("subprocess Popen"), word("builtins object"), b"N")
        )
    ),
    "reconstructor-of-known": _raw(
        lambda m: stream(
            word(_LINEAR),
            b"0",
            call(
                "copyreg _reconstructor",
                word("xgboost.core Booster"),
                word("builtins list"),
                b"](" + text(m) + b"e",
            ),
        )
    ),
    "setstate-program-text": _raw(
        lambda m: stream(_estimator(_LINEAR, a=_distribution(m)), b"0", word("posix system"))
    ),
    "setstate-of-instance": _raw(
        lambda m: stream(_estimator(_LINEAR, __setstate__=word("numpy ravel")), text(m), b"b")
    ),
    "class-of-instance": _fixed(stream(_estimator(_LINEAR, __class__=word("builtins dict")))),
    "state-of-a-class": _fixed(
        stream(word(_LINEAR), b"}(", text("predict"), word("numpy ravel"), b"ub")
    ),
    "state-of-a-function": _fixed(stream(word("numpy ravel"), b"}(", text("__code__"), b"Nub")),
    "append-to-instance": _raw(
        lambda m: stream(_estimator(_LINEAR, append=word("numpy ravel")), text(m), b"a")
    ),
    "item-of-instance": _raw(lambda m: stream(_estimator(_LINEAR), text(m), b"Ns")),
    "function-transformer": _fixed(stream(_estimator(_STRAIGHT, func=word("posix system")))),
    "joblib-memmap": _fixed(
        stream(call("numpy memmap", text("/etc/passwd"), word("numpy uint8"), text("r")))
    ),
    "joblib-array-of-memmap-class": _fixed(
        stream(_joblib_array(word("xgboost.core Booster"), _dtype("f8")), bytes(32))
    ),
    "numpy-load": _fixed(stream(call("numpy load", text("/etc/passwd")))),
    "numpy-fromfile": _fixed(stream(call("numpy fromfile", text("/etc/passwd")))),
    "numpy-ctypes": _fixed(
        stream(call("numpy.ctypeslib load_library", text("libc.so.6"), text("/")))
    ),
    "pandas-eval": _raw(
        lambda m: stream(call("pandas eval", text(f"@pd.io.common.os.system('touch {m}')")))
    ),
    "pandas-read-pickle": _raw(lambda m: stream(call("pandas read_pickle", text(m)))),
    "booster-from-file": _fixed(
        stream(call("xgboost.core Booster", b"}", b")", text("/etc/passwd")))
    ),
    "generator-constructor": _fixed(
        stream(
            call("numpy.random._pickle __generator_ctor", text("MT19937"), word("numpy ravel")),
            b"0",
            word("posix system"),
        )
    ),
    "known-with-strange-arguments": _fixed(
        stream(
            call(
                "numpy._core.multiarray _reconstruct",
                word("pandas DataFrame"),
                b"(K\x00t",
                b"C\x01b",
            )
        )
    ),
    "array-of-any-length": _fixed(
        stream(
            call(
                "numpy._core.multiarray _reconstruct",
                word("numpy ndarray"),
                b"(\x8a\x06\x00\x00\x00\x00\x00\x01t",
                b"C\x01b",
            )
        )
    ),
    "element-type-of-pointers": _fixed(stream(_pointers())),
    "persistent-id": _raw(lambda m: b"\x80\x04P" + m.encode() + b"\n."),
    "extension-code": _fixed(stream(b"\x82\x01")),
    "instance-of-python-2": _fixed(b"(S'touch'\niposix\nsystem\n."),
    "outside-buffer": _fixed(b"\x80\x05\x97."),
    "key-without-end": _fixed(stream(_laughing(b"}", b"Ns"))),
    "set-without-end": _fixed(stream(_laughing(b"\x8f(", b"\x90"))),
    "nested-arrays": _fixed(_nested_arrays(40)),
    "length-without-data": _fixed(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little")),
    "bytes-without-data": _fixed(b"\x80\x04\x8e" + (1 << 42).to_bytes(8, "little")),
    "frame-without-data": _fixed(b"\x80\x04\x95" + (1 << 42).to_bytes(8, "little")),
    "unpacks-without-end": _bomb,
    "colours-of-the-terminal": _fixed(stream(word("evil \x1b[2Jname"))),
    "tree-that-leads-outside": _tree(1 << 20),
    "tree-that-leads-back": _tree(0),
}
