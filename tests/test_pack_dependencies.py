"""The real dependency layer: locked wheels, installed, pruned and compiled; and that it serves.

Slow once (uv, bytecode, compression), then shared by the tests of this file.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from http_cases import serving
from pack_cases import HERE, model_directory, refuse_to_install
from packaging.requirements import Requirement

from fnmodel import bubblewrap
from fnmodel.errors import LockError
from fnmodel.imports import NAME
from fnmodel.local.coldstart import explain, imported
from fnmodel.local.launch import RootFs
from fnmodel.pack import bundle, bytecode
from fnmodel.pack import lock as locks
from fnmodel.pack.build import ENTRYPOINT, Recipe, build
from fnmodel.pack.dependencies import (
    Lock,
    dependency_layer,
    install_wheels,
    runtime_folder,
)
from fnmodel.pack.image import Architecture, Image
from fnmodel.pack.layout import Store
from fnmodel.pack.prune import PruneList
from fnmodel.pack.rootfs import unpack

LARGEST = 36_000_000
"""Bytes of the compressed layer that we promise, numpy included."""

BUILD_ONLY = frozenset(
    "flatbuffers onnx pandas pip platformdirs protobuf rich scikit_learn setuptools skl2onnx sympy "
    "typer uv zlib_ng ministack pyyaml scipy".split()
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("dependencies"))


@pytest.fixture(scope="module")
def installed() -> list[str]:
    """Return the files that uv installed, filled by the build."""
    return []


@pytest.fixture(scope="module")
def image(store: Store, installed: list[str], tmp_path_factory: pytest.TempPathFactory) -> Image:
    def install(lock: Lock, architecture: Architecture, folder: Path) -> None:
        install_wheels(lock, architecture, folder)
        installed.extend(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    model = model_directory(tmp_path_factory.mktemp("model"), factor=2.5)
    return build(model, Recipe("churn", HERE, "x86_64"), store, install=install)


@pytest.fixture(scope="module")
def root(store: Store, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(image, store, tmp_path_factory.mktemp("unpacked") / "root")


def run(root: Path, program: str) -> str:
    """Run a program with nothing but the unpacked image on its path."""
    paths = f"{root}/opt/python:{root}/var/task"
    environment = {
        "PYTHONPATH": paths, "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1",
        "HOME": "/nonexistent", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true",
        "FNMODEL_MODEL_DIR": f"{root}/opt/ml/model", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    done = subprocess.run(
        [sys._base_executable, "-S", "-s", "-c", program],
        env=environment, capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    # A warning at import would stand in the log of every cold start.
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_everything_that_serving_imports_is_there(root: Path) -> None:
    """After pruning, with no other package on the path, the libraries import and work."""
    program = """
