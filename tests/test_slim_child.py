"""The conversion runs in a child process: shielded, limited, all or nothing, and only once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from hostile_cases import call, stream, text
from sklearn.linear_model import LinearRegression, LogisticRegression
from slim_cases import TOLERANCE, save

from fnmodel.errors import SlimError
from fnmodel.inference import Predictor
from fnmodel.model import Tolerance
from fnmodel.slim.isolation import sandbox, visible
from fnmodel.slim.isolation.sandbox import Limits
from fnmodel.slim.order import Budget, Order
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
        subprocess.run(
            [sys.executable, "-c", "import onnx, sklearn, pandas, onnxruntime"], check=True
        )
        yield


def _slim(source, cache, sample=None, target=None, trust=(), **more) -> Slimmed:
    return slim(
        Order(
            source,
            sample,
            target,
            Budget(TOLERANCE),
            trust,
            processing=more.pop("processing", None),
        ),
        cache=cache,
        progress=more.pop("progress", lambda _: None),
        **more,
    )


TRUST = ("own_code.run",)


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Return a function that writes a model file whose code runs, since the user trusts it."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_code.py").write_text("def run(code):\n    exec(code, {})\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(code):
        path = tmp_path / "model.pkl"
        path.write_bytes(stream(call("own_code run", text(code))))
        return path

    return write


def _said(path, cache, **more):
    """Return what the code in a model file says by raising an error."""
    with pytest.raises(SlimError) as caught:
        _slim(path, cache, trust=TRUST, **more)
    return caught.value.message


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

    order = Order(files[0], files[1], None, Budget(Tolerance(0, 1e-12)))
    other = slim(order, cache=cache, progress=lambda _: None)

    assert not other.cached
    assert other.report.tolerance == Tolerance(0, 1e-12)
    assert _slim(files[0], cache, files[1]).report.tolerance == both[0].report.tolerance


def test_large_files_may_be_known_without_reading(small):
    """What is asked for when a result is found: the model, the sample, each file of the result."""
    files, cache, both = small
    asked = []

    def hashed(path, read):
        asked.append(path.name)
        return read(path)

    found = _slim(files[0], cache, files[1], hashed=hashed)

    assert found.cached
    assert found.model == both[0].model
    assert asked[:2] == [files[0].name, files[1].name]
    assert sorted(asked[2:]) == sorted(found.model.files)


def test_cached_result_is_found_at_once(small):
    """A finished conversion is found soon, and the parent imports no framework for it."""
    files, cache, _ = small
    # What the parent imports is what a command pays for: no framework, no converter.
    script = """
import sys, time
from pathlib import Path
from fnmodel.slim.order import Order
from fnmodel.slim.slim import slim
start = time.perf_counter()
found = slim(Order(Path(sys.argv[1]), Path(sys.argv[2])), cache=Path(sys.argv[3]), progress=print)
seconds = time.perf_counter() - start
heavy = {"sklearn", "onnx", "onnxruntime", "pandas", "joblib", "numpy"} & {*sys.modules}
print(found.cached, seconds < 0.5, sorted(heavy))
"""
    command = [sys.executable, "-c", script, *files, cache]
    tries = [subprocess.check_output(command, text=True).splitlines()[-1] for _ in range(3)]
    assert "True True []" in tries


def test_pickle_sees_no_secret_and_stays_in_the_child(tmp_path, monkeypatch, hostile):
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
    open({str(tmp_path / "marker")!r}, 'w').close()
except OSError: pass
raise RuntimeError('ran as ' + str(os.getpid()) + ' and saw ' + repr(sorted(set(seen))))
"""
        said = _said(hostile(code), tmp_path / "cache")

    assert "ran as" in said
    assert "planted" not in sys.modules
    assert "PLANTED" not in os.environ
    assert f"ran as {os.getpid()} " not in said
    assert "'environment'" not in said
    assert ("no network" in words) == ("'network'" not in said)
    if "own processes only" in words:
        assert "'processes'" not in said
    if "read-only files" in words:
        assert not (tmp_path / "marker").exists()
    assert _keys(tmp_path / "cache") == []


