"""Large files that did not change are not read again, and every change is seen."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pack_cases import HERE, model_directory, tiny_wheels

from fnmodel.errors import PackError
from fnmodel.hashes import Hashes, anew, sha256
from fnmodel.model import MODEL, OnnxModel
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.layout import Store
from fnmodel.slim.content import content_sha256

MB = 1 << 20


class Counted:
    """Reads files and notes which."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, path: Path) -> bytes:
        """Return the hash."""
        self.read.append(path.name)
        return sha256(path)


@pytest.fixture
def read() -> Counted:
    return Counted()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(os.urandom(5 * MB))
    return path


@pytest.fixture
def hashes(tmp_path: Path) -> Hashes:
    """Hashes a minute later, when what the test has written lies still."""
    return Hashes(tmp_path / "hashes", clock=lambda: time.time_ns() + 60 * 10**9)


def test_an_unchanged_file_is_read_once(file: Path, hashes: Hashes, read: Counted) -> None:
    """The second answer comes from the note, and is the same; `anew` reads all the same."""
    first, second, third = hashes(file, read), hashes(file, read), anew(file, read)

    assert first == second == third == hashlib.sha256(file.read_bytes()).digest()
    assert read.read == ["model.bin"] * 2


def _rewrite(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _rewrite_with_its_old_time(path: Path) -> None:
    before = path.stat()
    _rewrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace_by_another_of_its_time(path: Path) -> None:
    before, other = path.stat(), path.with_name("other")
    other.write_bytes(os.urandom(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def _change_one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(MB)
        byte = file.read(1)
        file.seek(MB)
        file.write(bytes([byte[0] ^ 1]))


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"1")


@pytest.mark.parametrize(
    "change",
    [
        _rewrite,
        _rewrite_with_its_old_time,
        _replace_by_another_of_its_time,
        _change_one_byte,
        _append,
    ],
)
def test_every_change_is_seen(
    change: Callable[[Path], None], file: Path, hashes: Hashes, read: Counted
) -> None:
    """Size, date and place may be as before: another content gives its own hash."""
    before = hashes(file, read)
    time.sleep(0.02)  # more than a tick of the clock of file systems
    change(file)
    after = hashes(file, read)

    assert before != after == sha256(file)
    assert len(read.read) == 2


def test_a_file_that_was_just_written_is_read_again(
    file: Path, tmp_path: Path, read: Counted
) -> None:
    """Two writes within one tick look the same, so what is young is not remembered."""
    hashes = Hashes(tmp_path / "hashes")
    for _ in range(3):
        _rewrite_with_its_old_time(file)

        assert hashes(file, read) == sha256(file)
    assert hashes(file, read) == sha256(file)
    assert len(read.read) == 4


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    file: Path, hashes: Hashes, read: Counted
) -> None:
    """What was read is of no one state of the file."""

    def read_and_change(path: Path) -> bytes:
        found = sha256(path)
        _append(path)
        return found

    hashes(file, read_and_change)

    assert hashes(file, read) == sha256(file)
    assert read.read == ["model.bin"]


def test_a_small_file_is_always_read(tmp_path: Path, hashes: Hashes, read: Counted) -> None:
    """A note would cost as much as the reading."""
    path = tmp_path / "small"
    path.write_bytes(b"1")
    hashes(path, read)
    hashes(path, read)

    assert read.read == ["small", "small"]
    assert not (tmp_path / "hashes").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": "00"}', '{"sha256": 1}', "\xff"])
def test_a_damaged_note_is_no_note(
    text: str, file: Path, hashes: Hashes, read: Counted, tmp_path: Path
) -> None:
    """The file is read, and the note is made anew."""
    hashes(file, read)
    (note,) = (tmp_path / "hashes").iterdir()
    note.write_bytes(text.encode("latin-1"))

    assert hashes(file, read) == hashes(file, read) == sha256(file)
    assert len(read.read) == 2


def test_no_room_for_notes_is_no_error(file: Path, tmp_path: Path, read: Counted) -> None:
    """A file stands where the folder should be: the hash is told all the same."""
    (tmp_path / "taken").write_text("")
    later = time.time_ns() + 60 * 10**9

    assert Hashes(tmp_path / "taken", clock=lambda: later)(file, read) == sha256(file)


def test_a_folder_and_a_model_are_read_once(tmp_path: Path, hashes: Hashes, read: Counted) -> None:
    """What `slim` asks of a source folder and of a model directory; the small files are read."""
    model = model_directory(tmp_path / "model", megabytes=5)
    found = [content_sha256(model.folder, lambda path, _: hashes(path, read)) for _ in range(2)]
    read.read.clear()
    loaded = [OnnxModel.load(model.folder, lambda path: hashes(path, read)) for _ in range(2)]

    assert found == [content_sha256(model.folder)] * 2
    assert [one.digest for one in loaded] == [model.digest] * 2
    assert MODEL not in read.read


def test_a_layer_never_holds_another_model_than_its_digest(tmp_path: Path) -> None:
    """Even a wrong hash ends in an error: the files are hashed as they go into the layer."""
    model_directory(tmp_path / "model", megabytes=5)
    wrong = OnnxModel.load(tmp_path / "model", lambda _: bytes(32))
    store = Store(tmp_path / "store")
    with pytest.raises(PackError, match=r"model\.onnx changed while it was packed"):
        build(wrong, Recipe("churn", HERE, "x86_64"), store, install=tiny_wheels)

    right = OnnxModel.load(tmp_path / "model")
    image = build(right, Recipe("churn", HERE, "x86_64"), store, install=tiny_wheels)
    assert image.labels["io.fnmodel.model"] == right.digest
