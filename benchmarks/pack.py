"""What building and pushing an image costs, against the plain way and against other tools.

    python benchmarks/pack.py [--rounds 3] [--peers] [--check] [--json]

The image has the runtime's locked dependencies, fnmodel's code, and a model of 100 MB of weights.
Everything is built here, in one run, and all take turns; a ratio is the median over rounds of the
ratio in a round. CPU is that of this process and of those that it starts.

    plain       the standard library's way, without cache: the same lock installed by uv with
                bytecode, nothing pruned; tarfile and gzip at its default level; both digests
    hashing     reading and hashing the files that go into the image once
    skopeo      `skopeo copy` of the same image layout into the same registry, Debian's
                docker-registry on a loopback port, started empty in each round
    --peers     pyoci's registry client, from a virtual environment below build/peers; it speaks
                TLS only, and so does the registry for all

Goals: building the image new costs at most 0.4 of the plain way's CPU (gate 0.6), a changed model
at most 0.12 of its CPU (gate 0.2) and 1 s; a build with nothing to do takes at most 0.1 of the time
that hashing the inputs takes (gate 0.3); our layers of dependencies and code are at most 0.5 of the
plain ones (gate 0.6); a push of 200 MB takes at most as long as another tool's (gate 1.5), a
repeated one at most as long as skopeo's (gate 1.5), and 0.2 of pyoci's memory. Where no gate is
named, the goal is the gate; `--check` fails where one is missed. `build/bench-pack.json` keeps the
figures.
"""

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import classifier
import numpy as np
from cold import BUILD
from goals import Goal

from fnmodel.errors import LockError
from fnmodel.hashes import Hashes
from fnmodel.interpreter import RUNNING
from fnmodel.model import MODEL, OnnxModel
from fnmodel.pack import compression, layer
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.dependencies import AT, Lock, install_wheels, run_uv
from fnmodel.pack.image import Image, empty, host_architecture
from fnmodel.pack.layout import Store

WEIGHTS = 100 << 20
BLOB = 200 << 20
RECIPE = Recipe("bench", RUNNING, host_architecture())
SIZE = "layers / plain layers"
CHANGED = "changed model, CPU s"
GOALS = {
    "new build / plain, CPU": Goal(0.4, 0.6, at_most=True),
    "changed model / plain, CPU": Goal(0.12, 0.2, at_most=True),
    CHANGED: Goal(1.0, 1.0, at_most=True),
    "unchanged / hashing": Goal(0.1, 0.3, at_most=True),
    SIZE: Goal(0.5, 0.6, at_most=True),
    "push / skopeo": Goal(1.0, 1.5, at_most=True),
    "repeated push / skopeo": Goal(1.0, 1.5, at_most=True),
    "push / pyoci": Goal(1.0, 1.5, at_most=True),
    "memory of a push / pyoci": Goal(0.2, 0.2, at_most=True),
}

# Both pushes of a peer run in a process of their own, which says its seconds and its peak.
_MEASURED = """
import sys, time
from pathlib import Path
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) << 10
{imports}
began = time.perf_counter()
{push}
print(time.perf_counter() - began, peak())
"""
OURS = _MEASURED.format(
    imports="""
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
store = Store(Path(sys.argv[2]))
image = store.load("blob")
""",
    push='Registry(sys.argv[1]).push(image, store, "ours", "v1")',
)
PYOCI = _MEASURED.format(
    imports="""
import json
from pyoci.registry_client import RegistryClient
blobs = Path(sys.argv[2]) / "blobs" / "sha256"
(named,) = json.loads((Path(sys.argv[2]) / "index.json").read_bytes())["manifests"]
manifest = (blobs / named["digest"][7:]).read_bytes()
document = json.loads(manifest)
client = RegistryClient(sys.argv[1].removeprefix("https://"), "pyoci")
""",
    push="""
for item in (*document["layers"], document["config"]):
    client.push_blob(item["digest"], blobs / item["digest"][7:])
client.push_manifest("v1", manifest)
""",
)


@dataclass(frozen=True)
class Spent:
    """Wall and CPU seconds of one piece of work, and the peak of its process's memory in bytes."""

    wall: float
    cpu: float = 0.0
    peak: float = 0.0


