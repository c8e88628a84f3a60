"""What `fnmodel prune` takes and what it leaves, also beside a build."""

import dataclasses
import json
import os
import threading
import time
from pathlib import Path

import pytest
from pack_cases import HERE, model_directory, refuse_to_install, small_image, tiny_wheels

from fnmodel.__main__ import run
from fnmodel.errors import PackError
from fnmodel.hashes import Hashes
from fnmodel.pack import base, cleanup
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.image import Image
from fnmodel.pack.layout import Store
from fnmodel.pack.reference import Reference
from fnmodel.pack.registry import Registry
from fnmodel.slim import slim
from fnmodel.slim.proof.report import FILE as PARITY
from fnmodel.testing import InMemoryRegistry
from fnmodel.uses import Freed, Uses

DAY = 86400
RECIPE = Recipe("churn", HERE, "x86_64")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "oci")


def age(folder: Path, days: float) -> None:
    """Let everything below a folder look as if it was last used so many days ago."""
    for path in folder.rglob("*"):
        then = time.time() - days * DAY
        os.utime(path, (then, then))


def blobs(image: Image) -> list[str]:
    layers = [layer.descriptor.digest for layer in image.layers]
    return [image.digest, image.config_descriptor.digest, *layers]


def there(store: Store, image: Image) -> bool:
    return all(store.path(digest).is_file() for digest in blobs(image))


def test_what_no_name_leads_to_goes(store: Store, tmp_path: Path) -> None:
    """Of two models built long ago, the one that the project's name means now stays whole."""
    old = build(model_directory(tmp_path / "a"), RECIPE, store, install=tiny_wheels)
    store.add_reference("churn", old)
    new = build(model_directory(tmp_path / "b", factor=3), RECIPE, store, install=tiny_wheels)
    store.add_reference("churn", new)
    age(store.root, 40)
    only_old = [store.path(digest) for digest in set(blobs(old)) - set(blobs(new))]
    size = sum(path.stat().st_size for path in only_old)

    planned = cleanup.clean(store, 30 * DAY, dry_run=True)
    assert all(path.is_file() for path in only_old)
    freed = cleanup.clean(store, 30 * DAY)

    assert planned == freed == Freed(3, size)  # manifest, config and model layer
    assert not any(path.exists() for path in only_old)
    assert there(store, new)
    assert store.load("churn") == new
    assert cleanup.clean(store, 30 * DAY) == Freed()


def test_a_build_after_a_clean_up_finds_what_it_kept(store: Store, tmp_path: Path) -> None:
    """The notes of kept layers stay, however old: nothing is installed or read again."""
    model = model_directory(tmp_path / "model")
    image = build(model, RECIPE, store, install=tiny_wheels)
    store.add_reference("churn", image)
    age(store.root, 400)
    cleanup.clean(store, 0)
    said: list[str] = []
    again = build(model, RECIPE, store, install=refuse_to_install, progress=said.append)

    assert again == image
    assert all("unchanged" in line for line in said)
    assert len(list(store.notes("surveys"))) == len(image.layers)


def test_a_build_after_its_layers_are_gone_makes_them_again(store: Store, tmp_path: Path) -> None:
    """Notes go with their blobs; the digest is the same."""
    model = model_directory(tmp_path / "model")
    image = build(model, RECIPE, store, install=tiny_wheels)
    age(store.root, 40)
    cleanup.clean(store, 30 * DAY)

    assert list(store.blobs()) == []
    assert list(store.notes("*")) == []
    assert build(model, RECIPE, store, install=tiny_wheels) == image
    assert there(store, image)


def test_what_was_used_lately_stays(store: Store, tmp_path: Path) -> None:
    """A build marks what it finds, and within an hour nothing goes, whatever is asked."""
    model = model_directory(tmp_path / "model")
    image = build(model, RECIPE, store, install=tiny_wheels)
    age(store.root, 40)
    build(model, RECIPE, store, install=refuse_to_install)

    assert cleanup.clean(store, 30 * DAY) == Freed()
    assert cleanup.clean(store, 0) == Freed()
    assert there(store, image)


def test_a_base_in_use_stays_and_its_layout_is_left_alone(store: Store, tmp_path: Path) -> None:
    """What a pinned base needs is marked by each build; a layout of the user's is not touched."""
    below = small_image(Store(tmp_path / "elsewhere"), {"lib/a.so": b"1" * 1000})
    with InMemoryRegistry() as fake:
        Registry(fake.url).push(below, Store(tmp_path / "elsewhere"), "team/base")
        reference = Reference.parse(f"{fake.host}/team/base@{below.digest}")
        base.resolve(str(reference), "x86_64", store, base.pull)
    age(store.root, 40)
    base.resolve(str(reference), "x86_64", store, base.pull)
    cleanup.clean(store, 30 * DAY)
    base.resolve(str(reference), "x86_64", store, base.pull)
    folder = store.export(below, tmp_path / "layout")
    age(folder, 40)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    base.resolve(f"oci:{folder}", "x86_64", Store(tmp_path / "third"), base.pull)

    assert there(store, below)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_killed_builds_left_goes_after_a_day(store: Store) -> None:
    """Temporary files and folders of today may belong to a build under way."""
    for days, name in ((0.5, "young"), (2, "old")):
        folder = store.root / f".wheels-{name}"
        (folder / "tree").mkdir(parents=True)
        (folder / "tree" / "file").write_bytes(bytes(100))
        half = store.path(f"sha256:{'0' * 64}").with_name(f".incoming-{name}")
        half.write_bytes(bytes(10))
        for path in (folder, half):
            os.utime(path, (time.time() - days * DAY,) * 2)

    assert cleanup.clean(store, 0) == Freed(2, 110)
    assert {path.name for path in store.leftovers()} == {".wheels-young", ".incoming-young"}


