"""A cold start in the layers that `fnmodel pack` makes, against bare scripts and other servers.

    python benchmarks/cold.py [--rounds 9] [--peers] [--check] [--json]

A cold start is the time from the start of a process to its first answer of one HTTP API event,
without the end of the process and without Lambda's runtime client. The image is built and unpacked
here, and each process starts as `python -S` with Lambda's variables and one tree on its path. All
take turns, and a ratio is the median over rounds of the ratio in a round. The model is a
gradient-boosted classifier of 100 trees and 30 features, and each handler must answer its label.

    ours              the image's own layers, variables and handler, by what its entry point
                      does before it loads the runtime client: it finds the layers' bundles
    plain imports     the same without bundles and lazy modules
    floor             imports onnxruntime from the image's packages, opens the same model with
                      default settings and runs it once; the tuned floor with one thread
    bare engine       ours without a request: the C library opens the model and runs it once
    tutorial handler  FastAPI, pydantic and Mangum over onnxruntime, from the same packages;
                      without bytecode, from a copy of them that has none
    evicted           once more, after the tree's files have left the page cache
    large             the same of a sentence encoder of MiniLM's size, which `slim` converts here:
                      ours against the floor on its one file of 90 MB; and opening it alone, the
                      time and the memory, ours against the default session's
    --peers           other servers of the classifier itself, each with bytecode and in a virtual
                      environment below build/peers: scikit-learn behind FastAPI and Mangum; the
                      ASGI applications of MLflow's scoring server and of BentoML, in process

onnxruntime's Python package, which the image leaves out, is added to a copy of its packages.

Goals: ours at most 1.2 of the floor (gate 1.5), and 1.0 evicted (gate 1.2); of ours, the tutorial
handler at least 2.4 (gate 2), without bytecode 5.5, scikit-learn 6, MLflow 10, BentoML 9; the
layers of dependencies and code at most 36 MB compressed. Of the large floor, ours at most 0.65
(gate 0.8); of our session, the default one at least 4 (gate 3), and of its memory ours at most
0.55. Where no gate is named, the goal is the gate; `--check` fails where one is missed.
`build/bench-cold.json` keeps the figures.
"""

import argparse
import errno
import json
import os
import platform
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import classifier
import encoder
import numpy as np
import serve
from goals import Goal

from fnmodel.errors import LockError
from fnmodel.interpreter import RUNNING
from fnmodel.local.launch import FunctionVersion, RootFs, interpreter, launch
from fnmodel.model import MODEL, OnnxModel
from fnmodel.pack import bytecode
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.dependencies import AT, Lock, install_wheels, run_uv
from fnmodel.pack.image import Image, host_architecture
from fnmodel.pack.layout import Store
from fnmodel.pack.models import MODEL_DIRECTORY
from fnmodel.pack.rootfs import unpack
from fnmodel.slim.content import content_sha256
from fnmodel.slim.job import run
from fnmodel.slim.order import Job, Order

BUILD = classifier.ROOT / "build"
SECONDS = 120
"""The longest that a start, and its end, may take."""
KEPT = 0.02
"""The share of files that may stay in the page cache for the evicted rounds to mean anything."""

# Each script ends so: it says its answer through a pipe, since handlers log to standard output.
SAY = """
import os
os.write(int(sys.argv[-1]), str({answer}).encode())
"""

FLOOR = serve.FLOOR + SAY.format(answer='"ran"')

# The first lines of `handlers/start.py`.
_BUNDLES = """
from fnmodel import imports
imports.install()
"""

ENGINE = """
import sys
from pathlib import Path
from fnmodel.buffers import Buffer
from fnmodel.engine import open_session
session = open_session(Path(sys.argv[1]))
session.call(["label"], {"X": Buffer.of("FP32", [1.0] * 30).reshape((1, 30))})
""" + SAY.format(answer='"ran"')

_ANSWER = """
import json, sys
event = json.load(open(sys.argv[1]))
from handlers import model
answer = model.handler(event, None)
assert answer["statusCode"] == 200, answer
"""

PLAIN = _ANSWER + SAY.format(answer='json.loads(answer["body"])["predictions"][0]["label"]')
OURS = _BUNDLES + PLAIN

LARGE_FLOOR = """
import sys
import numpy as np
import onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
ids = np.arange(int(sys.argv[2]))[None]
session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
""" + SAY.format(answer='"ran"')

