"""`python -m fnmodel.pack.lock` says what a renewal of the runtime's locks changed."""

from pathlib import Path
from typing import Any

import pytest

from fnmodel.errors import LockError
from fnmodel.pack.lock import Change, main, renew

HASH = f"    --hash=sha256:{'a' * 64}\n"


def lock(**versions: str) -> str:
    return "".join(f"{name}=={version} \\\n{HASH}" for name, version in versions.items())


def test_the_changes_of_each_python_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Package, before and after, for each Python; a lock without changes says so."""
    (tmp_path / "py3.12.txt").write_text(lock(mangum="0.19.0", numpy="2.5.4", urllib3="2.5.0"))
    (tmp_path / "py3.13.txt").write_text(lock(numpy="2.5.5"))
    texts = {
        "3.12": lock(fastapi="0.1", numpy="2.5.5", urllib3="2.5.0"),
        "3.13": lock(numpy="2.5.5"),
    }

    def resolve(_requirements: Path, python: str, _platform: str) -> str:
        return texts[python]

    assert main(["3.12", "3.13"], tmp_path, resolve) == 0
    assert capsys.readouterr().out == (
        "py3.12.txt\n"
        "  fastapi  new → 0.1\n"
        "  mangum   0.19.0 → gone\n"
        "  numpy    2.5.4 → 2.5.5\n"
        "py3.13.txt: nothing changed\n"
    )
    assert (tmp_path / "py3.12.txt").read_text() == texts["3.12"]


def test_a_lock_that_was_not_there_is_all_new(tmp_path: Path) -> None:
    """A new Python's lock is written, and each package of it is a change."""

    def resolve(*_: Any) -> str:
        return lock(numpy="1")

    assert renew("3.15", tmp_path, resolve) == (Change("numpy", None, "1"),)
    assert (tmp_path / "py3.15.txt").read_text() == lock(numpy="1")


def test_a_lock_that_cannot_be_made_leaves_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is told with its exit code; what the architectures disagree on is one."""
    (tmp_path / "py3.12.txt").write_text(lock(numpy="1"))

    def refused(*_: Any) -> str:
        raise LockError("no wheel", hint="wait")

    assert main(["3.12"], tmp_path, refused) == LockError.exit_code
    assert "error: no wheel\nhint: wait" in capsys.readouterr().err
    assert main(["3.12"], tmp_path, lambda _, __, platform: platform) == LockError.exit_code
    assert "differently for x86_64 and arm64" in capsys.readouterr().err
    assert (tmp_path / "py3.12.txt").read_text() == lock(numpy="1")
