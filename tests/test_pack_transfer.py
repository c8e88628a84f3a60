"""Pushes and pulls of much: what a kill costs, how much memory they take, what they say."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pack_cases import small_image

from fnmodel.cli.console import Step
from fnmodel.errors import RegistryError
from fnmodel.pack import compression, layer
from fnmodel.pack.image import Descriptor, Image, empty
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
from fnmodel.pack.transfer import Report, in_parallel
from fnmodel.testing import InMemoryRegistry
from fnmodel.units import Passing

NAME = "fnmodel/churn"
MB = 1 << 20

PUSH = """
import sys
from pathlib import Path
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
url, root, digest = sys.argv[1:]
store = Store(Path(root))
Registry(url).push(store.load(digest), store, "fnmodel/churn", "v1")
"""

# Peak memory of what is done after the imports, as the kernel keeps it for a process.
PEAK = """
import sys
from pathlib import Path
from fnmodel.pack import compression, layer
from fnmodel.pack.layout import Store
from fnmodel.pack.registry import Registry
def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10
what, url, root, argument = sys.argv[1:]
store = Store(Path(root))
before = peak()
if what == "push":
    Registry(url).push(store.load(argument), store, "fnmodel/churn")
elif what == "pull":
    Registry(url).pull("fnmodel/churn", argument, store)
else:
    layer.write(store, {"model.bin": Path(argument)}, "test", compression.stored)
print(peak() - before)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def layered(store: Store, *sizes: int) -> Image:
    """Return an image of one layer a size, none of which another push has left somewhere."""
    image = empty("x86_64")
    for number, size in enumerate(sizes):
        files: dict[str, layer.Content] = {f"{number}.bin": os.urandom(size)}
        image = image.append(layer.write(store, files, "test", compression.stored))
    store.save(image)
    return image


def test_a_push_killed_at_any_moment_sends_only_what_is_missing(store: Store) -> None:
    """Killed at its first request, its second, at each megabyte: the repetition adds the rest.

    The server kills the process itself, at a step of the conversation, and counts bytes.
    """
    image = layered(store, 3 * MB, 2 * MB, MB // 2)
    sizes = {one.descriptor.digest: one.size for one in image.layers}
    sizes[image.config_descriptor.digest] = image.config_descriptor.size
    killed = 0
    for moment in range(1, 100):
        left, ended = kill_at(moment, image, store, sizes)
        killed += not ended
        if ended:
            break

    assert ended
    assert left == 0
    assert killed > 12, "each blob has a question, a session and a content"


def kill_at(moment: int, image: Image, store: Store, sizes: dict[str, int]) -> tuple[int, bool]:
    """Kill a push at its n-th step and push again; return bytes left, and whether it had ended."""
    started = threading.Event()
    steps = 0
    process: subprocess.Popen[bytes] | None = None

    def step() -> None:
        nonlocal steps
        started.wait()
        steps += 1
        if steps == moment and process is not None:
            process.kill()
            process.wait()

    with InMemoryRegistry(arrived=step) as fake:
        process = subprocess.Popen(
            [sys.executable, "-c", PUSH, fake.url, str(store.root), image.digest]
        )
        started.set()
        code, process = process.wait(60), None
        wait_until(lambda: fake.connections == 0)
        there = fake.blobs(NAME).keys() & sizes.keys()
        left = sum(size for digest, size in sizes.items() if digest not in there)
        fake.received = 0
        registry = Registry(fake.url)
        registry.push(image, store, NAME, "v1")
        registry.close()

        assert fake.received == left
        assert fake.tags(NAME) == {"v1": image.digest}
    assert code in (0, -9)
    return left, code == 0


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait ten seconds at most for something to become true."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("what", ["pack", "push", "pull"])
def test_memory_does_not_grow_with_the_blob(what: str, store: Store, tmp_path: Path) -> None:
    """Packing, pushing or pulling 300 MB takes less than a tenth of that in memory."""
    size = 300 * MB
    source = tmp_path / "model.bin"
    with source.open("wb") as file:
        file.truncate(size)
    argument, root, url = str(source), store.root, "http://127.0.0.1:9"
    with InMemoryRegistry() as fake:
        if what != "pack":
            made = layer.write(store, {"model.bin": source}, "test", compression.stored)
            image = empty("x86_64").append(made)
            store.save(image)
            argument, url = image.digest, fake.url
        if what == "pull":
            Registry(url).push(image, store, NAME)
            root = tmp_path / "other"
        said = subprocess.run(
            [sys.executable, "-c", PEAK, what, url, str(root), argument],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        if what == "push":
            assert fake.received > size

    assert 0 < int(said.stdout) < size / 10


def test_a_long_push_says_how_far_it_is(store: Store) -> None:
    """Bytes are told in the calling thread; a terminal shows them, a log only the blobs."""
    image = layered(store, 3 * MB, 2 * MB)
    said: list[tuple[str, bool]] = []
    here = threading.current_thread()

    with InMemoryRegistry(arrived=lambda: time.sleep(0.08)) as fake:
        Registry(fake.url).push(
            image, store, NAME,
            progress=lambda text: said.append((text, threading.current_thread() is here)),
        )  # fmt: skip
    counts = [text for text, _ in said if isinstance(text, Passing)]

    assert counts
    assert all(text.endswith(" of 5.2 MB") for text in counts)
    assert all(in_caller for _, in_caller in said)
    assert len([text for text, _ in said if text.endswith("pushed")]) == 3


def test_a_log_gets_no_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten lines a second help nobody who reads them later."""
    step = Step("push", live=False)
    step.progress(Passing("1.0 MB of 2.0 MB"))
    step.progress("0123456789ab (2.0 MB) pushed")

    assert capsys.readouterr().err == "push       0123456789ab (2.0 MB) pushed …\n"


def test_one_failure_stops_what_is_under_way() -> None:
    """A blob that is refused ends the push at once, not after the others have arrived."""
    blobs = [Descriptor("x", f"sha256:{n:064x}", 1000 * MB) for n in range(9)]
    begun: list[Descriptor] = []

    def move(blob: Descriptor, report: Report) -> str:
        begun.append(blob)
        if blob is blobs[1]:
            time.sleep(0.1)
            message = "refused"
            raise RegistryError(message)
        for second in range(1000):
            report(second * MB)
            time.sleep(0.01)
        return "moved"

    began = time.monotonic()
    with pytest.raises(RegistryError, match="refused"):
        in_parallel(move, blobs, lambda _: None)

    assert time.monotonic() - began < 5
    assert len(begun) < len(blobs)


def test_a_blob_that_two_layers_share_moves_once(store: Store) -> None:
    """The same content twice in an image is one blob."""
    image = small_image(store)
    twice = image.append(image.layers[0])
    with InMemoryRegistry() as fake:
        Registry(fake.url).push(twice, store, NAME)

        assert sum(request.startswith("PUT") for request in fake.requests) == 3
