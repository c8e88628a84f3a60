"""Opens PyTorch files: only torch's own code comes to life, and what the user trusts by name."""

import inspect
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fnmodel.errors import FnmodelError, SlimError, UnsupportedModelError
from fnmodel.slim.networks import network
from fnmodel.slim.untrusted import allowed, torch_script, unpickle
from fnmodel.slim.untrusted.torch_script import FILE_OPERATORS

_SAVE_WHOLE = (
    "save the whole module with torch.save(model, 'model.pt') or, without need of its class, with "
    "torch.export.save or torch.jit.script(model).save"
)
_AGAIN = "save the model again, with the version of torch that is installed here"
# What modules keep as values beside modules: activation functions and plain containers.
_FUNCTIONS = re.compile(r"torch\.(nn\.functional|_C\._nn)\.[a-z]\w*|torch\.(relu|tanh|sigmoid)")
# A serialised size is a formula in sympy's words; sympy would run anything else in its place.
_FORMULA = re.compile(r"[\w\s()+\-*/,=<>.]*")
_SYMBOL = re.compile(r"'[a-z]\w{0,20}'")
_WORD = re.compile(r"[A-Za-z_]\w*")
_FORMULA_WORDS = frozenset(
    "Symbol Integer Rational Float Add Mul Pow Max Min Mod FloorDiv CeilDiv CleanDiv PythonMod "
    "IntTrueDiv FloatTrueDiv ModularIndexing Where ToFloat TruncToInt Eq Ne Equality Unequality "
    "StrictLessThan LessThan GreaterThan StrictGreaterThan And Or Not floor ceiling oo int_oo "
    "true false True False positive negative nonnegative nonzero integer real zero even odd".split()
)
_LARGEST_JSON = 2**28


def module(path: Path, trust: frozenset[str]) -> Any:
    """Read a module that `torch.save` wrote whole, in eval mode.

    Raises:
        UntrustedModelError: it names classes beyond torch.nn that `trust` does not hold.
        UnsupportedModelError: the file holds weights without their module.
        SlimError: the file is damaged, or a trusted class cannot be imported.

    """
    import torch

    allowed.check_trust(trust)
    with _translated(path):
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    unknown = [name for name in names if name not in trust and not _of_torch(name)]
    if unknown:
        raise unpickle.untrusted(path.name, unknown)
    known = [_imported(path, name) for name in names]
    with torch.serialization.safe_globals(known), _translated(path):
        value = torch.load(path, map_location="cpu", weights_only=True)
    return ready(_only_module(path, value))


def script(path: Path) -> Any:
    """Read a TorchScript module, in eval mode.

    Raises:
        SlimError: the file is damaged or of another version, or its code reads or writes files.

    """
    import torch

    with _translated(path):
        torch_script.check(path)
        return torch.jit.load(str(path), map_location="cpu").eval()


def program(path: Path) -> Any:
    """Read a `torch.export` program.

    Raises:
        SlimError: the file is damaged, or holds other things than tensors and operators.

    """
    import torch

    _check_json(path)
    # Without this, torch falls back to a pickle that runs code.
    with _environment("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1"), _translated(path):
        return torch.export.load(str(path))


def ready(value: Any) -> Any:
    """Return a module unwrapped, in eval mode and in float32 where it was in half precision."""
    import torch

    for wrapper, inner in (("DataParallel", "module"), ("OptimizedModule", "_orig_mod")):
        if type(value).__name__ == wrapper:
            value = getattr(value, inner)
    if any(p.dtype in {torch.float16, torch.bfloat16} for p in value.parameters()):
        value = value.float()
    return value.eval().requires_grad_(False)


def _only_module(path: Path, value: Any) -> Any:
    import torch

    if isinstance(value, torch.nn.Module):
        return value
    if isinstance(value, Mapping):
        modules = [item for item in value.values() if isinstance(item, torch.nn.Module)]
        if len(modules) == 1:  # a checkpoint with optimizer and epoch
            return modules[0]
        raise UnsupportedModelError(
            f"{path.name} holds weights (a state_dict) without the module that computes with them",
            hint=_SAVE_WHOLE,
        )
    raise UnsupportedModelError(
        f"{path.name} holds a {type(value).__name__}, not a torch.nn.Module", hint=_SAVE_WHOLE
    )


def _of_torch(name: str) -> bool:
    """Whether a global is a module class of torch.nn, or one of its functions."""
    import torch

    if name == "builtins.set":
        return True
    home, _, last = name.rpartition(".")
    if _FUNCTIONS.fullmatch(name):
        # Such a module has imported others, and they are its attributes as well.
        found = getattr(import_module(home), last, None)
        at_home = getattr(found, "__module__", None) in (None, home, "torch")
        return inspect.isroutine(found) and at_home
    if not home.startswith("torch.nn."):
        return False
    value = getattr(import_module(home), last, None) if _exists(home) else None
    return isinstance(value, type) and issubclass(value, torch.nn.Module)


def _exists(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _imported(path: Path, name: str) -> Any:
    home, _, last = name.rpartition(".")
    try:
        return getattr(import_module(home), last)
    except ModuleNotFoundError as error:
        raise SlimError(
            f"{path.name} needs the module {error.name!r}, which is not installed here",
            hint=f"install the package that provides {error.name!r} beside fnmodel, or save the "
            "model with torch.export.save, which needs no class",
        ) from error
    except AttributeError as error:
        raise SlimError(
            f"{path.name} needs {name}, which {home} does not have here",
            hint="a class defined in the training script cannot be read elsewhere: move it into a "
            "module, or save the model with torch.export.save",
        ) from error


def _check_json(path: Path) -> None:
    """Refuse a program whose sizes are no formulas, or that uses operators of files."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".json"):
                continue
            if info.file_size > _LARGEST_JSON:
                raise SlimError(f"{path.name}: {info.filename} is too large", hint=_AGAIN)
            try:
                data = json.loads(archive.read(info))
            except (ValueError, RecursionError) as error:
                raise SlimError(f"{path.name}: {info.filename} is no JSON", hint=_AGAIN) from error
            for key, text in _texts(data):
                if key == "expr_str" and not _is_formula(text):
                    raise _strange(path, f"has a size that is no formula: {text[:60]!r}")
                if key == "target" and FILE_OPERATORS.intersection(text.split(".")):
                    raise _strange(path, f"uses {text[:60]!r}, which reads or writes files")


def _strange(path: Path, what: str) -> SlimError:
    return SlimError(f"{path.name} {what}", hint="do not use this file unless you wrote it")


def _is_formula(text: str) -> bool:
    bare = _SYMBOL.sub("s0", text)
    words = {word for word in _WORD.findall(bare) if not re.fullmatch(r"[su]\d+", word)}
    return bool(_FORMULA.fullmatch(bare)) and words <= _FORMULA_WORDS


def _texts(data: Any) -> Iterator[tuple[str, str]]:
    """Yield every text below plain data with its key."""
    stack = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, str):
                    yield key, item
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise SlimError(
            f"{path.name} does what no saved module does: {network.first_line(error)}",
            hint=_SAVE_WHOLE,
        ) from error
    except FnmodelError:
        raise
    except Exception as error:
        # Torch's own errors for what a file holds share no base class.
        raise SlimError(
            f"{path.name} cannot be read by torch: {network.first_line(error)}", hint=_AGAIN
        ) from error
