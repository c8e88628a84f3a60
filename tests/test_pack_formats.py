"""Layers for what batch jobs read: there where a job needs them, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pack_cases import HERE, model_directory

from fnmodel.config import BatchJob
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.dependencies import Lock, runtime_folder
from fnmodel.pack.formats import folders
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.lock import VERSIONS, pins, renew
from fnmodel.pack.rootfs import unpack


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Image, Path]:
    """Build the same project with and without Parquet and zstd, and unpack the one with."""
    store = Store(tmp_path_factory.mktemp("store"))
    model = model_directory(tmp_path_factory.mktemp("model"), factor=2.5)
    recipe = Recipe("churn", HERE, "x86_64")
    plain = build(model, recipe, store)
    whole = build(model, recipe, store, formats=("arrow", "zstd"))
    again = build(model, recipe, store, formats=("arrow", "zstd"))
    assert again.digest == whole.digest
    return plain, whole, unpack(whole, store, tmp_path_factory.mktemp("unpacked") / "root")


def test_other_layers_stay_as_they_are(images: tuple[Image, Image, Path]) -> None:
    """All that a format adds are layers of its own, of some twelve megabytes."""
    plain, whole, _ = images
    own = [layer.descriptor.digest for layer in plain.layers]
    added = [layer for layer in whole.layers if layer.descriptor.digest not in own]

    assert [d for d in (one.descriptor.digest for one in whole.layers) if d in own] == own
    assert len(added) == (2 if sys.version_info < (3, 14) else 1)
    assert added[0].descriptor.size < 15_000_000
    assert all(layer.descriptor.size < 1_000_000 for layer in added[1:])


PROGRAM = """
import io, sys
from datetime import UTC, datetime
from pathlib import Path
from arro3.core import Array, RecordBatch, Table
from arro3.io import read_parquet, write_parquet
from fnmodel.batch.job import JobRequest
from fnmodel.batch.packed import zstd
from fnmodel.batch.run import Model, run
from fnmodel.batch.work import Host
from fnmodel.batch.objects import Object
from fnmodel.inference import Predictor
import numpy, os
body = io.BytesIO()
write_parquet(Table.from_pydict({"x": Array.from_numpy(numpy.arange(3, dtype="f4"))}), body)

class Memory:
    def __init__(self): self.contents = {"in/a.parquet": body.getvalue()}
    def list(self, prefix):
        found = sorted(self.contents.items())
        return [Object(k, "e", len(v)) for k, v in found if k.startswith(prefix)]
    def open(self, key, etag): return io.BytesIO(self.contents[key])
    def put(self, key, content, *, if_none_match=False, if_match=None):
        if if_none_match and key in self.contents: return False
        self.contents[key] = content if isinstance(content, bytes) else content.read()
        return True

request = JobRequest("j", "b", "in/", "out/", 0, datetime.now(UTC), "arn", format="parquet",
                     results_compression="zstd")
store = Memory()
manifest = run(request, store, Predictor(Path(os.environ["FNMODEL_MODEL_DIR"])),
               model=Model("m", "1", "d"), host=Host(clock=lambda: datetime.now(UTC)))
part = io.BytesIO(store.contents[manifest["inputs"][0]["parts"][0]])
print(read_parquet(part).read_all().column("value").to_pylist())
print(zstd().decompress(zstd().compress(b"zstd")).decode())
"""


def test_a_job_runs_in_the_image(images: tuple[Image, Image, Path]) -> None:
    """With nothing but the image on its path, our code scores Parquet and knows zstd."""
    *_, root = images
    environment = {
        "PYTHONPATH": f"{root}/opt/python:{root}/var/task", "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1", "FNMODEL_MODEL_DIR": f"{root}/opt/ml/model",
        "PATH": os.environ["PATH"],
    }  # fmt: skip
    done = subprocess.run(
        [sys._base_executable, "-S", "-s", "-c", PROGRAM],
        env=environment, capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["[0.0, 2.5, 5.0]", "zstd"]


def test_locks_hold_nothing_that_the_runtime_has() -> None:
    """Each format has a lock for each Python, on top of the runtime's."""
    names = {name for keys in ({"format": "parquet"}, {"compression": "zstd"})
             for name in BatchJob(name="aa", input="i/", output="o/", **keys).layers}  # type: ignore[arg-type]  # fmt: skip

    assert {folder.name for folder in folders()} == names
    for folder in folders():
        for python in VERSIONS:
            runtime = pins(Lock.load(python, runtime_folder()).data.decode())
            own = pins(Lock.load(python, folder).data.decode())
            assert not own.keys() & runtime.keys()
            assert bool(own) == (folder.name != "zstd" or python != "3.14")


def test_a_lock_leaves_out_what_is_below(tmp_path: Path) -> None:
    """Packages of the runtime's lock bind the choice, and are not locked again."""
    (tmp_path / "runtime").mkdir()
    (tmp_path / "arrow").mkdir()
    digest = f"    --hash=sha256:{'0' * 64}\n"
    below = tmp_path / "runtime" / "py3.13.txt"
    below.write_text(f"typing-extensions==4.16.0 \\\n{digest}")
    seen: list[Any] = []

    def resolve(*_: Any, constraints: Path) -> str:
        seen.append(constraints)
        return f"arro3-io==0.9.1 \\\n{digest}typing-extensions==4.16.0 \\\n{digest}"

    renew("3.13", tmp_path / "arrow", resolve, tmp_path / "runtime", whole=False)

    assert (tmp_path / "arrow" / "py3.13.txt").read_text() == f"arro3-io==0.9.1 \\\n{digest}"
    assert set(seen) == {below}