# Rounded weights change numbers, but hardly the direction of a vector.
LARGE_OURS = (
    _ANSWER
    + """
vector = json.loads(answer["body"])["outputs"][0]["data"]
right = json.load(open(sys.argv[2]))
product = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))
cosine = product(vector, right) / (product(vector, vector) * product(right, right)) ** 0.5
"""
    + SAY.format(answer='"near" if cosine > 0.999 else cosine')
)

# Milliseconds and bytes of opening a model, after a tiny one has brought the engine in.
SESSION = """
import os, sys, time
from pathlib import Path
import numpy as np
if sys.argv[3] == "ours":
    from fnmodel.engine import open_session as opened
else:
    import onnxruntime as ort
    opened = lambda path: ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
first = opened(Path(sys.argv[1]))
before, started = resident(), time.perf_counter()
session = opened(Path(sys.argv[2]))
ms = (time.perf_counter() - started) * 1000
""" + SAY.format(answer='f"{ms} {resident() - before}"')

# How many files of a tree ours opens; started apart, since the hook takes time.
OPENED = (
    """
import sys
opened = set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.add(arguments[0])
sys.addaudithook(hook)
"""
    + _BUNDLES
    + _ANSWER
    + SAY.format(answer="sum(path.startswith(sys.argv[2]) for path in tuple(opened))")
)

# The usual handler, as tutorials have it; {load} and {run} are what differs between engines.
TUTORIAL = """
import json, sys
event = json.load(open(sys.argv[1]))
import numpy as np
from fastapi import FastAPI
from mangum import Mangum
from pydantic import BaseModel
{load}
class Request(BaseModel):
    records: list[dict[str, float]]
class Prediction(BaseModel):
    label: int
    score: float
class Answer(BaseModel):
    predictions: list[Prediction]
app = FastAPI(title="model")
@app.post("/predict")
def predict(request: Request) -> Answer:
    rows = np.array([list(record.values()) for record in request.records], np.float32)
    {run}
    return Answer(predictions=[
        Prediction(label=int(label), score=float(score[1]))
        for label, score in zip(labels, scores)
    ])
handler = Mangum(app)
answer = handler(event, None)
assert answer["statusCode"] == 200, answer
""" + SAY.format(answer='json.loads(answer["body"])["predictions"][0]["label"]')

ONNX_TUTORIAL = TUTORIAL.format(
    load="""
import onnxruntime as ort
session = ort.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
""",
    run='labels, scores = session.run(None, {"X": rows})',
)
JOBLIB_TUTORIAL = TUTORIAL.format(
    load="""
import joblib
model = joblib.load(sys.argv[2])
""",
    run="labels, scores = model.predict(rows), model.predict_proba(rows)",
)

# A server that is an ASGI application is asked by hand: a test client would cost an import. The
# loop is left as it is after the answer, so that closing it takes none of the time.
ASGI = """
import asyncio, json, sys
event = json.load(open(sys.argv[1]))
async def talk(app, path, body):
    inbox, outbox, sent = asyncio.Queue(), asyncio.Queue(), []
    scope = {"asgi": {"version": "3.0"}, "state": {}}
    tasks.append(asyncio.create_task(app({**scope, "type": "lifespan"}, inbox.get, outbox.put)))
    await inbox.put({"type": "lifespan.startup"})
    started = await outbox.get()
    assert started["type"] == "lifespan.startup.complete", started
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}
    async def send(message):
        sent.append(message)
    await app({
        **scope, "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(b"host", b"model"), (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1), "server": ("model", 80),
    }, receive, send)
    assert sent[0]["status"] == 200, sent
    return json.loads(b"".join(message.get("body", b"") for message in sent))
tasks = []
def ask(app, path, content):
    loop = asyncio.new_event_loop()
    return loop.run_until_complete(talk(app, path, json.dumps(content).encode()))
"""

MLFLOW = (
    ASGI
    + """
import mlflow.pyfunc
from mlflow.pyfunc import scoring_server
app = scoring_server.init(mlflow.pyfunc.load_model(sys.argv[2]))
row = list(json.loads(event["body"])["records"][0].values())
answer = ask(app, "/invocations", {"inputs": [row]})
"""
    + SAY.format(answer='int(answer["predictions"][0])')
)

