"""The layer with the bundle of a base's standard library."""

import os
from pathlib import Path

import pytest
from pack_cases import (
    HERE,
    entry,
    foreign_image,
    host_compiles,
    model_directory,
    small_base,
    tar_of,
    tiny_wheels,
)

from fnmodel.imports import NAME, _Bundle
from fnmodel.pack import bytecode
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.image import Image, Layer
from fnmodel.pack.layout import Store
from fnmodel.pack.rootfs import unpack
from fnmodel.pack.stdlib import stdlib_layer

LIBRARY = f"usr/lib/python{HERE}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def base_with(store: Store, files: dict[str, bytes], folder: str = LIBRARY) -> Image:
    """Return the least base with these files in its standard library."""
    return small_base(store, *((entry(f"{folder}/{path}"), data) for path, data in files.items()))


def made(store: Store, base: Image) -> Layer | None:
    return stdlib_layer(store, base, HERE, bytecode.host(HERE), progress=lambda _: None)


def names(
    store: Store, base: Image, layer: Layer, folder: Path, library: str = LIBRARY
) -> set[str]:
    """Return the modules of the bundle, as the image's Python would find them."""
    path = unpack(base.append(layer), store, folder) / library / NAME
    file = os.open(path, os.O_RDONLY)
    found = _Bundle(str(path.parent), file, path.stat().st_size)
    for name in found.index:
        assert found.read(name).co_filename.startswith(f"/{library}/")
    os.close(file)
    return set(found.index)


def test_the_bundle_lies_beside_the_library(store: Store, tmp_path: Path) -> None:
    """It holds what a cold start imports of this base, and the layer holds nothing else."""
    files = {"os.py": b"", "decimal.py": b"X = 1", "re/__init__.py": b"", "cmd.py": b"X = 2"}
    base = base_with(store, files)
    layer = made(store, base)

    assert layer is not None
    assert names(store, base, layer, tmp_path / "root") == {"decimal", "re"}
    assert not list((tmp_path / "root" / LIBRARY).rglob("*.pyc"))


def test_a_library_in_another_folder_is_found(store: Store, tmp_path: Path) -> None:
    """Some distributions keep it in `lib64`."""
    library = f"usr/lib64/python{HERE}"
    base = base_with(store, {"os.py": b"", "decimal.py": b"X = 1"}, library)
    layer = made(store, base)

    assert layer is not None
    assert names(store, base, layer, tmp_path / "root", library) == {"decimal"}


def test_an_upper_layer_of_the_base_counts(store: Store, tmp_path: Path) -> None:
    """The module of the uppermost layer is packed, and one that was deleted is not."""
    base = base_with(store, {"os.py": b"", "decimal.py": b"X = 1", "enum.py": b""})
    upper = foreign_image(
        store,
        [tar_of((entry(f"{LIBRARY}/decimal.py"), b"UPPER = 1"), entry(f"{LIBRARY}/.wh.enum.py"))],
    )
    both = base.append(upper.layers[0])
    layer = made(store, both)

    assert layer is not None
    assert names(store, both, layer, tmp_path / "root") == {"decimal"}
    assert b"UPPER" in (tmp_path / "root" / LIBRARY / NAME).read_bytes()


@pytest.mark.parametrize("files", [{}, {"os.py": b""}, {"decimal.py": b""}])
def test_without_a_library_there_is_no_layer(store: Store, files: dict[str, bytes]) -> None:
    """A base whose Python has no library where it belongs is left as it is."""
    assert made(store, base_with(store, files)) is None


def test_a_library_behind_a_link_is_left_alone(store: Store) -> None:
    """Our layer would replace the link with a folder."""
    base = small_base(
        store,
        (entry(f"usr/share/lib/python{HERE}/os.py"), b""),
        (entry(f"usr/share/lib/python{HERE}/decimal.py"), b""),
        entry("usr/lib", b"2", "share/lib"),
    )
    assert made(store, base) is None


def test_the_layer_stands_above_the_base_and_stays(store: Store, tmp_path: Path) -> None:
    """A build puts it there; a retrained model leaves it as it was."""
    source = Store(tmp_path / "base")
    source.add_reference("v1", base_with(source, {"os.py": b"", "decimal.py": b"X = 1"}))
    recipe = Recipe("churn", HERE, "x86_64", f"oci:{tmp_path / 'base'}:v1")
    images = [
        build(
            model_directory(tmp_path / str(factor), factor=factor), recipe, store,
            install=tiny_wheels, choose=host_compiles,
        )
        for factor in (2.0, 3.0)
    ]  # fmt: skip

    first, second = (image.layers for image in images)
    assert first[1].created_by == "fnmodel pack: imports"
    assert [one == other for one, other in zip(first, second, strict=True)] == [True] * 4 + [False]


def test_the_same_base_gives_the_same_layer_once(store: Store, tmp_path: Path) -> None:
    """Two stores get one digest; the second build in a store compiles nothing."""
    files = {"os.py": b"", "decimal.py": b"X = 1"}
    first = made(store, base_with(store, files))
    other = Store(tmp_path / "other")
    said: list[str] = []
    again = stdlib_layer(
        store, base_with(store, files), HERE, bytecode.host(HERE), progress=said.append
    )

    assert first == made(other, base_with(other, files)) == again
    assert said == ["the base's standard library: unchanged"]