def test_a_damaged_index_stops_the_clean_up(store: Store) -> None:
    """Nobody knows then what has a name, so nothing is removed."""
    image = small_image(store)
    age(store.root, 40)
    (store.root / "index.json").write_text("{")
    with pytest.raises(PackError, match="not an image index"):
        cleanup.clean(store, 0)

    assert there(store, image)


def test_a_clean_up_beside_a_build_takes_nothing_from_it(store: Store) -> None:
    """Asked for at the same moment, a blob is either there for the one or gone for both."""
    for number in range(150):
        image = small_image(store, {"a": b"%d" % number})
        layer = image.layers[0].descriptor
        os.utime(store.path(layer.digest), (0, 0))
        answers: list[bool] = []
        start = threading.Barrier(2)

        def build_it(layer=layer, answers=answers, start=start) -> None:  # type: ignore[no-untyped-def]
            start.wait()
            answers.append(store.has(layer))

        builder = threading.Thread(target=build_it)
        builder.start()
        start.wait()
        cleanup.clean(Store(store.root), 0)
        builder.join()

        assert answers == [store.path(layer.digest).is_file()]


def test_marks_are_kept_under_a_lock(tmp_path: Path) -> None:
    """A mark that waits for a clean-up under way learns that the file went."""
    uses, path = Uses(tmp_path), tmp_path / "blob"
    path.write_bytes(b"1")
    os.utime(path, (0, 0))
    answers: list[bool] = []
    marker = threading.Thread(target=lambda: answers.append(uses.mark(path)))
    with uses.locked():
        marker.start()
        time.sleep(0.1)
        assert answers == []
        path.unlink()
    marker.join()

    assert answers == [False]


def test_a_file_that_cannot_be_marked_counts_as_there(tmp_path: Path) -> None:
    """In a folder that is gone or read-only there is no lock to take."""
    uses, path = Uses(tmp_path / "no" / "such"), tmp_path / "blob"
    path.write_bytes(b"1")
    os.utime(path, (0, 0))

    assert uses.mark(path)
    assert not uses.mark(tmp_path / "missing")


def test_converted_models_go_by_their_last_use(tmp_path: Path) -> None:
    """A result that `slim` found lately stays; an old one goes whole, and so does half a one."""
    cache = tmp_path / "slim"
    for name, days in (("old", 40), ("half", 40), ("new", 1)):
        model_directory(cache / name / "model")
        (cache / name / PARITY).write_text("{}")
        age(cache / name, days)
    (cache / "half" / PARITY).unlink()
    os.utime(cache / "half", (0, 0))
    gone = [path for name in ("old", "half") for path in (cache / name).rglob("*")]
    size = sum(path.stat().st_size for path in gone if path.is_file())

    assert slim.clean(cache, 30 * DAY, dry_run=True) == Freed(2, size)
    assert slim.clean(cache, 30 * DAY) == Freed(2, size)
    assert not any(path.exists() for path in gone)
    assert (cache / "new" / "model").is_dir()
    assert slim.clean(tmp_path / "nowhere", 0) == Freed()


def test_notes_of_hashes_go_too(tmp_path: Path) -> None:
    """Those of files that nobody asked for in that time."""
    folder, path = tmp_path / "hashes", tmp_path / "model.bin"
    path.write_bytes(bytes(5 << 20))
    hashes = Hashes(folder, clock=lambda: time.time_ns() + 60 * 10**9)
    hashes(path)
    hashes.clean(30 * DAY)
    assert len(list(folder.glob("*.json"))) == 1
    age(folder, 40)
    hashes.clean(30 * DAY)

    assert list(folder.glob("*.json")) == []


def test_the_command_says_what_it_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table for a person, stable JSON for a program; a second run has nothing to do."""
    monkeypatch.setenv("FNMODEL_HOME", str(tmp_path))
    store = Store(tmp_path / "cache" / "oci")
    small_image(store, {"a": os.urandom(100_000)})
    age(store.root, 8)

    assert run(["prune", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed"] == 0
    assert run(["prune", "--days", "7", "--dry-run"]) == 0
    assert "would be freed" in capsys.readouterr().out
    assert run(["prune", "--days", "7", "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["freed"] > 100_000
    assert said["removed"]["image_blobs"]["count"] == 3
    assert run(["prune", "--days", "7"]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"
    assert dataclasses.asdict(Freed(1, 2) + Freed(3, 4)) == {"count": 4, "size": 6}
