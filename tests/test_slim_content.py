"""What a model is read from is hashed before anything opens it."""

import os

import pytest

from fnmodel.errors import SlimError
from fnmodel.slim.content import content_sha256, content_size


def test_a_folder_is_its_names_and_files(tmp_path):
    """A file that moves, changes or comes along changes the hash; the order on disk does not."""
    hashes = set()
    for number, files in enumerate(({"a": "1", "b/c": "2"}, {"b": "1", "a/c": "2"}, {"a": "1"})):
        for again in (files, dict(reversed(files.items()))):
            folder = tmp_path / f"{number}{next(iter(again))}".replace("/", "-")
            for name, text in again.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            hashes.add((number, content_sha256(folder)))
    assert len(hashes) == 3
    assert content_size(tmp_path) == 9


@pytest.mark.parametrize("target", ["outside", "inside", "missing", "/etc"])
def test_a_link_in_a_folder_is_refused(tmp_path, target):
    """What a folder links to is not hashed, so nothing of it may be read."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "inside").write_text("x")
    (tmp_path / "outside").write_text("x")
    (folder / "link").symlink_to("../outside" if target == "outside" else target)

    with pytest.raises(SlimError, match="link in model is a link") as caught:
        content_sha256(folder)
    assert "cp -rL" in caught.value.hint


@pytest.mark.timeout(10)
@pytest.mark.parametrize("where", ["pipe", "folder/pipe"])
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path, where):
    """A pipe in the place of a model stops nobody."""
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)

    with pytest.raises(SlimError, match="pipe is no file but a pipe"):
        content_sha256(tmp_path / where.split("/")[0])


def test_a_model_may_be_a_link_itself(tmp_path):
    """The user's own link to a file is the file."""
    (tmp_path / "v3.joblib").write_text("x")
    (tmp_path / "model.joblib").symlink_to("v3.joblib")

    assert content_sha256(tmp_path / "model.joblib") == content_sha256(tmp_path / "v3.joblib")


def test_a_snapshot_of_the_hugging_face_cache_is_its_files(tmp_path):
    """Its links lead into the folder of blobs beside it; no other link does."""
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "sha").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/sha")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text("{}")

    assert content_sha256(snapshot) == content_sha256(plain)
    assert content_size(snapshot) == 2

    (tmp_path / "outside").write_text("x")
    (snapshot / "more").symlink_to("../../outside")
    with pytest.raises(SlimError, match="more in abc is a link"):
        content_sha256(snapshot)
