"""ONNX Runtime's two doors, its C API and its Python package, held against each other."""

import gc
import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from serve_cases import model_folder, write_model

from fnmodel.arrays import DTYPES, to_array, to_buffer
from fnmodel.buffers import Buffer
from fnmodel.deadline import current
from fnmodel.engine import by_package, open_session, refused
from fnmodel.errors import InputError
from fnmodel.model import MISSING_TEXT, MODEL, Datatype, Signature, Tensor
from fnmodel.ort import api as tables
from fnmodel.ort.api import Api, OrtError, OrtStoppedError, installed, load
from fnmodel.ort.session import Session

ROOT = Path(__file__).parents[1]
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

TEXTS = ["", "plain", "é ü 漢字 🙂", MISSING_TEXT, "a\x00b", "  "]
VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False, True, True, False, False],
    "BYTES": TEXTS,
    "FP16": [0.0, -0.0, 1.5, 65504.0, np.nan, np.inf],
    "FP32": [0.1, -0.0, 3.4e38, 1e-45, np.nan, -np.inf],
    "FP64": [0.1, -0.0, 1.7e308, 5e-324, np.nan, -np.inf],
    **{
        name: [np.iinfo(DTYPES[name]).min, np.iinfo(DTYPES[name]).max, 0, 1, 2, 3]
        for name in DTYPES
        if "INT" in name
    },
}


def by_c_api(content: bytes, threads: int) -> Session:
    found = installed()
    assert found is not None
    return Session(load(*found), content, threads=threads)


@cache
def both(content: bytes) -> tuple[Session, Any]:
    return by_c_api(content, 1), by_package(content, 1)


@pytest.fixture
def same(tmp_path: Path) -> Callable[[Datatype, tuple[int, ...]], bytes]:
    """Return the maker of a graph with two outputs, both its input."""

    def make(datatype: Datatype, shape: tuple[int, ...]) -> bytes:
        signature = Signature(
            task="other",
            inputs=(Tensor("in", datatype, shape),),
            outputs=(Tensor("one", datatype, shape), Tensor("two", datatype, shape)),
        )
        nodes = [helper.make_node("Identity", ["in"], [name]) for name in ("one", "two")]
        return (write_model(tmp_path / "m", signature, nodes, {}) / MODEL).read_bytes()

    return make


def equal(ours: Any, theirs: Any) -> bool:
    """Whether two arrays are the same to the bit."""
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    if ours.dtype == object:
        return bool(ours.tolist() == theirs.tolist())
    return bool(ours.tobytes() == theirs.tobytes())


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 1, 2), (0,), (0, 3), ()])
@pytest.mark.parametrize("datatype", VALUES)
def test_tensors_of_every_datatype(
    datatype: Datatype, shape: tuple[int, ...], same: Callable[..., bytes]
) -> None:
    """What goes in comes out of both doors, for many dimensions, no rows and scalars."""
    count = int(np.prod(shape))
    given = np.array(VALUES[datatype][:count], DTYPES[datatype]).reshape(shape)
    ours, theirs = both(same(datatype, tuple(-1 if size else 0 for size in shape) and shape))

    for names in (None, ["two"], ["two", "one"]):
        answers = ours.run(names, {"in": given})
        expected = theirs.run(names, {"in": given})

        assert len(answers) == len(expected) == (2 if names is None else len(names))
        assert all(map(equal, answers, expected))
        assert all(equal(answer, given) for answer in answers)
        assert all(array.flags.writeable for array in answers)


def test_arrays_as_they_come(same: Callable[..., bytes]) -> None:
    """Columns of a larger array, arrays that cannot be written to, and numpy's own texts fit."""
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    table.flags.writeable = False
    numbers, texts = both(same("FP32", (-1, 2))), both(same("BYTES", (-1,)))
    for (ours, theirs), given in (
        (numbers, table[:, ::2]), (numbers, table[:2, :2].T), (texts, np.array(["é", ""])),
    ):  # fmt: skip
        assert all(map(equal, ours.run(None, {"in": given}), theirs.run(None, {"in": given})))


X = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize(
    ("names", "feeds"),
    [
        (None, {"X": np.zeros((1, 3))}),
        (None, {"X": np.zeros((1, 3), np.int64)}),
        (None, {"X": np.array([["a", "b", "c"]], object)}),
        (None, {"X": np.zeros((1, 4), np.float32)}),
        (None, {"X": np.zeros(3, np.float32)}),
        (None, {"X": np.zeros((1, 1, 3), np.float32)}),
        (None, {"X": X, "Y": X}),
        (None, {}),
        (["label", "nothing"], {"X": X}),
    ],
)
def test_both_refuse_in_the_same_words(names: list[str] | None, feeds: dict[str, Any]) -> None:
    """A wrong dtype, width, rank or name is the same InputError, whichever door it came by."""
    said = []
    for session in both((model_folder("classifier") / MODEL).read_bytes()):
        with pytest.raises(Exception, match=r"Unexpected|nvalid|Required") as caught:
            session.run(names, feeds)
        message = refused(caught.value).message
        said.append(message.replace("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Req", "Req"))

    assert said[0] == said[1]


def test_a_dtype_that_onnx_has_not() -> None:
    """An array of dates is refused before ONNX Runtime sees it."""
    with pytest.raises(InputError, match="datetime64"):
        both((model_folder("classifier") / MODEL).read_bytes())[0].run(
            None, {"X": np.zeros((1, 3), "datetime64[s]")}
        )


@pytest.mark.parametrize("name", ["classifier", "mixed", "regressor", "tensors"])
def test_inputs_and_outputs_are_described_alike(name: str) -> None:
    """Names, types and sizes, named and unnamed ones, in order."""
    ours, theirs = both((model_folder(name) / MODEL).read_bytes())

    for ask in ("get_inputs", "get_outputs"):
        answers, expected = getattr(ours, ask)(), getattr(theirs, ask)()
        assert [(n.name, n.type, n.shape) for n in answers] == [
            (n.name, n.type, n.shape) for n in expected
        ]


def test_named_sizes(tmp_path: Path) -> None:
    """A size with a name is described by it."""
    import onnx

    info = [helper.make_tensor_value_info(n, 1, ["batch", None, 2]) for n in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / MODEL)

    assert by_c_api(model.SerializeToString(), 1).get_inputs()[0].shape == ["batch", None, 2]


def test_every_place_of_the_table_is_used(tmp_path: Path) -> None:
    """Each function that we name answers as the header says: none is at another one's place."""
    found = installed()
    assert found is not None
    api = Api(*found)
    path = model_folder("tensors") / MODEL
    for model in (path, path.read_bytes()):
        session = Session(api, model, threads=1)
        assert session.get_inputs()[0].name == "in_FP32"
        assert session.get_outputs()[0].name == "out_FP32"
        feeds = {
            f"in_{name}": np.array([VALUES[name][2:4]], DTYPES[name])
            for name in ("FP32", "INT8", "UINT64", "BOOL", "BYTES")
        }
        answers = session.run(None, feeds)
        assert all(map(equal, answers, feeds.values()))
        del session
    with pytest.raises(OrtError, match="NO_SUCHFILE") as caught:
        Session(api, tmp_path / "nothing.onnx", threads=1)
    slow = Session(api, model_folder("slow") / MODEL, threads=1)
    current.moment = 0
    try:
        with pytest.raises(OrtStoppedError):
            slow.run(None, {"x": np.array([[4e9]], np.float32)})
    finally:
        current.moment = None
    slow.run(None, {"x": np.array([[3]], np.float32)})
    used = {name for name in vars(api) if name[0].isupper()}

    assert caught.value.code == 3
    assert used == {*tables._CALLS, *tables._OTHERS}


def numbers(*values: float) -> dict[str, Buffer]:
    return {"X": Buffer.of("FP32", values).reshape((1, len(values)))}


def test_runs_that_repeat() -> None:
    """Shapes that were seen before give the same answers as the first time, texts too."""
    session, package = both((model_folder("classifier") / MODEL).read_bytes())
    for turn in range(20):
        feeds = numbers(turn - 10, turn, 1)
        answers = session.call(["probabilities", "label"], feeds)
        expected = package.run(["probabilities", "label"], {"X": to_array(feeds["X"])})

        assert all(map(equal, map(to_array, answers), expected))
    kept = session.call(["probabilities"], numbers(1, 2, 3))
    before = kept[0].tolist()
    session.call(["probabilities"], numbers(3, 2, 1))

    assert kept[0].tolist() == before