def test_child_environment_is_an_allow_list(tmp_path, monkeypatch):
    """No name reaches the child because nobody thought of it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "x")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    monkeypatch.setenv("A_NAME_NOBODY_THOUGHT_OF", "x")

    passed = sandbox.environment(tmp_path)

    assert not {"AWS_SESSION_TOKEN", "HTTPS_PROXY", "A_NAME_NOBODY_THOUGHT_OF"} & set(passed)
    assert passed["HOME"] == passed["TMPDIR"] == str(tmp_path)


def test_child_that_dies_is_explained(tmp_path, hostile):
    """A model file whose code ends the process gives an error, not a hanging command."""
    path = hostile("import ctypes; ctypes.string_at(0)")

    assert "ended by SIGSEGV" in _said(path, tmp_path / "cache")


def test_time_is_limited(tmp_path, hostile):
    """A conversion that does not end is stopped with all it started, and leaves nothing."""
    code = "import subprocess, time; subprocess.Popen(['sleep', '987']); time.sleep(987)"
    path = hostile(code)

    assert "longer than 3 s" in _said(path, tmp_path / "cache", limits=Limits(seconds=3))
    assert _keys(tmp_path / "cache") == []
    assert _gone(lambda: _processes(b"sleep\x00987"))


def test_kill_in_the_middle_leaves_no_half_result(tmp_path, hostile):
    """After kill -9 the cache has no result, the child ends, and the next run clears up."""
    path = hostile("import time; time.sleep(600)")
    cache = tmp_path / "cache"
    script = """
import sys
from pathlib import Path
from fnmodel.slim.order import Order
from fnmodel.slim.slim import slim
slim(Order(Path(sys.argv[1]), trust=("own_code.run",)), cache=Path(sys.argv[2]),
     progress=lambda text: print(text, flush=True))
"""
    command = [sys.executable, "-c", script, path, cache]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert "reading" in parent.stdout.readline()
        parent.send_signal(signal.SIGKILL)

    (left,) = _keys(cache)
    assert left.startswith(".new-")
    assert _gone(lambda: _processes(b"fnmodel.slim.isolation.child", inside=cache))
    os.utime(cache / left, (0, 0))
    empty = tmp_path / "empty.pkl"
    empty.write_bytes(b"")
    with pytest.raises(SlimError, match="is empty"):
        _slim(empty, cache)
    assert _keys(cache) == []


def test_disk_is_limited(tmp_path, hostile):
    """A model file whose code fills the disk is stopped; what it wrote is gone."""
    code = """
import time
for number in range(100):
    open(f'{number}', 'wb').write(bytes(1 << 20))
time.sleep(60)
"""
    limits = Limits(seconds=30, disk=20 << 20)

    said = _said(hostile(code), tmp_path / "cache", limits=limits)

    assert "more than 20 MB of files" in said
    assert _keys(tmp_path / "cache") == []


def test_memory_is_limited(tmp_path, hostile):
    """A model file that asks for more memory than a conversion may have gives an error."""
    said = _said(hostile("bytearray(8 << 30)"), tmp_path / "cache", limits=Limits(memory=4 << 30))

    assert "more than 4 GB of memory" in said


def test_words_of_the_child_are_harmless(tmp_path, hostile):
    """A model's code cannot write to the terminal through its error."""
    said = _said(hostile("raise RuntimeError('clear \\x1b[2J it')"), tmp_path / "cache")

    assert "clear" in said
    assert "\x1b" not in said


def _bubblewrap(folder):
    if sandbox.isolation(folder).strength != "bubblewrap":
        pytest.skip("bubblewrap does not work on this machine")


def test_only_model_and_sample_are_visible(tmp_path, monkeypatch, hostile):
    """With bubblewrap the child sees Python and its own files: no home, no neighbour, no socket."""
    _bubblewrap(tmp_path)
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id").write_text("secret")
    (tmp_path / "neighbour.txt").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "daemon.sock"))
        server.listen()
        code = f"""
import glob, os, socket
top = {str(tmp_path)!r}
found = sorted(os.listdir(top))
try:
    socket.socket(socket.AF_UNIX).connect(top + '/daemon.sock'); found.append('SOCKET')
except OSError: pass
found += [p for p in ('/run', '/root/.bashrc', '/etc/shadow', '/home', '/var') if os.path.exists(p)]
for place in ('/', '/dev', '/usr', top + '/own'):
    try: open(place + '/written', 'w').close(); found.append(place)
    except OSError: pass
raise RuntimeError('found ' + repr(found))
"""
        said = _said(hostile(code), tmp_path / "cache")

    assert "found ['cache', 'model.pkl', 'own']" in said
    assert not list(tmp_path.rglob("written"))