BENTOML = (
    ASGI
    + """
import bentoml
import joblib
import numpy as np
@bentoml.service
class Classifier:
    def __init__(self) -> None:
        self.model = joblib.load(sys.argv[2])
    @bentoml.api
    def predict(self, records: list[dict[str, float]]) -> list[int]:
        rows = np.array([list(record.values()) for record in records], np.float32)
        return [int(label) for label in self.model.predict(rows)]
answer = ask(Classifier.to_asgi(), "/predict", json.loads(event["body"]))
"""
    + SAY.format(answer="answer[0]")
)

# MLflow's pickle, since its default (skops) loads more slowly and would flatter ours.
SAVE_MLFLOW = """
import sys, joblib, mlflow.sklearn
mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], serialization_format="pickle")
"""


@dataclass(frozen=True)
class Peer:
    """Another server: its folder below `build/peers`, what is installed there, its script."""

    name: str
    folder: str
    packages: tuple[str, ...]
    code: str


@dataclass(frozen=True)
class Start:
    """A script, what follows it on the command line, its environment, and what it must say."""

    code: str
    arguments: tuple[str, ...]
    env: Mapping[str, str]
    says: str


PEERS = (
    Peer("scikit-learn", "sklearn", ("joblib", "fastapi", "mangum"), JOBLIB_TUTORIAL),
    Peer("MLflow", "mlflow", ("mlflow",), MLFLOW),
    Peer("BentoML", "bentoml", ("bentoml", "joblib"), BENTOML),
)

BOUNDS = ("floor", "tuned floor", "bare engine", "ours")
SIZE = "python layers, MB"
MEMORY = "session memory, ratio"
LONE = (SIZE, MEMORY)
"""Figures that are no ratio of two lines."""
GOALS = {
    "ours / floor": Goal(1.2, 1.5, at_most=True),
    "evicted ours / evicted floor": Goal(1.0, 1.2, at_most=True),
    "large ours / large floor": Goal(0.65, 0.8, at_most=True),
    "session of large floor / session of large ours": Goal(4, 3),
    "tutorial handler / ours": Goal(2.4, 2.0),
    "without bytecode / ours": Goal(5.5, 5.5),
    "scikit-learn / ours": Goal(6, 6),
    "MLflow / ours": Goal(10, 10),
    "BentoML / ours": Goal(9, 9),
    SIZE: Goal(36, 36, at_most=True),
    MEMORY: Goal(0.55, 0.55, at_most=True),
}


