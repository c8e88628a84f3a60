"""Unpacking trusts nothing: hostile layers are refused, and nothing is left of them."""

import tarfile
from pathlib import Path

import pytest
from pack_cases import entry, foreign_image, small_image, tar_of

from fnmodel.errors import PackError
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack


def test_unpack_gives_the_files_of_all_layers(tmp_path: Path) -> None:
    """Upper layers win, and modes lose setuid."""
    store = Store(tmp_path / "store")
    image = foreign_image(
        store,
        [
            tar_of((entry("a/x"), b"old"), (entry("bin/su", mode=0o4755), b"#!")),
            tar_of((entry("./a/x"), b"new"), entry("a/link", tarfile.SYMTYPE, "x")),
        ],
    )
    root = unpack(image, store, tmp_path / "root")

    assert (root / "a/x").read_text() == "new"
    assert (root / "a/link").read_text() == "new"
    assert (root / "bin/su").stat().st_mode & 0o7777 == 0o755
    assert unpack(image, store, tmp_path / "root") == root


def test_whiteouts_hide_lower_layers_only(tmp_path: Path) -> None:
    """`.wh.NAME` deletes one, an opaque marker all of lower layers, and neither stays behind."""
    store = Store(tmp_path / "store")
    image = foreign_image(
        store,
        [
            tar_of((entry("d/one"), b"1"), (entry("d/two"), b"2"), (entry("e/low/f"), b"3")),
            tar_of(
                entry("d/.wh.one"),
                (entry("e/new"), b"4"),
                entry("e/.wh..wh..opq"),
                (entry("e/late"), b"5"),
            ),
        ],
    )
    root = unpack(image, store, tmp_path / "root")

    found = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    assert found == ["d/two", "e/late", "e/new"]


def test_a_hardlink_inside_is_followed_and_dev_nodes_are_left_out(tmp_path: Path) -> None:
    """Base images have both, for good reasons."""
    store = Store(tmp_path / "store")
    tar = tar_of(
        (entry("usr/perl"), b"p"),
        entry("usr/perl5", tarfile.LNKTYPE, "usr/perl"),
        entry("dev/null", tarfile.CHRTYPE),
    )
    root = unpack(foreign_image(store, [tar]), store, tmp_path / "root")

    assert (root / "usr/perl5").read_text() == "p"
    assert not (root / "dev/null").exists()


HOSTILE = {
    "absolute": [(entry("/etc/x"), b"x")],
    "climbing": [(entry("a/../../x"), b"x")],
    "through a link": [entry("a", tarfile.SYMTYPE, "/tmp"), (entry("a/x"), b"x")],
    "through a link in two steps": [
        entry("a", tarfile.SYMTYPE, ".."),
        entry("a/b", tarfile.DIRTYPE),
    ],
    "through a link that replaced a folder": [
        (entry("a/x"), b"x"),
        entry("a", tarfile.SYMTYPE, "/tmp"),
        (entry("a/y"), b"y"),
    ],
    "hardlink out": [entry("x", tarfile.LNKTYPE, "../outside")],
    "hardlink absolute": [entry("x", tarfile.LNKTYPE, "/etc/hostname")],
    "hardlink through a link": [
        entry("a", tarfile.SYMTYPE, "/etc"),
        entry("x", tarfile.LNKTYPE, "a/hostname"),
    ],
    "hardlink to a link": [
        entry("a", tarfile.SYMTYPE, "/etc/hostname"),
        entry("x", tarfile.LNKTYPE, "a"),
    ],
    "device": [entry("etc/disk", tarfile.BLKTYPE)],
    "pipe": [entry("etc/pipe", tarfile.FIFOTYPE)],
    "whiteout of the parent": [entry("a/.wh..."), entry("a/.wh...", tarfile.REGTYPE)],
    "whiteout through a link": [entry("a", tarfile.SYMTYPE, "/tmp"), entry("a/.wh.x")],
    "below a file": [(entry("a"), b"x"), (entry("a/b"), b"y")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_layers_are_refused_and_leave_nothing(case: str, tmp_path: Path) -> None:
    """No entry writes, links or deletes outside of the folder, and no half tree remains."""
    (tmp_path / "outside").write_text("safe")
    store = Store(tmp_path / "store")
    image = foreign_image(store, [tar_of(*HOSTILE[case])])
    with pytest.raises(PackError, match=image.layers[0].descriptor.digest):
        unpack(image, store, tmp_path / "root")

    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "store"]
    assert (tmp_path / "outside").read_text() == "safe"


def test_a_file_replaces_a_link_instead_of_writing_through_it(tmp_path: Path) -> None:
    """A link as the last part of a path is replaced; its target stays as it is."""
    (tmp_path / "outside").write_text("safe")
    store = Store(tmp_path / "store")
    link = entry("x", tarfile.SYMTYPE, str(tmp_path / "outside"))
    root = unpack(
        foreign_image(store, [tar_of(link), tar_of((entry("x"), b"new"))]), store, tmp_path / "root"
    )

    assert (root / "x").read_text() == "new"
    assert (tmp_path / "outside").read_text() == "safe"


def test_a_tampered_or_broken_layer_is_refused(tmp_path: Path) -> None:
    """A changed blob, and a tar that ends early, are errors of ours."""
    store = Store(tmp_path / "store")
    image = small_image(store)
    path = store.path(image.layers[0].descriptor.digest)
    data = bytearray(path.read_bytes())
    data[9] = 0  # a header field that inflating ignores
    path.write_bytes(data)
    with pytest.raises(PackError, match="damaged"):
        unpack(image, store, tmp_path / "one")
    cut = foreign_image(store, [tar_of((entry("a"), bytes(5000)))[:2000]])
    with pytest.raises(PackError, match="ends early"):
        unpack(cut, store, tmp_path / "two")

    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()


def test_a_name_of_megabytes_is_not_read(tmp_path: Path) -> None:
    """A header names its own length; a long one would be held in memory whole."""
    store = Store(tmp_path / "store")
    long = tarfile.TarInfo("a" * (2 << 20))
    with pytest.raises(PackError, match="not a tar archive"):
        unpack(foreign_image(store, [tar_of((long, b"x"))]), store, tmp_path / "root")
    assert not (tmp_path / "root").exists()