@pytest.mark.parametrize("place", ["home", "home/.local/share", "elsewhere with spaces/ö"])
def test_model_and_cache_lie_anywhere(tmp_path, monkeypatch, small, place):
    """A model in the home folder and a cache below it convert; secrets there stay out of sight."""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    files = [folder / path.name for path in small[0]]
    for old, new in zip(small[0], files, strict=True):
        new.write_bytes(old.read_bytes())

    slimmed = _slim(files[0], folder / "cache", files[1])

    slimmed.report.check()
    assert slimmed.report.isolation[0].startswith("allow-listed environment")


def test_mounts_never_show_a_home_or_a_root(tmp_path, monkeypatch):
    """Whatever the interpreter and its paths are, no home folder is shown whole, secrets never."""
    home = tmp_path / "home"
    for name in ("lib/python3.13", "bin", ".aws"):
        (home / name).mkdir(parents=True)
    (home / "lib" / ".netrc").write_text("")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", f"{home}:{tmp_path}:/")
    for name in ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, str(home))

    arguments = visible.mounts(tmp_path / "work")

    shown = {arguments[i + 1] for i, word in enumerate(arguments) if word == "--ro-bind"}
    assert {str(home / "lib"), str(home / "bin")} <= shown
    assert not {"/", "/tmp", str(home), str(tmp_path), "/etc", "/root", "/home"} & shown


def test_secrets_inside_what_is_shown_are_covered(tmp_path, monkeypatch):
    """A model folder that is a home folder is shown without its keys."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".netrc").write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))

    arguments = " ".join(visible.mounts(tmp_path / "work", [tmp_path]))

    assert f"--tmpfs {tmp_path}/.aws" in arguments
    assert f"--ro-bind /dev/null {tmp_path}/.netrc" in arguments


def _without_bubblewrap(folder, monkeypatch):
    for name in ("unshare", "true"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


def test_weaker_isolation_says_what_it_does_not_hide(tmp_path, monkeypatch):
    """Without bubblewrap the words name the files and sockets that stay within reach."""
    _without_bubblewrap(tmp_path, monkeypatch)

    shield = sandbox.isolation(tmp_path / "work")

    assert shield.strength in ("unshare", "none")
    assert any("all files and local sockets within reach" in words for words in shield.words)


def test_trusted_code_without_full_isolation_is_said_or_refused(small, tmp_path, monkeypatch):
    """Who trusts code is told what it can reach; full isolation, asked for, is an error here."""
    files, _, _ = small
    _without_bubblewrap(tmp_path, monkeypatch)
    order, said = Order(files[0], files[1], trust=("some.module.Thing",)), []

    slim(order, cache=tmp_path / "cache", progress=said.append)
    assert any("trusted code of the model runs here with" in line for line in said)

    with pytest.raises(SlimError, match="no full isolation"):
        slim(order, cache=tmp_path / "other", progress=print, full_isolation=True)


def test_full_isolation_can_be_required(tmp_path):
    """Where bubblewrap does not work, who asks for it gets an error that says what to install."""
    weak = sandbox.Isolation((), ("network reachable",))

    with pytest.raises(SlimError, match="network reachable") as caught:
        weak.require()
    assert "bubblewrap" in caught.value.hint


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


def test_a_projects_own_code_leaves_nothing_beside_the_model(tmp_path: Path) -> None:
    """The child imports processing.py, and what it writes is a model directory and no more."""
    rows = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [4.0, 3.0, 2.0, 1.0]})
    joblib.dump(LinearRegression().fit(rows[["a"]], rows["b"]), tmp_path / "m.joblib")
    rows[["a"]].to_csv(tmp_path / "rows.csv", index=False)
    own = tmp_path / "own.py"
    own.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Answer:\n    value: float\n"
        "def postprocess(p, r):\n"
        "    return [{'double': 2 * Answer(**one).value} for one in p]\n"
    )

    slimmed = _slim(tmp_path / "m.joblib", tmp_path / "c", tmp_path / "rows.csv", processing=own)

    assert "processing.py" in slimmed.model.files
    assert slimmed.model.probe()["answers"][0]["double"] == pytest.approx(8.0)
