"""What Lambda would refuse is refused here, by name, before anything is pushed."""

import json
import tarfile
from pathlib import Path

import pytest
from pack_cases import HERE, entry, foreign_image, foreign_layer, small_base, small_image, tar_of

from fnmodel.errors import ImageLimitError
from fnmodel.pack import compression, layer, limits, survey
from fnmodel.pack.archive import UNCOMPRESSED
from fnmodel.pack.image import Image, empty
from fnmodel.pack.layout import Store

ENTRY_POINT = ("/usr/bin/python3", "-m", "handlers.start")


def configured(image: Image, *entry_point: str) -> Image:
    """Return an image with the configuration that a build gives it."""
    return image.configure(
        env={}, labels={}, entrypoint=entry_point or ENTRY_POINT, cmd=["x"], working_dir="/"
    )


def refused(image: Image, store: Store, python: str = HERE) -> ImageLimitError:
    """Return the error of a check that must fail."""
    with pytest.raises(ImageLimitError) as caught:
        limits.check(image, "x86_64", python, store)
    assert caught.value.hint
    return caught.value


def test_a_good_base_passes_and_is_read_once(tmp_path: Path) -> None:
    """Links to the interpreter are followed; what was checked is not read again."""
    store = Store(tmp_path)
    image = configured(
        small_base(
            store,
            (entry("usr/bin/perl", mode=0o755), b"p"),
            entry("usr/bin/perl5", tarfile.LNKTYPE, "./usr/bin/perl"),
            (entry("etc/shadow", mode=0o640), b"root"),
            entry("root", tarfile.DIRTYPE, mode=0o700),
        )
    )
    limits.check(image, "x86_64", HERE, store)
    store.path(image.layers[0].descriptor.digest).unlink()

    limits.check(image, "x86_64", HERE, store)


def test_all_findings_are_reported_at_once(tmp_path: Path) -> None:
    """Size, manifest, architecture, history, user, entry point: one error names every one."""
    store = Store(tmp_path)
    one = small_image(store).layers[0]
    survey.remember(one, survey.Survey(UNCOMPRESSED + 1, ()), store)
    many = empty("x86_64")
    for _ in range(200):
        many = many.append(one)
    settings = many.settings
    settings |= {"history": [], "architecture": "arm64"}
    settings["config"] |= {"User": "app", "Entrypoint": ["python3"]}
    error = refused(Image(many.layers, json.dumps(settings).encode(), many.manifest), store)

    for part in (
        "manifest has", "linux/arm64", "entries of history", "Lambda allows 10 GB",
        "sets the user 'app'", "'python3' is not an absolute path",
    ):  # fmt: skip
        assert part in error.message


@pytest.mark.parametrize(
    ("more", "python", "message", "hint"),
    [
        (
            [(entry("opt/x.py", mode=0o600), b"")], HERE,
            "Lambda's user may not read /opt/x.py", "chmod",
        ),
        ([entry("srv", tarfile.DIRTYPE, mode=0o750)], HERE, "may not read /srv", "chmod"),
        (
            [entry("usr/bin/perl", tarfile.LNKTYPE, "usr/bin/perl5.40")], HERE,
            "a hard link usr/bin/perl to a file of another layer", "rebuild the base",
        ),
        (
            [(entry("lib/ld-musl-x86_64.so.1"), b"")], HERE,
            "C library musl", "Debian",
        ),
        ([], "3.99", f"has Python {HERE}, and the packages are for 3.99", "image.python"),
    ],
)  # fmt: skip
def test_each_rule_has_its_error_and_hint(
    tmp_path: Path, more: list[tarfile.TarInfo], python: str, message: str, hint: str
) -> None:
    """What is wrong, where, and what to do about it."""
    store = Store(tmp_path)
    error = refused(configured(small_base(store, *more)), store, python)

    assert message in error.message
    assert hint in error.hint


def test_an_entry_point_must_lead_to_a_program(tmp_path: Path) -> None:
    """Nothing there, a link to nowhere, and a file that may not be started are all refused."""
    store = Store(tmp_path)
    base = small_base(store, entry("a", tarfile.SYMTYPE, "/b"), entry("b", tarfile.SYMTYPE, "/a"))
    for path in ("/nowhere", "/a", "/lib64/libc.so.6/x", "/usr/bin"):
        assert f"entry point {path} is not" in refused(configured(base, path), store).message
    plain = small_base(store, (entry("start.sh", mode=0o644), b"#!/bin/sh"))
    assert "start.sh is not" in refused(configured(plain, "/start.sh"), store).message


def test_a_whiteout_hides_the_interpreter(tmp_path: Path) -> None:
    """The image is judged as a process sees it, not layer by layer."""
    store = Store(tmp_path)
    image = small_base(store).append(foreign_layer(store, tar_of(entry("usr/.wh.bin"))))

    assert "entry point" in refused(configured(image), store).message


def test_libraries_newer_than_the_base_are_refused(tmp_path: Path) -> None:
    """The newest version that a shared library asks of glibc must be in the base."""
    store = Store(tmp_path)
    strings = b"\0libm.so.6\0GLIBC_2.17\0GLIBC_2.38\0GLIBC_2.2.5\0"
    wheel = layer.write(store, {"opt/python/x.so.1": strings}, "wheels", compression.deflated)
    image = configured(small_base(store).append(wheel))
    found = survey.survey(wheel, store)
    foreign = survey.survey(
        foreign_layer(store, tar_of((entry("opt/python/x.so.1"), strings))), store
    )

    error = refused(image, store)
    assert "need glibc 2.38, and the base has 2.34" in error.message
    assert found.needs == foreign.needs == (2, 38)


def test_a_layer_is_surveyed_alike_when_written_and_when_read(tmp_path: Path) -> None:
    """What the writer notes is what a reader of its tar finds."""
    store = Store(tmp_path)
    files: dict[str, layer.Content] = {"a/b/c.txt": b"x" * 700, "a/d": b"", "é" * 80: b"1"}
    made = layer.write(store, files, "test", compression.stored)
    written = survey.survey(made, store)
    (store.root / "notes" / "surveys" / f"{made.diff_id[7:]}.json").unlink()

    assert survey.survey(made, store) == written


def test_an_image_without_a_base_needs_no_interpreter(tmp_path: Path) -> None:
    """The embedded cloud brings the host's."""
    store = Store(tmp_path)
    image = configured(foreign_image(store, [tar_of((entry("opt/python/x.py"), b""))]))

    limits.check(image, "x86_64", HERE, store)
