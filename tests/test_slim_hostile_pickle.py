"""Pickle and joblib files that would run code, read files or never end are refused by name."""

import io
import json
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from hostile_cases import PICKLES, Calls, call, nothing_outside, stream, text, touching, word
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fnmodel.errors import FnmodelError, SlimError, UntrustedModelError, UsageError
from fnmodel.slim.untrusted import skopsfile, unpickle

SECONDS = 10


@pytest.fixture(scope="module", autouse=True)
def _libraries():
    """Import what the files name, so that the watch sees what they do themselves."""
    for name in ("sklearn.ensemble", "pandas", "scipy.stats", "xgboost", "numpy.ctypeslib"):
        pytest.importorskip(name)


@pytest.mark.parametrize("kind", PICKLES)
def test_hostile_file_is_refused(tmp_path, kind):
    """Nothing of it runs, nothing outside is opened, and an error with a hint comes soon."""
    path, marker = tmp_path / "model.pkl", tmp_path / "marker"
    PICKLES[kind](path, str(marker))
    start = time.monotonic()

    with nothing_outside(tmp_path), pytest.raises(FnmodelError) as caught:
        unpickle.load(path)

    assert time.monotonic() - start < SECONDS
    assert not marker.exists()
    assert isinstance(caught.value, SlimError)
    assert caught.value.hint
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("exec", {"builtins.exec"}),
        ("methodcaller", {"operator.methodcaller", "importlib.import_module"}),
        ("joblib-zlib", {"builtins.exec"}),
        ("joblib-object-array", {"posix.system"}),
        ("broken-tail", {"builtins.exec"}),
        ("builtins-of-python-2", {"builtins.eval"}),
        ("dotted-name", {"sklearn.linear_model.LogisticRegression.fit.__globals__"}),
        ("module-of-a-package", {"sklearn.utils.os.system"}),
    ],
)
def test_all_unknown_names_are_found_without_reading(tmp_path, kind, names):
    """`scan` and the error name what is unknown, behind arrays and compression too."""
    path, marker = tmp_path / "model.pkl", tmp_path / "marker"
    PICKLES[kind](path, str(marker))

    assert unpickle.scan(path) == names
    with pytest.raises(UntrustedModelError) as caught:
        unpickle.load(path)
    assert all(name in caught.value.message for name in names)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["pickle", "joblib"])
def test_damaged_file_is_refused_or_harmless(tmp_path, form):
    """Bytes changed, lost and doubled anywhere give an error of ours, or a model, and no more."""
    rows = np.arange(60.0).reshape(30, 2)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(2, random_state=0))
    path, good = tmp_path / "model", io.BytesIO()
    (pickle if form == "pickle" else joblib).dump(model.fit(rows, rows[:, 0] > 20), good)
    rng = np.random.default_rng(1)
    refused = 0

    for _ in range(300):
        data = bytearray(good.getvalue())
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            match rng.integers(0, 3):
                case 0:
                    data[position] = rng.integers(0, 256)
                case 1:
                    del data[position : position + rng.integers(1, 50)]
                case _:
                    data[position:position] = data[position : position + 20]
        path.write_bytes(data)
        with nothing_outside(tmp_path):
            try:
                unpickle.load(path)
            except FnmodelError as error:
                refused += bool(error.hint)

    assert refused > 150


def test_second_pickle_is_never_reached(tmp_path):
    """What follows the end of a model is neither read nor taken for harmless."""
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": 1}) + b" ")

    with pytest.raises(SlimError, match="more data follows its end"):
        unpickle.load(path)


def test_distribution_of_a_search_is_dropped(tmp_path):
    """Distributions run program text out of their state: a model is read without them."""
    path, marker = tmp_path / "model.pkl", tmp_path / "marker"
    program = word("scipy.stats._continuous_distns uniform_gen") + b")\x81}("
    program += text("_parse_arg_template") + text(touching(str(marker))) + b"ub"
    path.write_bytes(stream(program))

    with nothing_outside(tmp_path):
        read = unpickle.load(path)

    assert not marker.exists()
    assert not hasattr(read, "_parse_arg_template")
    assert not callable(read)