def main() -> int:
    """Measure, write `build/bench-cold.json`, and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", action="store_true", help="measure other servers too")
    parser.add_argument("--check", action="store_true", help="fail where a gate is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    # Below build/, since a temporary folder in memory has no page cache to leave.
    with tempfile.TemporaryDirectory(prefix="cold-", dir=BUILD) as name:
        result = measured(Path(name), options.rounds, PEERS if options.peers else ())
    (BUILD / "bench-cold.json").write_text(json.dumps(result, indent=2) + "\n")
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    missed = any(line["verdict"] == "GATE MISSED" for line in result["goals"].values())
    return int(options.check and missed)


def measured(folder: Path, rounds: int, peers: tuple[Peer, ...]) -> dict[str, Any]:
    """Build the image in a folder, start everything in turns, and return all figures."""
    store = Store(folder / "store")
    bench, large = Classifier(folder, store), Encoder(folder, store)
    starts = {**bench.starts(), **large.starts()}
    versions = {"python": platform.python_version()} | {
        name: version(name) for name in ("onnxruntime", "numpy", "scikit-learn")
    }
    skipped = {}
    for peer in peers:
        try:
            starts[peer.name] = bench.peer(peer)
        except LockError as error:
            skipped[peer.name] = str(error)
            print(f"{peer.name} is skipped: {error}", file=sys.stderr)
        else:
            versions |= bench.versions(peer)
    times = timed(starts, rounds, folder)
    cached = None
    if hasattr(os, "posix_fadvise"):
        os.sync()  # a page that was not written yet cannot leave the cache
        cached = cached_share(bench.root)
    if cached is not None and cached < KEPT:
        for one in (bench, large):
            names = [f"{one.word}floor", f"{one.word}ours"]
            if one is bench:
                names.append("plain imports")
            cold = {f"evicted {name}": starts[name] for name in names}
            times |= timed(cold, rounds, folder, before=one.evict)
    else:
        print("evicted files are skipped: files here do not leave the cache", file=sys.stderr)
    opened, memory = large.sessions(rounds) if Path("/proc/self/statm").exists() else ({}, None)
    times |= opened
    small = [name for name in starts if not name.startswith(large.word)]
    figures = {
        f"{one} / {other}": ratio(times[one], times[other])
        for one, other in [
            *((name, "floor") for name in small if name != "floor"),
            *((name, "ours") for name in small if name not in BOUNDS),
            ("ours", "tuned floor"),
            ("ours", "bare engine"),
            ("evicted ours", "evicted floor"),
            ("large ours", "large floor"),
            ("evicted large ours", "evicted large floor"),
            ("session of large floor", "session of large ours"),
            ("evicted plain imports", "evicted floor"),
            ("evicted plain imports", "evicted ours"),
        ]
        if one in times and other in times
    }
    if memory is not None:
        figures[MEMORY] = memory
    layers = {line.created_by: line.size for line in bench.image.layers}
    figures[SIZE] = sum(size for by, size in layers.items() if ": model" not in by) / 1e6
    return {
        "rounds": rounds,
        "versions": versions,
        "ms": {name: statistics.median(values) for name, values in times.items()},
        "figures": figures,
        "goals": {
            name: {
                "goal": str(goal),
                "gate": goal.gate,
                "value": figures.get(name),
                "verdict": goal.verdict(figures.get(name)),
            }
            for name, goal in GOALS.items()
        },
        "layer bytes": layers,
        "large form": large.form,
        f"files opened below {AT}": int(said(bench.opened(), folder)),
        "share of files still cached after eviction": cached,
        "skipped": sorted(skipped),
    }


class Bench:
    """An unpacked image around a model, an event for it, and how each process is started.

    `word` stands before the names of its starts, and tells its files from another one's.
    """

    word = ""

    def __init__(self, folder: Path, store: Store, model: Path, request: Mapping[str, Any]) -> None:
        self._folder = folder
        recipe = Recipe("bench", RUNNING, host_architecture())
        self.image: Image = build(OnnxModel.load(model), recipe, store)
        self.root = unpack(self.image, store, folder / f"{self.word}root")
        event = folder / f"{self.word}event.json"
        event.write_text(json.dumps(request))
        self._event = str(event)
        self._whole = self._with_package()

    def _with_package(self) -> Path:
        """Return a copy of the image's packages with onnxruntime's Python package in full."""
        full, whole = (self._folder / f"{self.word}{name}" for name in ("full", "whole"))
        install_wheels(Lock.load(RUNNING), host_architecture(), full)
        shutil.copytree(self.root / AT, whole)
        capi = Path("onnxruntime", "capi")
        shutil.copytree(full / capi, whole / capi, dirs_exist_ok=True)
        bytecode.host(RUNNING).compile(whole, f"/{AT}")
        return whole

    def evict(self) -> None:
        """Take the files of the image, and of the packages beside it, out of the page cache."""
        for folder in (self.root, self._whole):
            evict(folder)

    def env(self, *path: Path, image: bool = False, **more: str) -> dict[str, str]:
        """Return Lambda's variables, with those of the image or with a path of its own."""
        config = self.image.settings["config"]
        rootfs = RootFs(
            self.root,
            dict(entry.split("=", 1) for entry in config["Env"]) if image else {},
            tuple(config["Entrypoint"]),
            tuple(config["Cmd"]),
            config["WorkingDir"],
            RUNNING,
        )
        function = FunctionVersion("bench", "1", "", memory=1024, timeout=30)
        _, env = launch(function, rootfs, "127.0.0.1:9", self._folder)
        if path:
            env["PYTHONPATH"] = os.pathsep.join(map(str, path))
        # No process of a benchmark reports home.
        quiet = {
            "ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "true",
        }  # fmt: skip
        return {**env, **quiet, **more}


