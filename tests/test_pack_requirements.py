"""A project's own packages: locked with the runtime's, and put into a layer of their own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pack_cases import HERE, model_directory, refuse_to_install, tiny_wheels

from fnmodel.errors import LockError
from fnmodel.imports import NAME
from fnmodel.pack.build import Recipe, build
from fnmodel.pack.dependencies import Lock
from fnmodel.pack.image import Architecture
from fnmodel.pack.layout import Store
from fnmodel.pack.lock import pins as pinned
from fnmodel.pack.requirements import Change, lock, tracing_lock
from fnmodel.pack.rootfs import unpack

HASH = "    --hash=sha256:" + "0" * 64


def pins(*names: str) -> str:
    """Return the text of a lock, as uv writes it."""
    return "".join(f"{name} \\\n{HASH}\n" for name in names)


class Resolver:
    """Stands in for uv; keeps what it was asked."""

    def __init__(self, *names: str) -> None:
        self.answer = pins(*names)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, requirements: Path, python: str, platform: str, **given: Any) -> str:
        """Answer with the same pins each time."""
        self.asked.append({"python": python, "platform": platform, **given})
        assert requirements.is_file()
        return self.answer


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """Return a file that asks for one package."""
    path = tmp_path / "requirements.txt"
    path.write_text("unidecode  # letters\n")
    return path


def test_a_lock_is_made_once_and_again_when_something_changed(requirements: Path) -> None:
    """It stands beside the requirements; what it pins is kept where only they changed."""
    runtime = Lock.load(HERE)
    resolver = Resolver("unidecode==1.4.0")

    first, made = lock(requirements, runtime, "x86_64", resolve=resolver)
    second, unchanged = lock(requirements, runtime, "x86_64", resolve=resolver)
    requirements.write_text("unidecode\nzipp\n")
    resolver.answer = pins("unidecode==1.4.0", "zipp==3.0.0")
    _, grown = lock(requirements, runtime, "x86_64", resolve=resolver)
    resolver.answer = pins("zipp==4.0.0")
    _, renewed = lock(requirements, runtime, "x86_64", renew=True, resolve=resolver)

    assert first.path == requirements.with_name(f"requirements.py{HERE}-x86_64.lock")
    assert (first.data, made) == (second.data, (Change("unidecode", None, "1.4.0"),))
    assert unchanged == ()
    assert grown == (Change("zipp", None, "3.0.0"),)
    assert renewed == (Change("unidecode", "1.4.0", None), Change("zipp", "3.0.0", "4.0.0"))
    assert [asked["kept"].count("unidecode==1.4.0") for asked in resolver.asked] == [0, 1, 0]
    assert {asked["constraints"] for asked in resolver.asked} == {runtime.path}


def test_another_runtime_needs_another_lock(requirements: Path, tmp_path: Path) -> None:
    """What fitted the old runtime's pins may not fit the new one's."""
    resolver = Resolver("unidecode==1.4.0")
    (tmp_path / f"py{HERE}.txt").write_text(pins("numpy==1.0"))
    lock(requirements, Lock.load(HERE), "x86_64", resolve=resolver)
    lock(requirements, Lock.load(HERE, tmp_path), "x86_64", resolve=resolver)

    assert len(resolver.asked) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--index-url https://example.invalid\n", "line 1: '--index-url"),
        ("unidecode\n -r other.txt\n", "line 2: '-r other.txt' is an option"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_what_no_lock_can_hold_is_refused(
    requirements: Path, text: str | bytes | None, words: str
) -> None:
    """Options, indexes and unreadable files end in words that say what to do."""
    if text is None:
        requirements.unlink()
    else:
        requirements.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(LockError, match=words):
        lock(requirements, Lock.load(HERE), "x86_64", resolve=Resolver())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("numpy==1.0", "cannot be resolved"),
        ("unidecode @ file:///nowhere/unidecode-1.0-py3-none-any.whl", "cannot be resolved"),
    ],
)
def test_what_does_not_fit_is_said_by_the_resolver(
    requirements: Path, line: str, words: str
) -> None:
    """A pin against the runtime's, or a file of this machine; nothing is written."""
    requirements.write_text(line + "\n")

    with pytest.raises(LockError, match=words):
        lock(requirements, Lock.load(HERE), "x86_64")
    assert [path.name for path in requirements.parent.iterdir()] == ["requirements.txt"]