def main() -> int:
    """Measure, write `build/bench-pack.json`, and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="measure pyoci too")
    parser.add_argument("--check", action="store_true", help="fail where a gate is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pack-", dir=BUILD) as name:
        result = measured(Path(name), options.rounds, peers=options.peers)
    (BUILD / "bench-pack.json").write_text(json.dumps(result, indent=2) + "\n")
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    missed = any(line["verdict"] == "GATE MISSED" for line in result["goals"].values())
    return int(options.check and missed)


def measured(folder: Path, rounds: int, *, peers: bool) -> dict[str, Any]:
    """Build and push everything in a folder, and return all figures."""
    spent, sizes = building(folder, rounds)
    skipped: dict[str, str] = {}
    try:
        spent |= pushing(folder, rounds, skipped, peers=peers)
    except FileNotFoundError as error:
        skipped["pushing"] = f"{error.filename} is not installed"
    for what, why in skipped.items():
        print(f"{what} is skipped: {why}", file=sys.stderr)

    def ratio(one: str, other: str, of: str = "wall") -> float | None:
        if one not in spent or other not in spent:
            return None
        pairs = zip(spent[one], spent[other], strict=True)
        return statistics.median(getattr(a, of) / getattr(b, of) for a, b in pairs)

    def medians(of: str, unit: float) -> dict[str, float]:
        return {
            name: statistics.median(getattr(one, of) for one in rows) / unit
            for name, rows in spent.items()
        }

    figures = {
        "new build / plain, CPU": ratio("new build", "plain build", "cpu"),
        "changed model / plain, CPU": ratio("changed model", "plain model", "cpu"),
        CHANGED: medians("cpu", 1)["changed model"],
        "unchanged / hashing": ratio("unchanged", "hashing"),
        SIZE: sizes["ours"] / sizes["plain"],
        "push / skopeo": ratio("push", "skopeo"),
        "repeated push / skopeo": ratio("repeated push", "repeated skopeo"),
        "push / pyoci": ratio("push", "pyoci"),
        "memory of a push / pyoci": ratio("push", "pyoci", "peak"),
    }
    return {
        "rounds": rounds,
        "versions": {"python": platform.python_version(), "fnmodel": version("fnmodel")},
        "ms": medians("wall", 1e-3),
        "cpu ms": medians("cpu", 1e-3),
        "peak MB": medians("peak", 1e6),
        "layer bytes": sizes,
        "figures": figures,
        "goals": {
            name: {
                "goal": str(goal),
                "gate": goal.gate,
                "value": figures[name],
                "verdict": goal.verdict(figures[name]),
            }
            for name, goal in GOALS.items()
        },
        "skipped": skipped,
    }


def building(folder: Path, rounds: int) -> tuple[dict[str, list[Spent]], dict[str, int]]:
    """Build new, with nothing to do, and with a changed model; return bytes of layers too."""
    spent: dict[str, list[Spent]] = {}
    model = folder / "model"
    model.mkdir()
    classifier.write_model(model)
    chance = np.random.default_rng(7)
    sizes: dict[str, int] = {}

    def train() -> None:
        """Leave other weights behind; pack does not read what they mean."""
        (model / MODEL).write_bytes(chance.normal(size=WEIGHTS // 4).astype(np.float32).tobytes())

    def ours(store: Store) -> Image:
        return build(OnnxModel.load(model, hashes), RECIPE, store)

    # As if the model had lain still for a while, as it does between two builds.
    hashes = Hashes(folder / "hashes", clock=lambda: time.time_ns() + 60 * 10**9)
    train()
    install_wheels(Lock.load(RUNNING), RECIPE.architecture, folder / "warm")  # uv's cache
    for number in range(rounds):
        store = Store(folder / f"store-{number}")
        plain = folder / f"plain-{number}"
        plain.mkdir()
        image: list[Image] = []
        once(spent, "new build", lambda store=store, image=image: image.append(ours(store)))
        sizes["ours"] = sum(one.size for one in image[0].layers if ": model" not in one.created_by)
        once(spent, "plain build", lambda plain=plain: sizes.update(plain=plain_build(plain)))
        once(spent, "hashing", lambda plain=plain: hash_all(model, plain / "tree"))
        once(spent, "unchanged", lambda store=store: ours(store))
        train()
        once(spent, "changed model", lambda store=store: ours(store))
        once(spent, "plain model", lambda plain=plain: plain_layer(model, plain / "model.tar.gz"))
        shutil.rmtree(store.root)
        shutil.rmtree(plain)
    return spent, sizes


def once(spent: dict[str, list[Spent]], name: str, work: Callable[[], object]) -> None:
    """Do some work, and add what it took."""
    cpu, began = _cpu(), time.perf_counter()
    work()
    ended = time.perf_counter()
    spent.setdefault(name, []).append(Spent(ended - began, _cpu() - cpu))


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)


def plain_build(folder: Path) -> int:
    """Install, compile, archive and compress as a script would; return the layer's bytes."""
    tree = folder / "tree"
    install_wheels(Lock.load(RUNNING), RECIPE.architecture, tree)
    subprocess.run([sys.executable, "-m", "compileall", "-q", tree], check=True)
    plain_layer(folder.parent / "model", folder / "model.tar.gz")
    return plain_layer(tree, folder / "tree.tar.gz")


def plain_layer(source: Path, target: Path) -> int:
    """Write a folder as a layer with the standard library, with both digests; return its bytes."""
    tar = target.with_suffix("")
    with tarfile.open(tar, "w") as archive:
        archive.add(source, AT)
    with tar.open("rb") as file:
        hashlib.file_digest(file, "sha256")
        file.seek(0)
        with gzip.GzipFile(target, "wb", mtime=0) as packed:
            shutil.copyfileobj(file, packed, 1 << 20)
    with target.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    tar.unlink()
    return target.stat().st_size