class Encoder(Bench):
    """The sentence encoder, as `slim` makes it of one ONNX file."""

    word = "large "

    def __init__(self, folder: Path, store: Store) -> None:
        source, made = folder / "encoder.onnx", folder / "large model"
        source.write_bytes(encoder.encoder().SerializeToString())
        sample, ids = folder / "tokens.npz", encoder.tokens(32)
        np.savez(sample, **dict(zip(encoder.INPUTS, (ids, np.ones_like(ids)), strict=True)))
        job = Job(Order(source, sample), content_sha256(source), made)
        self.form = run(job, lambda _: None).ladder["kept"]
        super().__init__(folder, store, made, encoder.request())
        # Below the root, so that it leaves the page cache with all else.
        self._one_file = str(source.rename(self.root / source.name))
        self._right = folder / "vector.json"
        self._right.write_text(json.dumps(encoder.answer(self._one_file)))

    def starts(self) -> dict[str, Start]:
        """Return the floor on the one file, and ours."""
        floor = (self._one_file, str(encoder.TOKENS))
        ours = (self._event, str(self._right))
        return {
            "large floor": Start(LARGE_FLOOR, floor, self.env(self._whole), "ran"),
            "large ours": Start(LARGE_OURS, ours, self.env(image=True), "near"),
        }

    def sessions(self, rounds: int) -> tuple[dict[str, list[float]], float]:
        """Open the model in fresh processes, in turns; return ms by name, and our share of memory.

        The share is the median of the ratios of what the processes grew by.
        """
        tiny, ours = self._folder / "tiny.onnx", self.root / MODEL_DIRECTORY / MODEL
        tiny.write_bytes(encoder.tiny().SerializeToString())
        starts = {
            "session of large floor": (self._one_file, "default", self.env(self._whole)),
            "session of large ours": (str(ours), "ours", self.env(image=True)),
        }
        times: dict[str, list[float]] = {name: [] for name in starts}
        grown: dict[str, list[float]] = {name: [] for name in starts}
        for _ in range(rounds):
            for name, (path, how, env) in starts.items():
                told = said(Start(SESSION, (str(tiny), path, how), env, ""), self._folder)
                ms, size = told.split()
                times[name].append(float(ms))
                grown[name].append(float(size))
        return times, ratio(grown["session of large ours"], grown["session of large floor"])


class Classifier(Bench):
    """The classifier as a model directory, and as it was trained for the peers."""

    def __init__(self, folder: Path, store: Store) -> None:
        model, request = folder / "model", classifier.request()
        model.mkdir()
        classifier.write_model(model)
        super().__init__(folder, store, model, request)
        self._joblib = folder / "model.joblib"
        self._label = self._train(request)

    def _train(self, request: Mapping[str, Any]) -> str:
        """Keep the classifier for the peers, and return the label that all must answer."""
        import joblib
        import numpy as np

        model, _ = classifier.train()
        joblib.dump(model, self._joblib)
        (record,) = json.loads(request["body"])["records"]
        return str(int(model.predict(np.array([list(record.values())], np.float32))[0]))

    def starts(self) -> dict[str, Start]:
        """Return what starts from the image's own files."""
        tree, onnx = self._whole, str(self.root / MODEL_DIRECTORY / "model.onnx")
        bare = self._folder / "bare"
        shutil.copytree(tree, bare, ignore=shutil.ignore_patterns("__pycache__"))
        tuned = self.env(tree, OPENBLAS_NUM_THREADS="1")
        handler = (self._event, onnx)
        return {
            "floor": Start(FLOOR, (onnx, "default"), self.env(tree), "ran"),
            "tuned floor": Start(FLOOR, (onnx, "tuned"), tuned, "ran"),
            "bare engine": Start(ENGINE, (onnx,), self.env(image=True), "ran"),
            "ours": Start(OURS, (self._event,), self.env(image=True), self._label),
            "plain imports": Start(PLAIN, (self._event,), self.env(image=True), self._label),
            "tutorial handler": Start(ONNX_TUTORIAL, handler, self.env(tree), self._label),
            "without bytecode": Start(ONNX_TUTORIAL, handler, self.env(bare), self._label),
        }

    def opened(self) -> Start:
        """Return the start that counts the files which ours opens below the dependencies."""
        return Start(OPENED, (self._event, str(self.root / AT)), self.env(image=True), "")

    def peer(self, peer: Peer) -> Start:
        """Install a peer where that was not done, save its model, and return its start.

        Raises:
            LockError: it cannot be installed.

        """
        # The versions that trained the classifier, so that its pickle can be read.
        same = [f"{name}=={version(name)}" for name in ("scikit-learn", "numpy")]
        wanted = " ".join((RUNNING, *peer.packages, *same))
        home = BUILD / "peers" / peer.folder
        python, done = home / "bin" / "python", home / "installed.txt"
        if not done.is_file() or done.read_text() != wanted:
            home.parent.mkdir(exist_ok=True)
            failure = f"{peer.name} cannot be installed"
            arguments = ["venv", "--clear", "--python", interpreter(RUNNING), str(home)]
            run_uv(arguments, home.parent, failure)
            arguments = ["pip", "install", "--compile-bytecode", "--python", str(python)]
            run_uv([*arguments, *peer.packages, *same], home.parent, failure)
            done.write_text(wanted)
        model = self._joblib
        if peer.name == "MLflow":
            model = self._folder / "mlflow"
            subprocess.run(
                [python, "-c", SAVE_MLFLOW, self._joblib, model],
                env=self.env(), stderr=subprocess.DEVNULL, check=True,
            )  # fmt: skip
        env = self.env(self._site(peer))
        return Start(peer.code, (self._event, str(model)), env, self._label)

    def _site(self, peer: Peer) -> Path:
        return BUILD / "peers" / peer.folder / "lib" / f"python{RUNNING}" / "site-packages"

    def versions(self, peer: Peer) -> dict[str, str]:
        """Return the version of a peer's first package."""
        path = [str(self._site(peer))]
        found = distributions(name=peer.packages[0], path=path)
        return {one.name: one.version for one in found}


