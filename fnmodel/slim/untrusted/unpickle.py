"""Reads pickle and joblib files whose every name is known, or trusted by the user by name.

The file is read twice. The first time nothing in it comes to life: its instructions are followed
with stand-ins, to name all that is unknown at once. The second time each step is checked again,
against `fnmodel.slim.untrusted.allowed`.
"""

import contextlib
import pickle
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnmodel.errors import FnmodelError, SlimError, UntrustedModelError
from fnmodel.slim.untrusted import allowed
from fnmodel.slim.untrusted.allowed import NotHereError
from fnmodel.slim.untrusted.bounds import check_indices
from fnmodel.slim.untrusted.machine import RefusedError
from fnmodel.slim.untrusted.permitted import KNOWN, Reader
from fnmodel.slim.untrusted.scanner import Scanner
from fnmodel.slim.untrusted.stream import Stream

_OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive, such as torch.save, Keras or skops write"),
    (b"\x89HDF", "an HDF5 file, such as Keras writes"),
    (b"\x08", "perhaps an ONNX file already"),
    (b"{", "JSON text"),
    (b"<", "a web page or XML text"),
)


def load(path: Path, *, trust: Collection[str] = frozenset()) -> Any:
    """Return the object in a pickle or joblib file, packed by zlib, gzip, bz2, lzma, xz or lz4.

    `trust` holds the full names of classes and functions of the user's own code. Their modules are
    imported, and they do whatever they do.

    Raises:
        UntrustedModelError: the file uses names that are neither known nor trusted; lists them.
        SlimError: the file is empty, broken, no pickle, or needs what is not installed.
        MissingExtraError: it is packed with lz4, which is not installed.
        UsageError: `trust` holds a pattern or a name of Python itself.

    """
    allowed.check_trust(trust)
    trusted = frozenset(trust)
    found = _look(path)
    unknown = found.unknown - trusted
    if unknown:
        raise untrusted(path.name, unknown)
    if found.broken is not None:
        raise _broken(path, found.broken) from found.broken
    missing = {name: home for name, home in found.missing.items() if name not in trusted}
    if missing:
        raise _missing(path.name, missing)
    with _explained(path), Stream(path) as stream:
        model = Reader(stream, trusted).load()
        check_indices(model)
        return model


def scan(path: Path) -> frozenset[str]:
    """Return the names in a pickle or joblib file that are not known, without following them.

    Raises:
        SlimError: the file cannot be followed to its end, and up to there all names are known.

    """
    found = _look(path)
    if found.broken is not None and not found.unknown:
        raise _broken(path, found.broken) from found.broken
    return frozenset(found.unknown)


def untrusted(file: str, unknown: Collection[str]) -> UntrustedModelError:
    """Return the error that names all unknown names of a file and says what to do."""
    names = sorted(unknown)
    listed = ", ".join(map(allowed.shown, names[:20]))
    listed += f" and {len(names) - 20} more" if len(names) > 20 else ""
    pythons = [name for name in names if allowed.of_python(name)]
    message = f"{file} uses what no known trained model uses: {listed}"
    if pythons:
        return UntrustedModelError(
            message,
            hint=f"do not use this file unless you wrote it: {allowed.shown(pythons[0])} is no "
            "part of a model. Save the fitted estimator without Python's own functions in it",
        )
    return UntrustedModelError(
        message,
        hint=f"if that is your own code, allow it by name: {allowed.how_to_trust(names)}",
    )


@dataclass
class _Found:
    unknown: set[str] = field(default_factory=set)
    missing: dict[str, str | None] = field(default_factory=dict)
    broken: Exception | None = None

    def name(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full in KNOWN or full in self.unknown or full in self.missing:
            return
        try:
            if allowed.permit(module, name) is None:
                self.unknown.add(full)
        except NotHereError as error:
            self.missing[full] = error.module


def _look(path: Path) -> _Found:
    found = _Found()
    try:
        with Stream(path) as stream:
            Scanner(stream, found.name).load()
    except (FnmodelError, MemoryError):
        raise
    except Exception as error:
        # A broken or foreign stream raises nearly any class.
        found.broken = error
    return found


def _missing(file: str, missing: Mapping[str, str | None]) -> SlimError:
    name, module = min(missing.items())
    if module is not None:
        return SlimError(
            f"{file} needs the module {module!r}, which is not installed here",
            hint=f"install the package that provides {module!r} beside fnmodel",
        )
    return SlimError(
        f"{file} needs {allowed.shown(name)}, which is not in the version that is installed here",
        hint="install the version of the library that trained the model",
    )


def _broken(path: Path, error: Exception) -> SlimError:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return SlimError(f"{path.name} is empty", hint="save the model again")
    kind = next((words for magic, words in _OTHER_FORMATS if head.startswith(magic)), "")
    if not kind and isinstance(error, RefusedError):
        return _refused(path, error)
    if not kind and not isinstance(error, pickle.UnpicklingError | EOFError):
        kind = f"{type(error).__name__}: {str(error)[:200]}"
    return SlimError(
        f"{path.name} is not a complete pickle or joblib file" + (f" ({kind})" if kind else ""),
        hint="fnmodel reads models saved by joblib.dump or pickle.dump",
    )


def _refused(path: Path, error: RefusedError) -> SlimError:
    return SlimError(
        f"{path.name} does what no trained model does: {error}",
        hint="do not use this file unless you wrote it; save the fitted estimator itself",
    )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (FnmodelError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        raise SlimError(
            f"{path.name} needs the module {error.name!r}, which is not installed here",
            hint=f"install the package that provides {error.name!r} beside fnmodel",
        ) from error
    except RefusedError as error:
        raise _refused(path, error) from error
    except AttributeError as error:
        raise SlimError(
            f"{path.name} needs something that is not there: {error}",
            hint="a class defined in the training script cannot be read elsewhere, and another "
            "version of a library may lack a class: install the version that trained the model",
        ) from error
    except Exception as error:
        raise _broken(path, error) from error