def small_model(outputs: list[str], nodes: list[Any], kind: int = 7) -> Session:
    """Return a session of a graph over X of FP32, 1 by 3, and a constant of it, C."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("X", 1, [1, 3])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [helper.make_tensor("C", 1, [1, 3], [7.0, 8.0, 9.0])],
    )
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return by_c_api(model.SerializeToString(), 1)


def test_answers_whose_size_depends_on_values() -> None:
    """A model that answers now with two places, now with three, is always right."""
    session = small_model(["Y"], [helper.make_node("NonZero", ["X"], ["Y"])])
    for row in ([1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1]) * 2:
        (answer,) = session.call(["Y"], numbers(*row))

        assert answer.tolist()[1] == [at for at, value in enumerate(row) if value]


def test_answers_that_no_operator_makes() -> None:
    """An output that is an input, or a constant, holds its values each time."""
    nodes = [helper.make_node("Identity", [name], [f"{name}2"]) for name in "XC"]
    session = small_model(["X2", "C2", "C", "X"], nodes, kind=1)
    for turn in range(6):
        row = [turn, 1, 2]
        answers = session.call(["X2", "C2", "C", "X"], numbers(*row))

        assert [answer.tolist() for answer in answers] == [[row], [[7, 8, 9]], [[7, 8, 9]], [row]]


def test_a_node_that_fails_now_and_then(tmp_path: Path) -> None:
    """Each failure is raised, and each good row between them is answered."""
    signature = Signature(
        task="other",
        inputs=(Tensor("i", "INT64", (-1,)),),
        outputs=(Tensor("o", "FP32", (-1,)),),
    )
    node = helper.make_node("Gather", ["table", "i"], ["o"])
    weights = {"table": np.array([10, 20], np.float32)}
    folder = write_model(tmp_path / "m", signature, [node], weights)
    session = by_c_api((folder / MODEL).read_bytes(), 1)
    for turn in range(12):
        feeds = {"i": Buffer.of("INT64", [turn % 3 - 1 if turn % 4 else 99])}
        if turn % 4:
            assert session.call(["o"], feeds)[0].tolist() == [[10.0, 20.0][turn % 3 - 1]]
        else:
            with pytest.raises(OrtError, match="Gather"):
                session.call(["o"], feeds)


def resident() -> int:
    """Return the memory of this process in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux shows it there")
def test_what_a_failed_run_has_reserved_is_given_back(tmp_path: Path) -> None:
    """A node that fails behind one of 100 MB leaves them to ONNX Runtime; the next run does not."""
    signature = Signature(
        task="other",
        inputs=(Tensor("n", "INT64", (-1,)), Tensor("i", "INT64", (-1,))),
        outputs=(Tensor("o", "FP32", (-1,)),),
    )
    nodes = [
        helper.make_node("Expand", ["one", "n"], ["many"]),
        helper.make_node("Exp", ["many"], ["more"]),
        helper.make_node("Gather", ["more", "i"], ["o"]),
    ]
    folder = write_model(tmp_path / "m", signature, nodes, {"one": np.ones(1, np.float32)})
    session = by_c_api((folder / MODEL).read_bytes(), 1)

    def ask(count: int, index: int) -> list[float]:
        feeds = {"n": Buffer.of("INT64", [count]), "i": Buffer.of("INT64", [index])}
        answer: list[float] = session.call(["o"], feeds)[0].tolist()
        return answer

    first = ask(10, 3)
    before = resident()
    with pytest.raises(OrtError, match="Gather"):
        ask(25_000_000, 25_000_001)
    assert resident() - before > 80 << 20

    assert ask(10, 3) == first
    assert resident() - before < 20 << 20
    assert ask(10, 3) == first


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux shows it there")
def test_nothing_leaks() -> None:
    """20,000 runs of numbers and texts, good and bad, and 400 sessions leave memory as it was."""
    content = (model_folder("mixed") / MODEL).read_bytes()
    session = by_c_api(content, 1)
    # So many that what one run forgot would be seen beside what the allocator keeps.
    number, texts = np.ones((200, 1), np.float32), np.full((200, 1), "gold" * 25, object)
    texts[7] = MISSING_TEXT
    feeds = {"age": number, "income": number, "plan": texts, "visits": number.astype(np.int64)}
    bad = {**feeds, "age": number[:, :0]}
    other = by_c_api((model_folder("classifier") / MODEL).read_bytes(), 1)
    again = {"X": Buffer.of("FP32", [1.0] * 3 * 200).reshape((200, 3))}

    def work(runs: int, sessions: int) -> int:
        refusals = 0
        for turn in range(runs):
            try:
                session.run(None, feeds if turn % 20 else bad)
            except OrtError:
                refusals += 1
            other.call(["probabilities", "label"], again)
        for _ in range(sessions):
            by_c_api(content, 1).get_outputs()
        return refusals

    work(2_000, 100)
    before = resident()
    refusals = work(20_000, 400)

    assert refusals == 1_000
    assert resident() - before < 6_000_000


