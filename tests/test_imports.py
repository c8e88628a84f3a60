"""Bundles and lazy modules, in processes of their own: what a plain import gives, they give."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pack_cases import HERE

from fnmodel.imports import NAME
from fnmodel.pack import bundle, bytecode

ROOT = Path(__file__).parent.parent

SOURCES = {
    "pkg/__init__.py": '"""A package."""\nfrom pkg import part\n',
    "pkg/part.py": '"""A part."""\n\ndef fail():\n    raise ValueError("here")  # the line\n',
    "pkg/data.txt": "some data",
    "pkg/deep/__init__.py": "",
    "pkg/deep/leaf.py": "from pkg.part import fail\n",
    "space/inner.py": "VALUE = 1\n",
    "single.py": 'VALUE = 1\nif __name__ == "__main__":\n    print("as a program", VALUE)\n',
    "pkg-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\n",
}
MODULES = ("pkg", "pkg.part", "pkg.deep", "pkg.deep.leaf", "space.inner", "single")

SERVED = """
def served():
    return sorted(n for n, m in sys.modules.items() if type(m.__loader__).__qualname__ == "_Loader"
                  and type(m.__loader__).__module__ == "fnmodel.imports")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(tmp_path / "tree")


def make(folder: Path, sources: dict[str, str] = SOURCES) -> Path:
    """Write a folder of modules with bytecode and a bundle."""
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    bytecode.host(HERE).compile(folder, "/opt/python")
    bundle.write(folder, HERE, bundle.modules(folder))
    return folder