def test_the_layer_holds_what_the_runtimes_does_not(requirements: Path, tmp_path: Path) -> None:
    """Of a package that both have, only what serving does without, and no tests of anything."""
    own, _ = lock(
        requirements, Lock.load(HERE), "x86_64",
        resolve=Resolver("unidecode==1.4.0", "numpy==2.0.0"),
    )  # fmt: skip

    def install(asked: Lock, architecture: Architecture, folder: Path) -> None:
        if asked.path != own.path:
            tiny_wheels(asked, architecture, folder)
            return
        for name in (
            "unidecode/__init__.py", "unidecode/tests/__init__.py", "unidecode/x.pyi",
            "numpy/__init__.py", "numpy/random/__init__.py", "numpy/random/tests/test_a.py",
        ):  # fmt: skip
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        for package in ("unidecode-1.4.0", "numpy-2.0.0"):
            record = folder / f"{package}.dist-info" / "RECORD"
            record.parent.mkdir()
            top = package.partition("-")[0]
            files = [p for p in (folder / top).rglob("*") if p.is_file()]
            record.write_text("".join(f"{p.relative_to(folder)},,\n" for p in files))

    store = Store(tmp_path / "store")
    model = model_directory(tmp_path / "model")
    recipe = Recipe("own", HERE, "x86_64")
    image = build(model, recipe, store, own=own, install=install)
    again = build(model, recipe, store, own=own, install=refuse_to_install)
    root = unpack(image, store, tmp_path / "root") / "opt/python"
    made = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert image.digest == again.digest
    assert image.layers[1].created_by == "fnmodel pack: the project's packages"
    assert made == {
        "tiny/__init__.py", "unidecode/__init__.py", "unidecode-1.4.0.dist-info/RECORD",
        "numpy/random/__init__.py",
    }  # fmt: skip
    assert build(model, recipe, store, install=refuse_to_install).digest != image.digest


def test_a_package_that_replaces_a_module_of_the_runtime_hides_its_bundle(
    requirements: Path, tmp_path: Path
) -> None:
    """The bundle would go on serving the module that is not there any more."""
    own, _ = lock(
        requirements, Lock.load(HERE), "x86_64", resolve=Resolver("unidecode==1.4.0")
    )  # fmt: skip

    def install(asked: Lock, architecture: Architecture, folder: Path) -> None:
        (folder / "simplejson").mkdir(parents=True)
        (folder / "simplejson/__init__.py").write_text(f"VALUE = {asked.path == own.path}")

    model = model_directory(tmp_path / "model")
    recipe = Recipe("own", HERE, "x86_64")
    sizes = []
    for name, packages in (("runtime", None), ("both", own)):
        store = Store(tmp_path / name)
        image = build(model, recipe, store, own=packages, install=install)
        root = unpack(image, store, tmp_path / f"{name}-root") / "opt/python"
        sizes.append((root / NAME).stat().st_size)

    assert sizes[0] > 0
    assert sizes[1] == 0


def test_a_locked_package_imports_in_the_image(requirements: Path, tmp_path: Path) -> None:
    """A real package by its hashes, imported with nothing but the image on the path."""
    own, changes = lock(requirements, Lock.load(HERE), "x86_64")

    def install(asked: Lock, architecture: Architecture, folder: Path) -> None:
        from fnmodel.pack.dependencies import install_wheels

        (install_wheels if asked.path == own.path else tiny_wheels)(asked, architecture, folder)

    store = Store(tmp_path / "store")
    recipe = Recipe("own", HERE, "x86_64")
    image = build(model_directory(tmp_path / "model"), recipe, store, own=own, install=install)
    root = unpack(image, store, tmp_path / "root")
    said = subprocess.run(
        [sys.executable, "-S", "-s", "-c", "import unidecode as u; print(u.unidecode('Łódź'))"],
        env={"PYTHONPATH": f"{root}/opt/python"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    assert [change.name for change in changes] == ["unidecode"]
    assert said.strip() == "Lodz"


def test_what_sends_traces_is_a_layer_that_others_do_not_have(tmp_path: Path) -> None:
    """It lies above the dependencies, and all other layers are the very same without it."""
    store = Store(tmp_path / "store")
    model = model_directory(tmp_path / "model")

    def install(one: Lock, _architecture: Architecture, folder: Path) -> None:
        name = "sdk" if one.path.parent.name == "tracing" else "runtime"
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")

    plain = build(model, Recipe("churn", HERE, "x86_64"), store, install=install)
    traced = build(model, Recipe("churn", HERE, "x86_64", tracing=True), store, install=install)

    first, tracing, *others = traced.layers
    assert (first, *others) == plain.layers
    assert tracing.created_by == "fnmodel pack: what sends traces"
    assert traced.digest != plain.digest


def test_the_lock_of_what_sends_traces_holds_to_the_runtimes() -> None:
    """Each Python has one, and no package in it has another version than below."""
    for python in ("3.11", "3.12", "3.13", "3.14"):
        above, below = (
            pinned(one.data.decode()) for one in (tracing_lock(python), Lock.load(python))
        )
        assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= above.keys()
        assert {name: below[name] for name in above.keys() & below.keys()} == {
            name: above[name] for name in above.keys() & below.keys()
        }


def test_a_projects_packages_hold_to_both_locks(requirements: Path) -> None:
    """Beside the lock of what sends traces, that one's pins are constraints, too."""
    resolver = Resolver("unidecode==1.4.0")
    seen: list[str] = []

    def resolve(*given: Any, **more: Any) -> str:
        seen.append(more["constraints"].read_text())
        return resolver(*given, **more)

    lock(requirements, Lock.load(HERE), "x86_64", resolve=resolve)
    lock(requirements, Lock.load(HERE), "x86_64", resolve=resolve, beside=tracing_lock(HERE))

    assert len(seen) == 2  # another set of pins is another lock
    assert "opentelemetry-sdk==" not in seen[0]
    assert "opentelemetry-sdk==" in seen[1]
    assert "numpy==" in seen[1]
