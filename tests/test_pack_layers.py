"""Layers, compression and what is left out: same files, same bytes."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from pack_cases import small_image

from fnmodel.errors import PackError
from fnmodel.pack import compression, layer
from fnmodel.pack.image import EPOCH, digest_of
from fnmodel.pack.layout import Store
from fnmodel.pack.prune import PruneList, prune


def test_tar_is_the_same_whatever_order_mode_and_time_the_files_have(tmp_path: Path) -> None:
    """Two copies of a tree with other modes, times and creation order give one tar."""
    trees = []
    for name, order, mode in (("one", "abc", 0o600), ("two", "cab", 0o755)):
        for file in order:
            path = tmp_path / name / file / "x.txt"
            path.parent.mkdir(parents=True)
            path.write_text(file)
            path.chmod(mode)
            os.utime(path, (mode, mode))
        trees.append(b"".join(layer.tar(layer.tree(tmp_path / name, "opt"))))

    assert trees[0] == trees[1]


def test_tar_headers_are_explicit_and_parents_are_there() -> None:
    """Every parent has an entry; owners, names, times and modes are fixed."""
    data = b"".join(layer.tar({"b/c/d.txt": b"1", "a.txt": b"22"}))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()

    assert [(m.name, m.mode, m.isdir()) for m in members] == [
        ("a.txt", 0o644, False),
        ("b", 0o755, True),
        ("b/c", 0o755, True),
        ("b/c/d.txt", 0o644, False),
    ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", EPOCH)}


@pytest.mark.parametrize(
    "path",
    [
        "n" * 100,
        "n" * 101,
        f"{'p' * 155}/{'n' * 100}",
        f"{'p' * 156}/n",
        f"é/{'ü' * 90}",
        "d/" * 130 + "f",
    ],
)
def test_tar_holds_any_path(path: str) -> None:
    """Paths that ustar splits, and those that need a pax header, come back as they were."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer.tar({path: b"content"})))) as archive:
        file = archive.extractfile(path)
        assert file is not None
        assert archive.getnames()[-1] == path
        assert file.read() == b"content"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a//b", "a/./b", "", "a/.wh.b"])
def test_tar_refuses_a_path_that_is_not_one_of_an_image(path: str) -> None:
    """Absolute, climbing, empty and whiteout paths are errors."""
    with pytest.raises(PackError):
        list(layer.tar({path: b""}))


def test_tar_refuses_a_file_that_is_also_a_folder() -> None:
    """A path cannot be both."""
    with pytest.raises(PackError, match="a is a file and a folder"):
        list(layer.tar({"a": b"", "a/b": b""}))