def timed(
    starts: Mapping[str, Start],
    rounds: int,
    folder: Path,
    before: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Start everything once a round, in alternating order; return ms to the first answer."""
    times: dict[str, list[float]] = {name: [] for name in starts}
    for number in range(-1, rounds):  # the first round only warms the page cache
        for name in list(starts) if number % 2 else reversed(list(starts)):
            before()
            started = time.perf_counter()
            answer, ended = answered(starts[name], folder)
            if answer != starts[name].says:
                raise SystemExit(f"{name} answers {answer!r}, not {starts[name].says!r}")
            if number >= 0:
                times[name].append((ended - started) * 1000)
    return times


def said(start: Start, folder: Path) -> str:
    """Start a process and return what it says."""
    return answered(start, folder)[0]


def answered(start: Start, folder: Path) -> tuple[str, float]:
    """Start a process; return what it says, and when. It has ended when this returns."""
    reader, writer = os.pipe()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [interpreter(RUNNING), "-S", "-c", start.code, *start.arguments, str(writer)],
            env=dict(start.env), cwd=folder / "model", pass_fds=(writer,),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        os.close(writer)
        try:
            ready, _, _ = select.select([reader], [], [], SECONDS)
            answer = os.read(reader, 100) if ready else b""
            ended = time.perf_counter()
            if ready:
                process.wait(SECONDS)
        finally:
            os.close(reader)
            process.kill()  # does nothing to one that has ended
            process.wait()
    if not answer:
        log_end = (folder / "log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"a start gave no answer:\n{log_end}")
    return answer.decode(), ended


def ratio(ones: list[float], others: list[float]) -> float:
    """Return the median over rounds of one time over the other."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def evict(root: Path) -> None:
    """Take a tree's files out of the page cache."""
    for path in files(root):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def cached_share(root: Path) -> float | None:
    """Evict a tree and return the share of files still in memory, None where none can tell."""
    evict(root)
    try:
        found = [_cached(path) for path in files(root)]
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return None
    return sum(found) / len(found)


def _cached(path: Path) -> bool:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.preadv(handle, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def files(root: Path) -> list[Path]:
    """Return the files of a tree that have content."""
    return [
        path
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_size
    ]


def show(result: Mapping[str, Any]) -> None:
    """Print a line for each start, with its goal, then the image's size."""
    goals = {name.partition(" / ")[0]: name for name in GOALS}
    figures = result["figures"]
    print(f"{'start to first answer':<24}{'ms':>8}{'/ floor':>9}{'/ ours':>9}  goal")
    for name in dict.fromkeys([*result["ms"], *(n for n in goals if n not in LONE)]):
        word = "".join(word for word in ("evicted ", "session of ", "large ") if word in name)
        ratios = [figures.get(f"{name} / {word}{other}") for other in ("floor", "ours")]
        cells = "".join(f"{_cell(value, 2):>9}" for value in ratios)
        line = f"{name:<24}{_cell(result['ms'].get(name), 0):>8}{cells}"
        print(f"{line}  {_goal(result, goals.get(name))}".rstrip())
    for name in LONE:
        print(f"{name:<24}{_cell(figures.get(name), 2):>8}{'':18}  {_goal(result, name)}")
    print(f"the large model is kept as {result['large form']}")
    print(f"files opened below {AT} by ours: {result[f'files opened below {AT}']}")


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _goal(result: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        return ""
    line = result["goals"][name]
    what = "" if name in LONE else f"{name} "
    return f"{what}{line['goal']}: {line['verdict']}"


if __name__ == "__main__":
    sys.exit(main())
