"""What is left of shared libraries: all that a process maps, and nothing else."""

import base64
import csv
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fnmodel.pack.strip import strip, stripped


def library(module: str) -> Path:
    """Return the file of a compiled module."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def segments(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return kind, flags and bytes of each segment, the file's header left out."""
    table = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for number in range(count):
        kind, flags, start, _, _, length = struct.unpack_from(
            "<IIQQQQ", data, table + number * size
        )
        found.append((kind, flags, data[max(start, 64) : start + length]))
    return found


MODULES = ["orjson.orjson", "numpy._core._multiarray_umath", "httptools.parser.parser"]


@pytest.mark.parametrize("module", MODULES)
def test_all_that_a_process_maps_stays(module: str) -> None:
    """The segments are the same to the byte, and a second time changes nothing."""
    before = library(module).read_bytes()
    after = stripped(before)

    assert segments(after) == segments(before)
    assert len(after) <= len(before)
    assert stripped(after) == after


def test_debuggers_tables_go() -> None:
    """A wheel whose library is mostly for debuggers comes down to its code."""
    before = library("httptools.parser.parser").read_bytes()

    assert b".debug_info" in before
    assert len(stripped(before)) < len(before) / 4
    assert b".debug_info" not in stripped(before)


def test_a_tree_is_stripped_and_still_runs(tmp_path: Path) -> None:
    """Files keep their mode, RECORD has their new digests, and links to a cache stay whole."""
    source = library("httptools.parser.parser").parent.parent
    record = next(source.parent.glob("httptools-*.dist-info"))
    cache, folder = tmp_path / "cache", tmp_path / "tree"
    shutil.copytree(source, cache / "httptools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(record, cache / record.name)
    original = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    shutil.copytree(cache, folder, copy_function=os.link)

    strip(folder)

    assert {path: path.read_bytes() for path in original} == original
    for name, digest, size in csv.reader((folder / record.name / "RECORD").read_text().split()):
        path = folder / name
        if digest and path.exists():
            data = path.read_bytes()
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={found}", str(len(data)))
    for path in folder.rglob("*.so"):
        assert path.stat().st_mode == (cache / path.relative_to(folder)).stat().st_mode
    code = "import httptools; assert httptools.parse_url(b'/a?b').path == b'/a'; print(httptools)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(folder) in done.stdout


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF\x02\x02" + bytes(100), b"MZ" * 80],
)
def test_what_is_no_such_library_comes_back(data: bytes) -> None:
    """Files of other kinds, of 32 bits and of the other byte order are left alone."""
    assert stripped(data) == data


def test_a_library_that_is_cut_short_comes_back() -> None:
    """What its segments name is not all there: it is not ours to mend."""
    data = library("orjson.orjson").read_bytes()

    for end in (70, 1000, len(data) // 2):
        assert stripped(data[:end]) == data[:end]