def test_tree_refuses_what_lambda_or_reproducibility_forbids(tmp_path: Path) -> None:
    """Setuid files, pipes and links out of the tree are errors; a link inside becomes a file."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "real").write_text("x")
    (inside / "link").symlink_to("real")

    assert set(layer.tree(inside, "opt")) == {"opt/real", "opt/link"}
    (inside / "out").symlink_to("/etc/hostname")
    with pytest.raises(PackError, match="links out of"):
        layer.tree(inside, "opt")
    (inside / "out").unlink()
    os.mkfifo(inside / "pipe")
    with pytest.raises(PackError, match="neither a file nor a folder"):
        layer.tree(inside, "opt")
    (inside / "pipe").unlink()
    (inside / "real").chmod(0o4755)
    with pytest.raises(PackError, match="setuid"):
        layer.tree(inside, "opt")


def test_hardlinked_files_are_written_as_two_files(tmp_path: Path) -> None:
    """Files that uv has linked from its cache become files; a layer has no hardlink entries."""
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    data = b"".join(layer.tar(layer.tree(tmp_path, "opt")))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        kinds = {m.name: m.type for m in archive.getmembers() if not m.isdir()}

    assert kinds == {"opt/a": tarfile.REGTYPE, "opt/b": tarfile.REGTYPE}


@pytest.mark.parametrize("compressor", [compression.stored, compression.deflated])
@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 3_000_000])
def test_gzip_is_valid_and_comes_back(compressor: compression.Compressor, size: int) -> None:
    """Both compressors make what the standard library and our own reader read."""
    content = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    chunks = [content[at : at + 100_000] for at in range(0, size, 100_000)]
    blob = b"".join(bytes(chunk) for chunk in compressor(chunks))
    stream = compression.Inflated([blob[:7], blob[7:]], limit=size)

    assert gzip.decompress(blob) == content
    assert stream.read(size + 1) == content
    assert stream.diff_id == digest_of(content)


def test_inflated_reads_several_members_and_stops_at_its_limit() -> None:
    """Base layers may have several gzip members; a bomb is refused; a cut is noticed."""
    blob = gzip.compress(b"one ") + gzip.compress(b"two")

    assert compression.Inflated([blob], limit=7).read(100) == b"one two"
    with pytest.raises(PackError, match="more than 6 bytes"):
        compression.Inflated([blob], limit=6).drain()
    with pytest.raises(PackError, match="ends early"):
        compression.Inflated([blob[:-9]], limit=100).drain()
    with pytest.raises(PackError, match="not a gzip"):
        compression.Inflated([b"plain text"], limit=100).drain()


def test_golden_layer_digest_depends_on_nothing_but_the_content(tmp_path: Path) -> None:
    """Known files keep these digests; a change here means new layers for everyone."""
    files: dict[str, layer.Content] = {
        "opt/a.txt": b"alpha" * 1000,
        "opt/ml/model/b.bin": bytes(range(256)) * 300,
    }
    store = Store(tmp_path)
    deflated = layer.write(store, files, "x", compression.deflated)
    stored = layer.write(store, files, "x", compression.stored)

    assert deflated.diff_id == stored.diff_id
    assert (
        deflated.diff_id
        == "sha256:5e8ef169a4ade988db4956a1ca8160eaa4b7354b891c5ff6e63e2b91de4329e1"
    )
    assert (
        deflated.descriptor.digest
        == "sha256:fbab1dea9e2a3909fb13303915da462f7312d4e33de603618b6dfa2631f4e76e"
    )
    assert (
        stored.descriptor.digest
        == "sha256:cc94ed8886a507b8b59ebdfbd2e2c5a85233b3db008392d71221a46884727152"
    )


def test_prune_removes_by_pattern_keeps_exceptions_and_mends_record(tmp_path: Path) -> None:
    """Folders, `**/` and exceptions work; RECORD lists what is left; a linked file stays whole."""
    for name in ("pkg/a.py", "pkg/tests/t.py", "pkg/data/x/1", "pkg/data/s3/1", "bin/tool"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    record = tmp_path / "cached-record"
    record.write_text(
        "pkg/a.py,h,1\npkg/tests/t.py,h,1\n../../bin/tool,h,1\npkg-1.dist-info/RECORD,,\n"
    )
    (tmp_path / "tree/pkg-1.dist-info").mkdir()
    (tmp_path / "tree/pkg-1.dist-info/RECORD").hardlink_to(record)
    before = record.read_text()

    listed = PruneList.parse("bin\n**/tests # why\npkg/data/*\n!pkg/data/s3\nnever/here\n")
    prune(tmp_path / "tree", listed)

    left = sorted(
        p.relative_to(tmp_path / "tree").as_posix() for p in (tmp_path / "tree").rglob("*")
    )
    assert left == [
        "pkg", "pkg-1.dist-info", "pkg-1.dist-info/RECORD", "pkg/a.py",
        "pkg/data", "pkg/data/s3", "pkg/data/s3/1",
    ]  # fmt: skip
    assert (tmp_path / "tree/pkg-1.dist-info/RECORD").read_text() == (
        "pkg/a.py,h,1\npkg-1.dist-info/RECORD,,\n"
    )
    assert record.read_text() == before
    assert listed.unused(["bin/tool", "a/tests/t.py", "pkg/data/s3/1"]) == ("never/here",)


def test_store_refuses_blobs_that_are_not_what_they_are_called(tmp_path: Path) -> None:
    """A wrong blob never gets a name; a tampered one is refused and removed."""
    store = Store(tmp_path / "store")
    image = small_image(store)
    descriptor = image.layers[0].descriptor
    with pytest.raises(PackError, match="expected"), store.writing(descriptor) as writer:
        writer.write(b"something else")
    path = store.path(descriptor.digest)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)

    assert store.has(descriptor)
    with pytest.raises(PackError, match="damaged") as caught:
        store.export(image, tmp_path / "out")
    assert caught.value.hint == "build the image again"
    assert not store.has(descriptor)
    assert list(path.parent.glob(".incoming-*")) == []


def test_store_holds_many_images_and_moves_names(tmp_path: Path) -> None:
    """A name means the image that was given to it last; digests always work."""
    store = Store(tmp_path)
    first, second = small_image(store), small_image(store, {"c": b"2"})
    store.add_reference("live", first)
    store.add_reference("other", first)
    store.add_reference("live", second)

    assert Store(tmp_path).load("live") == second
    assert store.load("other") == first
    assert store.load(first.digest) == first
    assert sorted(store.references()) == ["live", "other"]
    with pytest.raises(PackError, match="holds no image named 'gone'"):
        store.load("gone")


def test_export_refuses_a_folder_with_other_things(tmp_path: Path) -> None:
    """Exporting never mixes with files that are not an image layout."""
    store = Store(tmp_path / "store")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.txt").write_text("x")
    with pytest.raises(PackError, match="not an image layout"):
        store.export(small_image(store), tmp_path / "home")

    assert [p.name for p in (tmp_path / "home").iterdir()] == ["thesis.txt"]


def test_an_unreadable_note_is_no_note(tmp_path: Path) -> None:
    """What another version or a crash left behind costs a rebuild, not an error."""
    store = Store(tmp_path)
    layer_made = small_image(store).layers[0]
    store.remember_layer("good", layer_made)
    store.remember("layers", "old", {"digest": "x"})
    (tmp_path / "notes/layers/torn.json").write_text("{")

    assert store.recall_layer("good") == layer_made
    assert store.recall_layer("old") is None
    assert store.recall_layer("torn") is None
    assert store.recall_layer("none") is None
