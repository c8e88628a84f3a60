"""A real base from Debian's packages: the image's own Python compiles, starts and answers."""

import json
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from pack_cases import golden, model_directory, program, small_base, tiny_wheels
from serve_cases import event

from fnmodel import bubblewrap
from fnmodel.errors import PackError
from fnmodel.local.dataplane import DataPlane
from fnmodel.local.launch import FunctionVersion, RootFs
from fnmodel.pack import debian
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack
from fnmodel.pack.survey import survey

PYTHON = "3.13"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the base once: half a minute."""
    program("mmdebstrap")
    folder = tmp_path_factory.mktemp("debian") / "base"
    debian.make(PYTHON, "x86_64", folder)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def image(base: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Image:
    program("bwrap")
    model = model_directory(tmp_path_factory.mktemp("model"), factor=2.5)
    return build(model, Recipe("churn", PYTHON, "x86_64", f"oci:{base}:trixie"), store)


@pytest.fixture(scope="module")
def plane(
    image: Image, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataPlane]:
    """Run the image in its own files."""
    folder = tmp_path_factory.mktemp("plane")
    config = image.settings["config"]
    root = unpack(image, store, folder / "root")
    (root / "var/task/die.py").write_text("import os\n\ndef handler(*_):\n    os.abort()\n")
    rootfs = RootFs(
        root=root,
        env=dict(one.partition("=")[::2] for one in config["Env"]),
        entrypoint=tuple(config["Entrypoint"]),
        cmd=tuple(config["Cmd"]),
        working_dir=config["WorkingDir"],
        python=PYTHON,
    )
    plane = DataPlane(lambda _: rootfs, folder / "sandboxes", extra_env={})
    yield plane
    plane.close()


def invoke(plane: DataPlane, given: object, **changes: object) -> tuple[dict[str, object], str]:
    settings = {"memory": 512, "timeout": 20, "environment": {}, **changes}
    function = FunctionVersion(name="fn", version="1", image_uri="r@sha256:0", **settings)  # type: ignore[arg-type]
    outcome = plane.invoke(function, "arn:aws:fn:1", json.dumps(given).encode(), "req-1")
    return json.loads(outcome.payload), outcome.log


@pytest.mark.debian
def test_the_base_is_fit_for_lambda(base: Path) -> None:
    """No device, hard link or setuid program; bytecode of the library; accounts, certificates."""
    store = Store(base)
    found = survey(store.load("trixie").layers[0], store)
    paths = {entry.path for entry in found.entries}

    assert {entry.kind for entry in found.entries} == {"file", "folder", "link"}
    assert not [entry.path for entry in found.entries if entry.mode & 0o6000]
    assert {"usr/bin/python3.13", "etc/passwd", "etc/ssl/certs/ca-certificates.crt"} <= paths
    assert "usr/lib/python3.13/json/__pycache__/decoder.cpython-313.pyc" in paths
    assert not [path for path in paths if path.startswith("usr/share/man/")]
    assert not [path for path in paths if path.endswith(".deb")]
    sizes = {entry.path: entry.size for entry in found.entries}
    # Where this machine's packages come from is nobody's business; what they are, scanners read.
    assert sizes["etc/apt/sources.list"] == 0
    assert sizes["var/lib/dpkg/status"] > 10_000
    assert found.size < 100e6
    assert found.has
    assert found.has >= (2, 41)


@pytest.mark.debian
def test_the_images_own_python_answers(plane: DataPlane) -> None:
    """The base's Python runs the handler; the host's minor version does not matter."""
    request = event("predict", body={"records": [{"x": 4.0}]})
    answer, log = invoke(plane, request)

    assert answer["statusCode"] == 200
    assert json.loads(str(answer["body"]))["predictions"] == [{"value": 10.0}]
    assert "Init Duration" in log
    # Of the process and its children: bubblewrap's own memory is 2 MB.
    assert int(log.rpartition("Max Memory Used: ")[2].partition(" MB")[0]) > 20


@pytest.mark.debian
def test_the_sandbox_is_the_images_own_files_read_only(image: Image, store: Store) -> None:
    """A process sees the image alone, may write to /tmp only, and not see other processes."""
    with_root = unpack(image, store, store.root / "root")
    tmp = store.root / "tmp"
    tmp.mkdir()
    script = (
        "import os, sys\n"
        "print(sum(name.isdigit() for name in os.listdir('/proc')))\n"
        "open('/tmp/there', 'w').close()\n"
        "for path in ('/var/task/x', '/x', '/opt/python/x'):\n"
        "    try: open(path, 'w')\n"
        "    except OSError as error: print(error.errno)\n"
        "print(sys.version_info[:2], os.getcwd(), os.getpid())\n"
    )
    words = bubblewrap.in_place(with_root, tmp, "/var/task")
    done = subprocess.run(
        [*words, "/usr/bin/python3.13", "-I", "-c", script],
        env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.split("\n")[:5] == ["2", "30", "30", "30", "(3, 13) /var/task 2"]
    assert (tmp / "there").exists()


@pytest.mark.debian
def test_a_process_that_dies_in_the_sandbox_is_named_by_its_signal(plane: DataPlane) -> None:
    """Bubblewrap hands a signal on as 128 + n; the report says what Lambda's would."""
    answer, log = invoke(plane, {}, command=("die.handler",))

    assert answer["errorType"] == "Runtime.ExitError"
    assert "signal: SIGABRT" in log


