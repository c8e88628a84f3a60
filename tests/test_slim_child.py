"""The conversion runs in a child process: shielded, limited, all or nothing, and only once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from slim_cases import TOLERANCE, hostile_file, save

from fnmodel.errors import SlimError
from fnmodel.inference import Predictor
from fnmodel.model import Tolerance
from fnmodel.slim import sandbox
from fnmodel.slim.sandbox import Limits
from fnmodel.slim.slim import Slimmed, slim

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory):
    """Compile the big imports once, where nothing has compiled them: each child pays for them."""
    if Path(cache_from_source(sklearn.__file__)).exists():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        subprocess.run([sys.executable, "-c", "import skl2onnx, pandas, onnxruntime"], check=True)
        yield


def _slim(source, cache, sample=None, target=None, **more) -> Slimmed:
    return slim(
        source,
        sample=sample,
        target=target,
        tolerance=TOLERANCE,
        label_flips=0,
        cache=cache,
        progress=more.pop("progress", lambda _: None),
        **more,
    )


def _keys(cache):
    return [path.name for path in cache.iterdir()] if cache.exists() else []


@pytest.mark.parametrize(
    ("name", "target"), [("churn", "churned"), ("digits", None)], ids=["churn", "digits"]
)
def test_sample_project_is_slimmed(tmp_path, name, target):
    """Each sample trains and converts; its request.json fits, and the ONNX model passes."""
    folder = tmp_path / name
    folder.mkdir()
    for path in (SAMPLES / name).glob("*.*"):
        if path.name != "model.joblib":
            (folder / path.name).write_bytes(path.read_bytes())
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, folder / "train.py"], check=True, env=environment)
    sample = next((folder / "data").iterdir())
    said: list[str] = []

    slimmed = _slim(
        folder / "model.joblib", tmp_path / "cache", sample, target, progress=said.append
    )

    slimmed.report.check()
    assert not slimmed.cached
    assert slimmed.report.size.after < slimmed.report.size.before
    assert any("compared" in line for line in said)
    assert _predicts(slimmed, (folder / "request.json").read_text())
    assert len(_keys(tmp_path / "cache")) == 1


def _predicts(slimmed, request):
    return Predictor(slimmed.model.folder).predict(json.loads(request)["records"])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a small model and sample, a cache, and what two runs at once made of them there."""
    folder = tmp_path_factory.mktemp("small")
    rows = np.random.default_rng(0).normal(size=(50, 2))
    files = save(folder, LogisticRegression().fit(rows, rows[:, 0] > 0), rows)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: _slim(files[0], folder / "cache", files[1]), range(2)))
    return files, folder / "cache", both


def test_two_runs_at_once_do_not_clash(small):
    """Both runs get the same model, and the cache holds it once."""
    _, cache, both = small

    assert both[0].model == both[1].model
    assert len(_keys(cache)) == 1


def test_other_tolerance_is_another_result(small):
    """A report speaks of one tolerance only, so another one is not answered from the cache."""
    files, cache, both = small

    other = slim(
        files[0], sample=files[1], target=None, tolerance=Tolerance(0, 1e-12), label_flips=0,
        cache=cache, progress=lambda _: None,
    )  # fmt: skip

    assert not other.cached
    assert other.report.tolerance == Tolerance(0, 1e-12)
    assert _slim(files[0], cache, files[1]).report.tolerance == both[0].report.tolerance


def test_cached_result_is_found_at_once(small):
    """A finished conversion is found within 50 ms, and the parent imports no framework for it."""
    files, cache, _ = small
    # What the parent imports is what a command pays for: no framework, no converter.
    script = """
import sys, time
from pathlib import Path
from fnmodel.model import Tolerance
from fnmodel.slim.slim import slim
start = time.perf_counter()
found = slim(Path(sys.argv[1]), sample=Path(sys.argv[2]), target=None,
             tolerance=Tolerance(1e-4, 1e-3), label_flips=0, cache=Path(sys.argv[3]),
             progress=print)
seconds = time.perf_counter() - start
heavy = {"sklearn", "onnx", "skl2onnx", "onnxruntime", "pandas", "joblib", "numpy"} & {*sys.modules}
print(found.cached, seconds < 0.05, sorted(heavy))
"""
    command = [sys.executable, "-c", script, *files, cache]
    tries = [subprocess.check_output(command, text=True).splitlines()[-1] for _ in range(3)]
    assert "True True []" in tries