def test_a_session_goes_with_its_last_name() -> None:
    """No cycle keeps a session until the garbage is collected."""
    released: list[int] = []
    found = installed()
    assert found is not None
    api = Api(*found)
    session = Session(api, (model_folder("classifier") / MODEL).read_bytes(), threads=1)
    session.run(None, {"X": X})
    release = api.ReleaseSession
    api.ReleaseSession = lambda handle: (released.append(handle), release(handle))  # type: ignore[method-assign,assignment]
    gc.disable()
    try:
        del session
    finally:
        gc.enable()

    assert len(released) == 1


def test_threads_share_a_session() -> None:
    """Eight threads at once get their own answers."""
    session = by_c_api((model_folder("regressor") / MODEL).read_bytes(), 1)
    wrong: list[int] = []

    def ask(number: int) -> None:
        rows = [1.0, number, math.e, number]
        given = Buffer.of("FP32", rows).reshape((2, 2))
        for _ in range(1000):
            (answer,) = session.call(["value"], {"X": given})
            if abs(answer.data[1] - number) > 1e-3 or answer.data[0] != 0:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_run_lets_other_threads_go_on(tmp_path: Path) -> None:
    """Python runs while a model does."""
    size = 700
    signature = Signature(
        task="other",
        inputs=(Tensor("a", "FP32", (size, size)),),
        outputs=(Tensor("b", "FP32", (size, size)),),
    )
    steps = [helper.make_node("MatMul", [n, "a"], [m]) for n, m in ("ac", "cd", "de", "eb")]
    content = (write_model(tmp_path / "m", signature, steps, {}) / MODEL).read_bytes()
    session, given = by_c_api(content, 1), np.ones((size, size), np.float32)
    session.run(None, {"a": given})
    running, turns = threading.Event(), 0

    def work() -> None:
        running.set()
        session.call(["b"], feeds)
        running.clear()

    feeds = {"a": to_buffer(given)}
    thread = threading.Thread(target=work)
    thread.start()
    running.wait()
    while running.is_set():
        turns += 1
    thread.join()

    assert turns > 1000


@pytest.mark.parametrize("content", [b"", b"\x00garbage"])
def test_what_is_no_model(content: bytes) -> None:
    """Bytes that are no model are an InputError with ONNX Runtime's own words."""
    with pytest.raises(InputError, match=r"cannot be loaded: \[ONNXRuntimeError\]"):
        open_session(content)


def test_only_tested_versions_are_loaded(tmp_path: Path) -> None:
    """A library of another version, or a package without one, is left to the Python package."""
    other, bare = tmp_path / "other", tmp_path / "bare"
    for folder in (other, bare):
        (folder / "onnxruntime" / "capi").mkdir(parents=True)
    (other / "onnxruntime" / "capi" / "libonnxruntime.so.9.9.9").touch()

    for path in ([str(other)], [str(bare)], [], [str(other), *sys.path]):
        assert installed(path) is None


def test_the_locked_version_is_a_tested_one() -> None:
    """The image has no other engine than the one that we tested."""
    locks = [*ROOT.glob("layers/runtime/py*.txt"), *ROOT.glob("requirements/*.txt")]
    pinned = {
        version
        for lock in locks
        for version in re.findall(r"^onnxruntime==([\w.]+)", lock.read_text(), re.MULTILINE)
    }

    assert pinned == {*tables.VERSIONS}


def test_it_writes_no_file(tmp_path: Path) -> None:
    """With ORT_DISABLE_TELEMETRY=1 a run leaves no file in the home or working directory."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom fnmodel.engine import open_session\n"
        f"session = open_session(Path({str(model_folder('classifier') / MODEL)!r}))\n"
        "from fnmodel.buffers import Buffer\n"
        "feeds = {'X': Buffer.of('FP32', [1, 2, 3]).reshape((1, 3))}\n"
        "print(session.call(['label'], feeds)[0].tolist(), 'numpy' in sys.modules)\n"
    )
    home = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **home},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["['yes']", "False"]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