def hash_all(*folders: Path) -> None:
    """Read and hash every file, as a build without a memory of files must."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    hashlib.file_digest(file, "sha256")


def pushing(
    folder: Path, rounds: int, skipped: dict[str, str], *, peers: bool
) -> dict[str, list[Spent]]:
    """Push an image of one layer of 200 MB, and once more, with each tool, into empty registries.

    Raises:
        FileNotFoundError: skopeo, docker-registry or openssl is not installed.

    """
    store, content = Store(folder / "blob"), folder / "blob.bin"
    with content.open("wb") as file:
        file.writelines(os.urandom(1 << 20) for _ in range(BLOB >> 20))
    made = layer.write(store, {"blob.bin": content}, "blob", compression.stored)
    store.add_reference("blob", empty(RECIPE.architecture).append(made))
    layout = store.export(store.load("blob"), folder / "layout", "blob")
    keys = certificate(folder)
    # Without the start of its process: ours runs in one that has imported what it needs, too.
    start = statistics.median(timed(["skopeo", "--version"]) for _ in range(5))
    copy = ["skopeo", "--insecure-policy", "copy", "-q", f"--dest-cert-dir={keys}"]
    copy.append(f"oci:{layout}:blob")

    def skopeo(url: str) -> Spent:
        target = f"docker://{url.removeprefix('https://')}/skopeo:v1"
        return Spent(timed([*copy, target]) - start)

    tools: dict[str, Callable[[str], Spent]] = {
        "push": lambda url: said(sys.executable, OURS, url, store.root, keys),
        "skopeo": skopeo,
    }
    if peers:
        try:
            python = installed("pyoci")
            tools["pyoci"] = lambda url: said(python, PYOCI, url, layout, keys)
        except LockError as error:
            skipped["pyoci"] = str(error)
    spent: dict[str, list[Spent]] = {}
    for number in range(rounds):
        with registry(folder / f"registry-{number}", keys) as url:
            for name in list(tools) if number % 2 else reversed(list(tools)):
                spent.setdefault(name, []).append(tools[name](url))
            for name in ("push", "skopeo"):
                spent.setdefault(f"repeated {name}", []).append(tools[name](url))
    return spent


def timed(command: list[str]) -> float:
    """Run a command and return its seconds."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def said(python: Path | str, code: str, url: str, root: Path, keys: Path) -> Spent:
    """Run one of the scripts above and return what it said."""
    trusted = str(keys / "ca.crt")
    environment = {**os.environ, "AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted}
    done = subprocess.run(
        [python, "-c", code, url, str(root)],
        env=environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    seconds, peak = map(float, done.stdout.split())
    return Spent(seconds, peak=peak)


def installed(package: str) -> Path:
    """Return the Python of a virtual environment with a package, made where it is missing.

    Raises:
        LockError: it cannot be installed.

    """
    home = BUILD / "peers" / package
    python, done = home / "bin" / "python", home / "installed.txt"
    if not done.is_file():
        home.parent.mkdir(exist_ok=True)
        failure = f"{package} cannot be installed"
        run_uv(["venv", "--clear", "--python", sys.executable, str(home)], home.parent, failure)
        run_uv(["pip", "install", "--python", str(python), package], home.parent, failure)
        done.write_text(package)
    return python


def certificate(folder: Path) -> Path:
    """Make a certificate of this machine's own address; return its folder, as skopeo wants it."""
    keys = folder / "keys"
    keys.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=benchmark", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", folder / "registry.key", "-out", keys / "ca.crt"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return keys


@contextlib.contextmanager
def registry(folder: Path, keys: Path) -> Iterator[str]:
    """Run an empty registry with TLS for the length of a block, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    folder.mkdir()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{address}', secret: benchmark, "
        f"tls: {{certificate: {keys}/ca.crt, key: {keys.parent}/registry.key}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
        )
    try:
        wait_for(address, server, folder / "log")
        yield f"https://{address}"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a server listens."""
    host, _, port = address.partition(":")
    end = time.monotonic() + 30
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"the registry does not start:\n{log.read_text()[-2000:]}")


def show(result: Mapping[str, Any]) -> None:
    """Print what each piece of work took, then each figure with its goal."""
    print(f"{'':<18}{'ms':>10}{'CPU ms':>10}{'peak MB':>10}")
    for name, wall in result["ms"].items():
        cpu, peak = result["cpu ms"][name], result["peak MB"][name]
        print(f"{name:<18}{wall:>10.0f}{_cell(cpu, 0)}{_cell(peak, 0)}".rstrip())
    print()
    for name, value in result["figures"].items():
        goal = result["goals"].get(name)
        words = f"  {goal['goal']}: {goal['verdict']}" if goal else ""
        print(f"{name:<28}{_cell(value, 2)}{words}")
    ours, plain = (result["layer bytes"][name] / 1e6 for name in ("ours", "plain"))
    print(f"layers of dependencies and code: {ours:.1f} MB; plain: {plain:.1f} MB")


def _cell(value: float | None, digits: int) -> str:
    return f"{f'{value:.{digits}f}' if value else '':>10}"


if __name__ == "__main__":
    sys.exit(main())
