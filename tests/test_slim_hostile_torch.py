"""PyTorch files that would run code, or read and write files, are refused by name."""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_cases import Calls, call, nothing_outside, stream, text, touching, word

from fnmodel.errors import FnmodelError, SlimError, UntrustedModelError
from fnmodel.slim.untrusted import torch_file

torch = pytest.importorskip("torch")

Make = Callable[[Path, str], None]


class Net(torch.nn.Module):  # type: ignore[misc]
    """A small network whose class is not torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two numbers a row."""
        return torch.relu(self.layer(x))


def plain() -> torch.nn.Module:
    """Return a network of torch's own classes."""
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())


def _archive(path: Path, data: bytes, **more: bytes) -> None:
    """Write what torch.save writes, with another pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", data)
        archive.writestr("model/byteorder", "little")
        archive.writestr("model/version", "3\n")
        for name, content in more.items():
            archive.writestr(f"model/{name}", content)


def _pickled(make: Callable[[str], bytes]) -> Make:
    return lambda path, marker: _archive(path, make(marker))


def _within(make: Callable[[str], Any]) -> Make:
    """Write a real network with something hostile among what it holds."""

    def write(path: Path, marker: str) -> None:
        model = plain()
        make_in = make(marker)
        model.__dict__["more"] = make_in
        torch.save(model, path)

    return write


def _legacy(path: Path, marker: str) -> None:
    torch.save(Calls(exec, touching(marker)), path, _use_new_zipfile_serialization=False)


def _nested(path: Path, marker: str) -> None:
    inner = io.BytesIO()
    torch.save(Calls(exec, touching(marker)), inner, _use_new_zipfile_serialization=False)
    _archive(path, _storage(inner.getvalue()))


def _storage(data: bytes) -> bytes:
    held = b"B" + len(data).to_bytes(4, "little") + data
    return stream(call("torch.storage _load_from_bytes", held))


def _size(path: Path, _marker: str) -> None:
    """Write a tensor that says that it holds four terabytes."""
    kind = b"(" + text("storage") + word("torch FloatStorage") + text("0") + text("cpu")
    kept = kind + b"\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"tQ"
    shape = b"\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85"
    tensor = call(
        "torch._utils _rebuild_tensor_v2", kept, b"K\x00", shape, b"K\x01\x85", b"\x89",
        word("collections OrderedDict") + b")R",
    )  # fmt: skip
    _archive(path, stream(tensor), **{"data/0": b"\x00" * 16})


HOSTILE: dict[str, Make] = {
    "exec": _pickled(lambda marker: pickle.dumps(Calls(exec, touching(marker)))),
    "exec among the attributes of a network": _within(lambda m: Calls(exec, touching(m))),
    "system": _pickled(lambda marker: pickle.dumps(Calls(os.system, f"touch {marker}"))),
    "module that torch imports": _pickled(
        lambda m: stream(
            call("torch.nn.functional importlib", text("os")), call("posix system", text(m))
        )
    ),
    "function of another module in torch.nn.functional": _pickled(
        lambda _: stream(
            call("torch.nn.functional handle_torch_function", word("builtins exec"), b")", b")")
        )
    ),
    "maker of functions in torch.nn.functional": _pickled(
        lambda m: stream(
            call(
                "torch.nn.functional boolean_dispatch",
                text("x"),
                b"K\x00",
                b"\x88",
                word("builtins exec"),
                word("builtins exec"),
                text("a"),
                text(m),
            )
        )
    ),
    "dotted name": _pickled(
        lambda m: stream(call("torch.nn Module.__init__.__globals__.get", text(m)))
    ),
    "library": _pickled(
        lambda m: stream(call("torch._ops _OpNamespace", text(m)), call("torch.ops load", text(m)))
    ),
    "hub": _pickled(lambda m: stream(call("torch.hub load", text(m), text(m)))),
    "partial": _pickled(
        lambda m: stream(call("functools partial", word("posix system"), text(f"touch {m}")))
    ),
    "getattr": _pickled(
        lambda m: stream(call("builtins getattr", word("torch.nn Linear"), text(m)))
    ),
    "file before zip": _legacy,
    "pickle within a storage": _nested,
    "class that is not torch's": lambda path, _: torch.save(Net(), path),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_with_names_of_its_own_runs_nothing(tmp_path: Path, kind: str) -> None:
    """The error names what is not torch's, and nothing of it has run."""
    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    HOSTILE[kind](path, str(marker))

    with nothing_outside(tmp_path), pytest.raises(FnmodelError) as caught:
        torch_file.module(path, frozenset())

    assert not marker.exists()
    assert isinstance(caught.value, SlimError)
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    """Four terabytes are not taken for the asking."""
    _size(tmp_path / "model.pt", "")

    with pytest.raises(SlimError, match=r"cannot be read|does what no"):
        torch_file.module(tmp_path / "model.pt", frozenset())


def test_a_known_name_is_not_enough_to_be_trusted_for_others(tmp_path: Path) -> None:
    """With one class trusted, another in the same file is still refused."""
    model = torch.nn.Sequential(Net())
    model.more = Calls(exec, touching(str(tmp_path / "marker")))
    torch.save(model, tmp_path / "model.pt")

    with pytest.raises(UntrustedModelError, match=r"builtins\.exec"):
        torch_file.module(tmp_path / "model.pt", frozenset({f"{__name__}.Net"}))
    assert not (tmp_path / "marker").exists()