def test_known_class_is_no_value_to_call(tmp_path):
    """A class that a model may hold instances of is left uncallable where a function stands."""
    path = tmp_path / "model.pkl"
    transformer = word("sklearn.preprocessing._function_transformer FunctionTransformer")
    state = text("func") + word("xgboost.core Booster")
    state += text("_sklearn_version") + text(sklearn.__version__)
    path.write_bytes(stream(transformer, b")\x81}(", state, b"ub"))

    assert not callable(unpickle.load(path).func)


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "own_steps.py").write_text(
        "from sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Doubler(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, rows, labels=None):\n"
        "        self.factor_ = 2\n"
        "        return self\n"
        "    def transform(self, rows):\n"
        "        return rows * self.factor_\n"
        "def double(rows):\n"
        "    return rows * 2\n"
    )
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("compress", [0, 3])
def test_own_class_is_read_once_it_is_trusted(tmp_path, monkeypatch, compress):
    """A user's own steps are named with the way to trust them, and work when trusted."""
    _module(tmp_path, monkeypatch)
    import own_steps

    rows = np.arange(20.0).reshape(10, 2)
    model = make_pipeline(
        own_steps.Doubler(), FunctionTransformer(own_steps.double), LogisticRegression()
    ).fit(rows, rows[:, 0] > 9)
    path = tmp_path / "model.joblib"
    joblib.dump(model, path, compress=compress)
    names = {"own_steps.Doubler", "own_steps.double"}

    with pytest.raises(UntrustedModelError) as caught:
        unpickle.load(path)
    assert all(f"--trust {name}" in caught.value.hint for name in names)
    with pytest.raises(UntrustedModelError, match=r"own_steps\.double$"):
        unpickle.load(path, trust={"own_steps.Doubler"})
    read = unpickle.load(path, trust=names)
    np.testing.assert_array_equal(read.predict(rows), model.predict(rows))


@pytest.mark.parametrize(
    "name", ["own_steps.*", "own_steps", "*", "", "os.system", "builtins.exec", "a b.c", "a..b"]
)
def test_trust_is_one_class_of_ones_own(tmp_path, name):
    """Neither a pattern nor a name of Python itself can be trusted."""
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Calls(exec, touching(str(tmp_path / "marker")))))

    with pytest.raises(UsageError) as caught:
        unpickle.load(path, trust={name})
    assert caught.value.hint
    assert not (tmp_path / "marker").exists()


def test_missing_package_and_class_are_told_from_strange_ones(tmp_path):
    """A known library's class that is not here asks for a version, not for trust."""
    path = tmp_path / "model.pkl"
    path.write_bytes(stream(word("sklearn.linear_model._old NoSuchModel")))
    with pytest.raises(SlimError, match=r"_old\.NoSuchModel, which is not in the version"):
        unpickle.load(path)
    path.write_bytes(stream(word("no_such_module Thing")))
    with pytest.raises(UntrustedModelError, match=r"no_such_module\.Thing"):
        unpickle.load(path)