import awslambdaric.bootstrap, awslambdaric.__main__
import boto3, fastapi, mangum, numpy, orjson
import aws_lambda_powertools
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext
client = boto3.client("s3")
assert client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
assert client.get_paginator("list_objects_v2") and client.get_waiter("object_exists")
boto3.client("sts")
app = fastapi.FastAPI()
@app.get("/x/{n}")
def x(n: int) -> dict[str, int]: return {"n": n}
event = {"version": "2.0", "routeKey": "$default", "rawPath": "/x/7", "rawQueryString": "",
  "headers": {}, "isBase64Encoded": False, "requestContext": {"http": {"method": "GET",
  "path": "/x/7", "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}}}
answer = mangum.Mangum(app, lifespan="off")(event, None)
assert answer["statusCode"] == 200 and answer["body"] == '{"n":7}', answer
assert app.openapi()["paths"]
print(numpy.__file__, boto3.__file__)
"""
    assert run(root, program).count(f"{root}/opt/python") == 2


def test_the_image_holds_the_engine_once(root: Path) -> None:
    """It is the C library's: the Python package's is an ImportError, not half a package."""
    program = """
from fnmodel.ort.api import installed
print(installed()[0].name)
try:
    import onnxruntime
except ImportError:
    print("there is no package")
"""
    library, package = run(root, program).splitlines()

    assert library.startswith("libonnxruntime.so.")
    assert package == "there is no package"
    assert not list(root.rglob("onnxruntime_pybind11_state*"))


def test_our_code_in_the_image_runs_its_model(root: Path) -> None:
    """The code layer imports by itself and predicts with the model layer."""
    program = """
import os, sys
from pathlib import Path
import fnmodel.aws, fnmodel.errors
from fnmodel.inference import Predictor
print(fnmodel.__file__)
print(Predictor(Path(os.environ["FNMODEL_MODEL_DIR"])).predict([{"x": 4.0}]))
"""
    assert run(root, program).splitlines() == [
        f"{root}/var/task/fnmodel/__init__.py",
        "[{'value': 10.0}]",
    ]


def test_the_handler_in_the_image_answers(root: Path) -> None:
    """What Lambda starts, `handlers.model.handler`, imports nothing that the image has not."""
    program = """
import json, sys
import handlers.batch
from handlers.model import handler
event = {"version": "2.0", "routeKey": "$default", "rawPath": "/v2/health/live",
  "rawQueryString": "", "headers": {}, "isBase64Encoded": False, "requestContext": {"http":
  {"method": "GET", "path": "/v2/health/live", "sourceIp": "1.1.1.1", "protocol": "HTTP/1.1"}}}
context = type("Context", (), {"aws_request_id": "1", "function_name": "f",
  "function_version": "1", "memory_limit_in_mb": 128, "invoked_function_arn": "a"})()
sys.stdout.flush()
print(handler(event, context)["statusCode"])
"""
    assert run(root, program).splitlines()[-1] == "200"


@pytest.mark.skipif(not bubblewrap.works(), reason="bubblewrap does not work here")
def test_the_image_serves_http(root: Path, tmp_path: Path) -> None:
    """The same image is a server, as any user, where nothing at all can be written."""
    python = os.path.realpath(sys._base_executable)
    command = [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--die-with-parent",
        "--unshare-user", "--uid", "123456", "--gid", "0",
        python, *ENTRYPOINT, "handlers.model.handler",
    ]  # fmt: skip
    paths = f"{root}/opt/python:{root}/var/task"
    model = root / "opt/ml/model"
    with serving(model, tmp_path, command, PYTHONPATH=paths, HOME="/nonexistent") as server:
        answer = server.ask("POST", "/predict", {"records": [{"x": 4.0}]})
        document = server.ask("GET", "/openapi.json")

        assert json.loads(answer.body)["predictions"] == [{"value": 10.0}]
        assert document.status == 200
        assert server.errors == ""


@pytest.fixture(scope="module")
def rootfs(image: Image, root: Path) -> RootFs:
    config = image.settings["config"]
    env = dict(line.split("=", 1) for line in config["Env"])
    return RootFs(root, env, tuple(config["Entrypoint"]), tuple(config["Cmd"]), "/var/task", HERE)


PREDICT = {
    "version": "2.0", "routeKey": "$default", "rawPath": "/predict", "rawQueryString": "",
    "headers": {"content-type": "application/json"}, "body": '{"records": [{"x": 4.0}]}',
    "isBase64Encoded": False,
    "requestContext": {"http": {"method": "POST", "path": "/predict", "protocol": "HTTP/1.1",
                                "sourceIp": "127.0.0.1"}},
}  # fmt: skip


def test_the_list_of_imports_is_whole_and_fresh(rootfs: RootFs) -> None:
    """What a real start imports is in the list; of what is in the list, little is not imported.

    `make imports` renews it.
    """
    listed = bundle.startup()
    names = imported(rootfs, json.dumps(PREDICT).encode(), name="churn")
    folders = [rootfs.root / "opt/python", Path(sysconfig.get_path("stdlib"))]

    def size(name: str) -> int:
        files = (at.joinpath(*name.split(".")) for at in folders)
        sources = (p for f in files for p in (f / "__init__.py", f.with_name(f"{f.name}.py")))
        return next((path.stat().st_size for path in sources if path.is_file()), 0)

    assert len(listed) == len(set(listed))
    assert [name for name in names if size(name) and name not in listed] == []
    useless = sum(size(name) for name in set(listed) - set(names))
    assert useless < 0.2 * sum(map(size, listed))


def test_a_cold_start_opens_few_files(rootfs: RootFs) -> None:
    """Of packages only shared libraries and one bundle a layer; of ours what finds the bundles."""
    event = json.dumps(PREDICT).encode()
    opened = explain(rootfs, event, name="churn", runs=1).files
    packages = [path for path in opened if path.startswith("opt/python/")]
    ours = {path.rpartition("/")[2].partition(".")[0] for path in opened if "var/task" in path}

    assert len(packages) <= 10
    assert all(path.endswith((".so", NAME)) or ".so." in path for path in packages)
    assert ours == {"imports", "start", "__init__"}


def test_without_bundles_the_image_answers_the_same(rootfs: RootFs, tmp_path: Path) -> None:
    """The plain import stands in for bundles that are gone, or for another Python."""
    program = """
import json, sys
from fnmodel import imports
imports.install()
import awslambdaric.__main__
from handlers.model import handler
loaders = [type(getattr(m, "__loader__", None)).__module__ for m in list(sys.modules.values())]
print(json.dumps([handler(json.loads(EVENT), None), loaders.count("fnmodel.imports")]))
""".replace("EVENT", repr(json.dumps(PREDICT)))
    with_bundles, served = json.loads(run(rootfs.root, program).splitlines()[-1])
    bundles = list(rootfs.root.rglob(NAME))
    for number, path in enumerate(bundles):
        path.rename(tmp_path / str(number))
    try:
        without, none = json.loads(run(rootfs.root, program).splitlines()[-1])
    finally:
        for number, path in enumerate(bundles):
            (tmp_path / str(number)).rename(path)
    for answer in (with_bundles, without):
        del answer["headers"]["x-request-id"]

    assert json.loads(without["body"])["predictions"] == [{"value": 10.0}]
    assert with_bundles == without
    assert served > 20
    assert none == 0


def test_the_layer_is_as_small_as_promised(image: Image) -> None:
    """36 MB compressed, with numpy and bytecode."""
    assert image.layers[0].size <= LARGEST


def test_no_library_of_the_build_is_in_the_image(root: Path) -> None:
    """What only a build needs would slow each cold start and widen what can be attacked."""
    installed = {
        re.sub(r"[-.]+", "_", distribution.metadata["Name"]).lower()
        for distribution in importlib.metadata.distributions(path=[str(root / "opt/python")])
    }
    names = {path.stem.split(".")[0] for path in (root / "opt/python").iterdir()}

    assert {"numpy", "fastapi", "onnxruntime", "awslambdaric"} <= installed
    assert not installed & BUILD_ONLY
    assert not names & {*BUILD_ONLY, "sklearn", "google", "yaml"}


def test_every_module_has_bytecode_without_paths_of_this_machine(root: Path, store: Store) -> None:
    """No import compiles at a cold start, and no digest depends on where the build ran."""
    tag = f"cpython-{HERE.replace('.', '')}"
    sources = list((root / "opt/python").rglob("*.py"))
    missing = [p for p in sources if not (p.parent / f"__pycache__/{p.stem}.{tag}.pyc").is_file()]
    leaking = [
        path
        for path in (root / "opt/python").rglob("*")
        if path.is_file() and str(store.root).encode() in path.read_bytes()
    ]

    assert len(sources) > 500
    assert missing == []
    assert leaking == []
    assert not list((root / "opt/python").rglob("*.pyi"))
    assert not (root / "opt/python/bin").exists()


def test_record_lists_only_what_is_there(root: Path) -> None:
    """importlib.metadata and scanners see the files that the image has."""
    for record in (root / "opt/python").glob("*.dist-info/RECORD"):
        for line in record.read_text().splitlines():
            assert (root / "opt/python" / line.rsplit(",", 2)[0].strip('"')).is_file(), line


def test_an_unchanged_layer_does_not_touch_uv(image: Image, store: Store) -> None:
    """A hit needs neither the index nor uv nor an interpreter."""
    lock = Lock.load(HERE)
    said: list[str] = []
    layer = dependency_layer(
        store, lock, "x86_64", bytecode.host(HERE), progress=said.append, install=refuse_to_install
    )

    assert layer == image.layers[0]
    assert said == [f"dependencies for Python {HERE}, x86_64: unchanged"]


def test_every_pattern_of_the_prune_list_still_matches(image: Image, installed: list[str]) -> None:
    """A pattern without a file is a review that went stale."""
    listed = PruneList.parse((runtime_folder() / "prune.txt").read_text())
    only_here = {"numpy/distutils"} if HERE != "3.11" else set()

    assert image.layers
    assert set(listed.unused(installed)) <= only_here


@pytest.mark.parametrize("python", locks.VERSIONS)
def test_locks_pin_hashes_and_name_no_index(python: str) -> None:
    """Each requirement is pinned in each lock; a line is a pin or a hash, nothing else."""
    text = Lock.load(python).data.decode()
    lines = (runtime_folder() / "requirements.in").read_text().splitlines()
    stripped = (line.partition("#")[0].strip() for line in lines)
    asked = [Requirement(line) for line in stripped if line]
    wanted = {
        r.name for r in asked if not r.marker or r.marker.evaluate({"python_version": python})
    }
    pinned = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)

    assert wanted <= set(pinned)
    assert "://" not in text
    assert all(
        re.fullmatch(r"[a-z0-9-]+==[\w.+]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line)
        for line in text.splitlines()
    )


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    """A lock that does not fit what the index gives ends in an error of ours, with uv's words."""
    path = tmp_path / f"py{HERE}.txt"
    path.write_text("six==1.17.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(LockError, match=r"(?i)hash") as caught:
        install_wheels(Lock.load(HERE, tmp_path), "arm64", tmp_path / "tree")

    assert "make lock" in caught.value.hint


def test_the_compressor_is_pinned_exactly() -> None:
    """Another zlib-ng may give other bytes, and so other digests, for the same files."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    pins = [item for item in project["project"]["dependencies"] if item.startswith("zlib-ng")]

    assert pins == [f"zlib-ng=={importlib.metadata.version('zlib-ng')}"]


def test_uv_gets_no_variables_that_mislead_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An active environment or a PYTHONPATH does not change what is installed."""
    monkeypatch.setenv("VIRTUAL_ENV", "/nonexistent")
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    lock = Lock.load(HERE)
    six = re.search(r"^six==.*?(?=^\w)", lock.data.decode(), re.MULTILINE | re.DOTALL)
    assert six is not None
    (tmp_path / f"py{HERE}.txt").write_text(six[0])
    install_wheels(Lock.load(HERE, tmp_path), "x86_64", tmp_path / "tree")

    assert (tmp_path / "tree/six.py").is_file()
    assert os.environ["VIRTUAL_ENV"] == "/nonexistent"