def test_pickle_sees_no_secret_and_stays_in_the_child(tmp_path, monkeypatch):
    """A pickle's code runs in the child only, without secrets, and where possible no network."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr-the-secret")
    monkeypatch.setenv("SOME_TOKEN", "wJalr-the-secret")
    words = sandbox.isolation(tmp_path).words
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
import glob, os, socket, sys
sys.modules['planted'] = os
os.environ['PLANTED'] = '1'
seen = []
if 'wJalr' in repr(dict(os.environ)): seen.append('environment')
for path in glob.glob('/proc/[0-9]*/environ'):
    try:
        if b'wJalr' in open(path, 'rb').read(): seen.append('processes')
    except OSError: pass
try:
    socket.create_connection(('127.0.0.1', {port}), 2).close(); seen.append('network')
except OSError: pass
try:
    open({str(tmp_path / "marker")!r}, 'w').close(); seen.append('files')
except OSError: pass
raise RuntimeError('ran as ' + str(os.getpid()) + ' and saw ' + repr(sorted(set(seen))))
"""
        path = hostile_file(tmp_path / "model.pkl", code)
        with pytest.raises(SlimError, match="ran as") as caught:
            _slim(path, tmp_path / "cache")

    assert "planted" not in sys.modules
    assert "PLANTED" not in os.environ
    assert f"ran as {os.getpid()} " not in caught.value.message
    assert "'environment'" not in caught.value.message
    assert ("no network" in words) == ("'network'" not in caught.value.message)
    if "own processes only" in words:
        assert "'processes'" not in caught.value.message
    if "read-only files" in words:
        assert "'files'" not in caught.value.message
    assert _keys(tmp_path / "cache") == []


def test_child_environment_is_an_allow_list(tmp_path, monkeypatch):
    """No name reaches the child because nobody thought of it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    monkeypatch.setenv("A_NAME_NOBODY_THOUGHT_OF", "x")

    passed = sandbox.environment(tmp_path)

    assert not {"AWS_SESSION_TOKEN", "HTTPS_PROXY", "A_NAME_NOBODY_THOUGHT_OF"} & set(passed)
    assert passed["HOME"] == passed["TMPDIR"] == str(tmp_path)


def test_child_that_dies_is_explained(tmp_path):
    """A model file whose code ends the process gives an error, not a hanging command."""
    path = hostile_file(tmp_path / "model.pkl", "import ctypes; ctypes.string_at(0)")

    with pytest.raises(SlimError, match="ended by SIGSEGV"):
        _slim(path, tmp_path / "cache")


def test_time_is_limited(tmp_path):
    """A conversion that does not end is stopped with all it started, and leaves nothing."""
    code = "import subprocess, time; subprocess.Popen(['sleep', '987']); time.sleep(987)"
    path = hostile_file(tmp_path / "model.pkl", code)

    with pytest.raises(SlimError, match="longer than 3 s"):
        _slim(path, tmp_path / "cache", limits=Limits(seconds=3))
    assert _keys(tmp_path / "cache") == []
    assert _gone(lambda: _processes(b"sleep\x00987"))


def test_kill_in_the_middle_leaves_no_half_result(tmp_path):
    """After kill -9 the cache has no result, the child ends, and the next run clears up."""
    path = hostile_file(tmp_path / "model.pkl", "import time; time.sleep(600)")
    cache = tmp_path / "cache"
    script = """
import sys
from pathlib import Path
from fnmodel.model import Tolerance
from fnmodel.slim.slim import slim
slim(Path(sys.argv[1]), sample=None, target=None, tolerance=Tolerance(0, 0), label_flips=0,
     cache=Path(sys.argv[2]), progress=lambda text: print(text, flush=True))
"""
    command = [sys.executable, "-c", script, path, cache]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert "reading" in parent.stdout.readline()
        parent.send_signal(signal.SIGKILL)

    (left,) = _keys(cache)
    assert left.startswith(".new-")
    assert _gone(lambda: _processes(b"fnmodel.slim.child", inside=cache))
    os.utime(cache / left, (0, 0))
    empty = tmp_path / "empty.pkl"
    empty.write_bytes(b"")
    with pytest.raises(SlimError, match="is empty"):
        _slim(empty, cache)
    assert _keys(cache) == []


def test_damaged_result_is_made_again(small):
    """A result that lost a file is not served from the cache."""
    files, cache, both = small
    (both[0].model.folder / "probe.json").unlink()

    again = _slim(files[0], cache, files[1])

    assert not again.cached
    assert again.model.digest == both[0].model.digest


def test_only_plain_files_are_taken_over(tmp_path):
    """A link or an extra file from the child is refused: it would end up in the image."""
    folder = tmp_path / "result" / "model"
    folder.mkdir(parents=True)
    (folder / "a").write_text("a")
    sandbox.check_files(folder, ["a"])

    (folder / "b").symlink_to("/etc/hostname")
    for names in (["a"], ["a", "b"]):
        with pytest.raises(SlimError, match="other files"):
            sandbox.check_files(folder, names)


def test_missing_file_is_named(tmp_path):
    """A model or sample path that does not exist is named."""
    with pytest.raises(SlimError, match=r"nothing\.joblib cannot be read: No such file"):
        _slim(tmp_path / "nothing.joblib", tmp_path / "cache")


def _processes(words, inside=None):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if words in (folder / "cmdline").read_bytes() and (
                inside is None or str(inside) in str((folder / "cwd").readlink())
            ):
                found.append(folder.name)
        except OSError:  # it ended meanwhile
            continue
    return found


def _gone(look, seconds=10):
    deadline = time.monotonic() + seconds
    while look() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not look()