@pytest.mark.debian
def test_bytecode_comes_from_the_bases_python(image: Image, store: Store) -> None:
    """The layers above hold bytecode of the base's minor version and of no other."""
    names = [
        entry.path
        for layer in image.layers[1:]
        for entry in survey(layer, store).entries
        if entry.path.endswith(".pyc")
    ]

    assert len(names) > 300
    assert not [name for name in names if not name.endswith(".cpython-313.pyc")]


@pytest.mark.debian
def test_what_lies_in_the_image_is_what_was_reviewed(image: Image, store: Store) -> None:
    """Each file above the base stands in a golden list, with its size; bytecode beside it."""
    rows = []
    for layer in image.layers[1:]:
        if layer.created_by == "fnmodel pack: imports":
            continue  # as long as Debian's Python is
        ours = "var/task/" if "code" in layer.created_by else None
        for entry in survey(layer, store).entries:
            if entry.kind == "folder" or entry.path.endswith((".pyc", ".bundle")):
                continue
            # The size of our own code changes with each line of it.
            size = "" if ours and entry.path.startswith(ours) else f"  {entry.size}"
            rows.append(f"{entry.path}{size}")
    golden("image-3.13-x86_64.txt", "".join(f"{row}\n" for row in rows))


@pytest.mark.debian
def test_the_config_is_what_was_reviewed(image: Image) -> None:
    """Variables, labels, entry point and history; digests of what changes are left out."""
    settings = image.settings
    settings["rootfs"]["diff_ids"] = len(settings["rootfs"]["diff_ids"])
    labels = settings["config"]["Labels"]
    for name in ("io.fnmodel.lock", "io.fnmodel.model", "io.fnmodel.tool"):
        assert labels.pop(name)
    named = [one.partition("=") for one in settings["config"]["Env"]]
    settings["config"]["Env"] = [
        name if name == "FNMODEL_MODEL_VERSION" else f"{name}={value}" for name, _, value in named
    ]
    golden("config-3.13-x86_64.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")


@pytest.mark.debian
def test_other_tools_take_and_run_the_image(image: Image, store: Store, tmp_path: Path) -> None:
    """Skopeo keeps its digest, umoci unpacks it, podman runs it read-only as another user."""
    skopeo, umoci, podman = program("skopeo"), program("umoci"), program("podman")
    layout = store.export(image, tmp_path / "layout")
    told = subprocess.run(
        [skopeo, "inspect", f"oci:{layout}:latest"], capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout)["Digest"] == image.digest
    bundle = tmp_path / "bundle"
    subprocess.run(
        [umoci, "unpack", "--image", f"{layout}:latest", str(bundle)],
        capture_output=True, check=True,
    )  # fmt: skip
    assert (bundle / "rootfs/var/task/handlers/model.py").is_file()
    with tempfile.TemporaryDirectory() as short:  # podman takes 50 characters at most
        port = free_port()
        ran = podman_run(podman, short, f"oci:{layout}:latest", port)
        try:
            answer = ask(port, "/predict", b'{"records": [{"x": 4.0}]}', ran)
            assert json.loads(answer)["predictions"] == [{"value": 10.0}]
            ran.terminate()
            assert ran.wait(30) == 0
        finally:
            ran.kill()
            ran.communicate()


def podman_run(podman: str, folder: str, image: str, port: int) -> "subprocess.Popen[bytes]":
    """Start an image's own entry point, read-only, as a user that the image does not know."""
    return subprocess.Popen(
        [
            podman, "--runtime", "runc", "--root", f"{folder}/root", "--runroot", f"{folder}/run",
            "run", "--rm", "--network", "host",
            # The defaults ask for more than a container in a container may have.
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
            "--read-only", "--tmpfs", "/tmp", "--user", "1234",
            "--env", f"PORT={port}", "--env", "FNMODEL_HOST=127.0.0.1", image,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ask(port: int, path: str, body: bytes, server: "subprocess.Popen[bytes]") -> bytes:
    """Post to a server as soon as it listens; podman unpacks the image first."""
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, 20) as answer:
                content: bytes = answer.read()
                return content
        except OSError:
            time.sleep(0.1)
    server.kill()
    pytest.fail(f"no answer: {server.communicate()[0].decode()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.debian
def test_a_base_whose_python_does_not_start_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """The base's own Python compiles; when it cannot, the error says which one it was."""
    program("bwrap")
    other = Store(tmp_path / "base")
    other.add_reference("v1", small_base(other))
    recipe = Recipe("churn", "3.11", "x86_64", f"oci:{tmp_path / 'base'}:v1")
    with pytest.raises(PackError) as caught:
        build(
            model_directory(tmp_path / "model"), recipe, Store(tmp_path / "s"), install=tiny_wheels
        )

    assert "/usr/bin/python3.11" in caught.value.hint


def test_a_python_that_no_suite_has_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """Each Debian suite has one Python; a folder with other things is not written to."""
    with pytest.raises(PackError, match=r"no Debian suite has Python 3\.12") as caught:
        debian.make("3.12", "x86_64", tmp_path)
    assert "3.13" in caught.value.hint
    (tmp_path / "mine").write_text("x")
    with pytest.raises(PackError, match="holds something else"):
        debian.make("3.13", "x86_64", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