def _skops(path: Path, model: object) -> dict[str, bytes]:
    pytest.importorskip("skops.io").dump(model, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _rewrite(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    if "bomb" in members:  # its size in the directory, at the file's end
        data = bytearray(path.read_bytes())
        entry = data.rindex(b"PK\x01\x02")
        data[entry + 24 : entry + 28] = (3 << 30).to_bytes(4, "little")
        path.write_bytes(data)


def _swap(**changes: str):
    """Return a change to the node that names numpy's square."""

    def change(members):
        schema = json.loads(members["schema.json"])
        left, found = [schema], []
        while left:
            node = left.pop()
            if isinstance(node, dict):
                found += [node] if node.get("__class__") == "square" else []
                left.extend(node.values())
        assert len(found) == 1
        found[0].update(changes)
        return {**members, "schema.json": json.dumps(schema).encode()}

    return change


def _nest(members):
    deep = b"[" * 100_000 + b"]" * 100_000
    return {**members, "schema.json": deep}


SKOPS = {
    "function": _swap(__class__="system", __module__="os"),
    "getattr": _swap(__class__="getattr", __module__="builtins"),
    "program-text": _swap(__class__="uniform_gen", __module__="scipy.stats._continuous_distns"),
    "constructor": lambda members: {
        **members,
        "schema.json": json.dumps(
            {
                **json.loads(members["schema.json"]),
                "__class__": "Booster",
                "__module__": "xgboost.core",
                "__loader__": "ConstructorFromReduceNode",
            }
        ).encode(),
    },
    "deep": _nest,
    "no-schema": lambda members: {"other.json": members["schema.json"]},
    "bomb": lambda members: {**members, "bomb": bytes(1 << 20)},
    "outside": lambda members: {**members, "../../escape": b"x"},
}


@pytest.mark.parametrize("kind", SKOPS)
def test_hostile_skops_file_is_refused(tmp_path, kind):
    """A skops file is held to the same names as a pickle, and unpacks within bounds."""
    path, marker = tmp_path / "model.skops", tmp_path / "marker"
    members = _skops(path, FunctionTransformer(np.square).fit(np.ones((2, 2))))
    _rewrite(path, SKOPS[kind](members))
    start = time.monotonic()

    with nothing_outside(tmp_path), pytest.raises(SlimError) as caught:
        skopsfile.load(path)

    assert time.monotonic() - start < SECONDS
    assert caught.value.hint
    assert not marker.exists()


def test_own_class_in_skops_is_read_once_it_is_trusted(tmp_path, monkeypatch):
    """Trust works for skops files as it does for pickles."""
    _module(tmp_path, monkeypatch)
    import own_steps

    path = tmp_path / "model.skops"
    _skops(path, own_steps.Doubler().fit(np.ones((2, 2))))

    with pytest.raises(UntrustedModelError, match=r"own_steps\.Doubler"):
        skopsfile.load(path)
    assert skopsfile.load(path, {"own_steps.Doubler"}).factor_ == 2


def _torch_file(path: Path, program: bytes) -> None:
    torch = pytest.importorskip("torch")
    data = io.BytesIO()
    torch.save({"weight": torch.ones(2)}, data)
    with zipfile.ZipFile(data) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, program if name.endswith("data.pkl") else content)


def _torch_programs(marker: str) -> dict[str, bytes]:
    return {
        "os.system": call("posix system", text(f"touch {marker}")),
        "exec": call("builtins exec", text(touching(marker))),
        "module": word("torch.nn.functional importlib"),
        "dispatch": call("torch.nn.functional boolean_dispatch", text(marker)),
        "load": call("torch load", text("/etc/passwd")),
        "hub": call("torch.hub load", text("/"), text(marker)),
    }


@pytest.mark.parametrize("kind", _torch_programs(""))
def test_hostile_torch_file_is_refused(tmp_path, kind):
    """A file of torch.save names what it wants, and gets none of it."""
    pytest.importorskip("torch")
    from fnmodel.slim.untrusted import torch_file

    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    _torch_file(path, b"\x80\x02" + _torch_programs(str(marker))[kind] + b".")

    with nothing_outside(tmp_path), pytest.raises(SlimError) as caught:
        torch_file.module(path, frozenset())

    assert caught.value.hint
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["os.system", "joblib-lzma", "second-pickle"])
def test_command_line_refuses_without_a_traceback(tmp_path, kind):
    """`fnmodel slim` on a hostile file ends with an error, a hint and a code; nothing ran."""
    marker = tmp_path / "marker"
    PICKLES[kind](tmp_path / "model.joblib", str(marker))
    (tmp_path / "fnmodel.yaml").write_text("name: tiny\nmodel: model.joblib\n")
    environment = {"PATH": "/usr/bin:/bin", "FNMODEL_HOME": str(tmp_path / "home")}

    done = subprocess.run(
        [sys.executable, "-m", "fnmodel", "slim"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert done.returncode == 1
    assert not marker.exists()
    assert "Traceback" not in done.stderr
    assert "hint: do not use this file unless you wrote it" in done.stderr
    assert "code: FNM-S00" in done.stderr