def run(*path: Path, program: str, bundles: bool = True) -> tuple[str, str]:
    """Run a program that ends well, as the image's Python runs; return what it says."""
    start = "import sys\nsys.dont_write_bytecode = True\n"
    if bundles:
        start += "from fnmodel import imports\nimports.install()\n"
    done = subprocess.run(
        [sys._base_executable, "-P", "-s", "-S", "-c", start + SERVED + program],
        env={"PYTHONPATH": os.pathsep.join([*map(str, path), str(ROOT)])},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_modules_come_from_the_bundle(tree: Path) -> None:
    """Modules of packages, of a folder without `__init__`, and at the top, with their code."""
    for path in tree.rglob("*.pyc"):
        path.unlink()
    (tree / "single.py").write_text("VALUE = 2\n")  # as with unchecked .pyc, nobody looks
    said, log = run(
        tree, program="import pkg.deep.leaf, single, space.inner\nprint(served(), single.VALUE)"
    )

    assert (said, log) == (f"{sorted(MODULES)} 1", "")


def test_nothing_that_code_can_ask_differs(tree: Path) -> None:
    """Attributes, sources, tracebacks, resources, metadata and lists are a plain import's."""
    program = """
import importlib, importlib.metadata, importlib.resources, inspect, pkgutil, traceback
import pkg.deep.leaf, single
for m in (pkg, pkg.part, pkg.deep.leaf, single):
    s = m.__spec__
    print(m.__name__, m.__file__, getattr(m, "__path__", None), m.__package__, m.__doc__)
    print(s.origin, s.cached, s.has_location, s.parent, s.submodule_search_locations)
    loader = m.__loader__
    print(inspect.getsource(m), loader.get_source(m.__name__), loader.is_package(m.__name__))
try:
    pkg.part.fail()
except ValueError:
    print(traceback.format_exc().splitlines()[-2:])
print(importlib.resources.files("pkg").joinpath("data.txt").read_text())
print(pkgutil.get_data("pkg", "data.txt"), [m.name for m in pkgutil.walk_packages(pkg.__path__)])
print(importlib.metadata.version("pkg"), importlib.util.find_spec("pkg.deep").origin)
print(importlib.reload(single) is single, importlib.reload(pkg.deep).__file__)
try:
    import pkg.absent
except ModuleNotFoundError as error:
    print(error)
"""
    with_bundle, _ = run(tree, program=program)
    without, _ = run(tree, program=program, bundles=False)

    assert "# the line" in with_bundle
    assert with_bundle == without


def test_a_packed_module_runs_as_a_program(tree: Path) -> None:
    """`python -m` and runpy find its code."""
    said, _ = run(tree, program="import runpy\nrunpy.run_module('single', run_name='__main__')")

    assert said == "as a program 1"


def test_threads_import_at_the_same_time(tmp_path: Path) -> None:
    """Each module is executed once, whoever asks first."""
    sources = {f"many/m{n}.py": "import time; time.sleep(0.001); ID = object()" for n in range(40)}
    tree = make(tmp_path / "tree", {"many/__init__.py": "", **sources})
    program = """
import importlib, threading
seen = [[] for _ in range(8)]
def work(mine):
    for n in range(40):
        mine.append(importlib.import_module(f"many.m{n}").ID)
threads = [threading.Thread(target=work, args=(mine,)) for mine in seen]
for t in threads: t.start()
for t in threads: t.join()
print(all(mine == seen[0] for mine in seen), len(set(seen[0])), len(served()))
"""
    assert run(tree, program=program)[0] == "True 40 41"


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "cut in the header": lambda data: data[:20],
    "without code": lambda data: data[:-1],
    "of another Python": lambda data: data[:17] + b"\1\2\3\4" + data[21:],
    "of another version": lambda data: data.replace(b"bundle 1", b"bundle 2", 1),
    "with a flipped bit in the index": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "with a flipped bit in the code": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "with an endless index": lambda data: data[:32] + b"\xff\xff\xff\xff" + data[36:],
    "something else": lambda _: b"#!/bin/sh\n" * 100,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_bundle_only_takes_time(tree: Path, how: str) -> None:
    """The plain import stands in, and one line of the log says so."""
    path = tree / NAME
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    program = """
import pkg.deep.leaf, single, space.inner
print(single.VALUE, space.inner.VALUE, pkg.deep.leaf.fail.__module__)
"""
    said, log = run(tree, program=program)

    assert said == "1 1 pkg.part"
    line = json.loads(log)
    assert line["level"] == "WARNING"
    assert f"{path} is not used" in line["message"]


def test_an_empty_bundle_is_none(tree: Path) -> None:
    """With it an upper layer hides the bundle of a lower one."""
    (tree / NAME).write_bytes(b"")

    assert run(tree, program="import pkg, single\nprint(served())") == ("[]", "")


def test_the_order_of_the_path_holds(tmp_path: Path, tree: Path) -> None:
    """A folder before the bundle's hides its modules, also one that is put there later."""
    before = tmp_path / "before"
    before.mkdir()
    (before / "single.py").write_text("VALUE = 'before'\n")
    later = tmp_path / "later"
    later.mkdir()
    (later / "pkg.py").write_text("VALUE = 'later'\n")
    program = f"""
import single
print(single.VALUE)
sys.path.insert(0, {str(later)!r})
import pkg
print(pkg.VALUE, served())
"""
    assert run(before, tree, program=program)[0].split() == ["before", "later", "[]"]


def test_a_package_with_another_path_is_imported_plainly(tmp_path: Path, tree: Path) -> None:
    """What a package puts before its own folder comes first."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "part.py").write_text("VALUE = 'other'\n")
    program = f"""
import pkg.deep
pkg.__path__.insert(0, {str(other)!r})
del sys.modules["pkg.part"]
import pkg.part
print(pkg.part.VALUE)
"""
    assert run(tree, program=program)[0] == "other"


def test_an_extension_of_the_same_name_is_not_packed(tmp_path: Path) -> None:
    """An import would find it before the source."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    make(tree, {"fast.py": "", "slow.py": ""})
    program = (
        "import slow, importlib.util\nprint(served(), importlib.util.find_spec('slow').origin)"
    )

    assert run(tree, program=program)[0] == f"['slow'] {tree}/slow.py"


def test_the_same_modules_give_the_same_bytes(tmp_path: Path) -> None:
    """Neither the folder nor the run enters a bundle; the code names paths of the image."""
    one, two = (make(tmp_path / name) / NAME for name in ("one", "two"))

    assert one.read_bytes() == two.read_bytes()
    assert b"/opt/python/pkg/part.py" in one.read_bytes()
    assert str(tmp_path).encode() not in one.read_bytes()


def test_names_that_are_not_there_are_passed_over(tmp_path: Path, tree: Path) -> None:
    """One list serves every Python; without any module there is no bundle."""
    bundle.write(tree, HERE, ["absent", "pkg.absent", "single"])
    empty = tmp_path / "empty"
    empty.mkdir()
    bundle.write(empty, HERE, ["absent"])

    assert run(tree, program="import pkg, single\nprint(served())")[0] == "['single']"
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("name", ["single.py", "pkg/__init__.py", "pkg/part.so", "pkg/part/x.py"])
def test_a_layer_that_brings_a_packed_module_hides_the_bundle(tmp_path: Path, name: str) -> None:
    """A project's package may replace a file of the runtime's; other files change nothing."""
    upper = tmp_path / "upper"
    (upper / name).parent.mkdir(parents=True)
    (upper / name).write_text("")
    bundle.hide(upper, MODULES)
    apart = tmp_path / "apart"
    (apart / "pkg").mkdir(parents=True)
    (apart / "pkg/more.py").write_text("")
    bundle.hide(apart, MODULES)

    assert (upper / NAME).is_file() == (name != "pkg/part/x.py")
    assert not (apart / NAME).exists()


def test_lazy_modules_wake_when_they_are_used() -> None:
    """`import` makes an empty module; an attribute, a from-import or a star brings all of it."""
    program = """
import ast, inspect, ipaddress, textwrap, tokenize
from fnmodel.lazy import LAZY
asleep = lambda: sorted(n for n in LAZY if type(sys.modules[n]) is not type(sys))
print(asleep() == sorted(LAZY), inspect.__file__.endswith("inspect.py"))
print(textwrap.dedent("  a"), type(textwrap) is type(sys))
from ipaddress import ip_address
from tokenize import *
print(ip_address("127.0.0.1"), NAME, asleep())
print(inspect.signature(lambda a, b=1: a), inspect.getsource(textwrap.dedent)[:10])
print(ast.parse("1").body[0].value.value, asleep())
try:
    ast.absent
except AttributeError as error:
    print(error)
"""
    said, log = run(program=program)

    assert log == ""
    assert said.splitlines() == [
        "True True",
        "a True",
        "127.0.0.1 1 ['ast', 'inspect']",
        "(a, b=1) def dedent",
        "1 []",
        "module 'ast' has no attribute 'absent'",
    ]


def test_lazy_modules_wake_once_in_many_threads() -> None:
    """Threads that touch a sleeping module at a time all find it whole."""
    program = """
import threading, inspect
barrier = threading.Barrier(8)
seen = []
def work():
    barrier.wait()
    seen.append((inspect.signature, inspect.unwrap, inspect.BoundArguments))
threads = [threading.Thread(target=work) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print(len(seen), len(set(seen)))
"""
    assert run(program=program)[0] == "8 1"


def test_lazy_modules_can_be_reloaded_and_patched() -> None:
    """A module that is awake is a plain one; one that sleeps keeps what is put there."""
    program = """
import ast, importlib, textwrap, ipaddress, dataclasses
ast.parse = "patched"
print(ast.parse, ast.dump.__module__)
textwrap.dedent
print(importlib.reload(textwrap) is textwrap, type(textwrap) is type(sys))
importlib.reload(ipaddress)
print(ipaddress.ip_address("::1"))
@dataclasses.dataclass
class A:
    x: int = 1
print(A.__doc__)
"""
    assert run(program=program)[0].splitlines() == [
        "patched ast",
        "True True",
        "::1",
        "A(x: int = 1)",
    ]