class Reads(torch.nn.Module):  # type: ignore[misc]
    """Adds what a file of the machine holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Read a file."""
        return x + torch.from_file("/etc/hostname", size=4, dtype=torch.uint8).sum()


class Writes(torch.nn.Module):  # type: ignore[misc]
    """Writes a file as it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.marker = "MARKER"

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        """Return what is saved."""
        return self.weight, self.marker, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        """Make a file before anybody asks for an answer."""
        self.weight = state[0]
        self.marker = state[1]
        torch.save(state[0], state[1])
        self.training = state[2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return something harmless."""
        return x * self.weight


def _scripted(module: Any, **attributes: str) -> Make:
    def write(path: Path, marker: str) -> None:
        made = module()
        for name in attributes:
            setattr(made, name, marker)
        torch.jit.script(made).save(str(path))

    return write


def _edited(old: str, new: str) -> Make:
    """Write TorchScript whose code was edited after it was compiled."""

    def write(path: Path, marker: str) -> None:
        torch.jit.script(Net()).save(str(path))
        edited = []
        before = path.with_suffix(".before")
        shutil.move(path, before)
        with zipfile.ZipFile(before) as given, zipfile.ZipFile(path, "w") as made:
            for info in given.infolist():
                data = given.read(info)
                if info.filename.endswith(".py") and old in data.decode():
                    code = data.decode().replace(old, new.replace("MARKER", marker))
                    data = code.encode()
                    edited.append(info.filename)
                made.writestr(info.filename, data)
        assert edited

    return write


SCRIPTS: dict[str, Make] = {
    "reads": _scripted(Reads),
    "writes as it loads": _scripted(Writes, marker="MARKER"),
    "spaces": _edited("torch.relu", "torch . \\\n from_file('MARKER', True, 4) + torch.relu"),
    "getattr": _edited("torch.relu", "getattr(torch, 'save')(x, 'MARKER')\n    torch.relu"),
    "another name for torch": _edited(
        "torch.relu(", "torch.relu(x)\n    t = torch\n    t.save(x, "
    ),
    "no code": _edited("torch.relu", "'''"),
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_code_of_torchscript_that_touches_files_is_refused_before_it_is_loaded(
    tmp_path: Path, kind: str
) -> None:
    """Loading runs a part of it; so it is looked through first."""
    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    SCRIPTS[kind](path, str(marker))

    with nothing_outside(tmp_path), pytest.raises(SlimError, match=r"model\.pt"):
        torch_file.script(path)

    assert not marker.exists()


def test_torchscript_of_a_layer_list_is_read(tmp_path: Path) -> None:
    """Its code looks layers up by `getattr`, which is not what is refused."""
    torch.jit.script(plain()).save(str(tmp_path / "model.pt"))

    assert torch_file.script(tmp_path / "model.pt")(torch.zeros(1, 3)).shape == (1, 2)


def _exported(path: Path, change: Callable[[str], str]) -> None:
    x = {"x": {0: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(Net(), (torch.zeros(2, 3),), dynamic_shapes=x)
    torch.export.save(program, path)
    before = path.with_suffix(".before")
    shutil.move(path, before)
    with zipfile.ZipFile(before) as given, zipfile.ZipFile(path, "w") as made:
        for info in given.infolist():
            data = given.read(info)
            if info.filename.endswith("/model.json"):
                data = change(data.decode()).encode()
                json.loads(data)
            made.writestr(info.filename, data)


RELU = '"torch.ops.aten.relu.default"'
PROGRAMS: dict[str, Callable[[str], str]] = {
    "operator of files": lambda text: text.replace(RELU, '"torch.ops.aten.from_file.default"'),
    "function of Python": lambda text: text.replace(RELU, '"torch.serialization.os.system"'),
    "hub": lambda text: text.replace(RELU, '"torch.hub.load"'),
    "size that runs": lambda text: text.replace('"expr_str": "', '"expr_str": "exec(1)+'),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_of_other_things_than_operators_is_refused(tmp_path: Path, kind: str) -> None:
    """Targets are looked up by their dotted names, wherever these lead."""
    path = tmp_path / "model.pt2"
    changed = []

    def change(text: str) -> str:
        changed.append(PROGRAMS[kind](text) != text)
        return PROGRAMS[kind](text)

    _exported(path, change)

    assert changed == [True]
    with nothing_outside(tmp_path), pytest.raises(SlimError, match=r"model\.pt2"):
        torch_file.program(path)


def test_a_pickle_within_a_program_is_not_read(tmp_path: Path) -> None:
    """The weights and the example inputs of a program are tensors, or nothing is read."""
    path, marker = tmp_path / "model.pt2", tmp_path / "marker"
    _exported(path, lambda text: text)
    before = path.with_suffix(".again")
    shutil.move(path, before)
    held = io.BytesIO()
    torch.save(Calls(exec, touching(str(marker))), held)
    replaced = []
    with zipfile.ZipFile(before) as given, zipfile.ZipFile(path, "w") as made:
        for info in given.infolist():
            data = given.read(info)
            if data[:2] == b"PK":
                replaced.append(info.filename)
                data = held.getvalue()
            made.writestr(info.filename, data)

    assert replaced
    with nothing_outside(tmp_path), pytest.raises(SlimError):
        torch_file.program(path)
    assert not marker.exists()
