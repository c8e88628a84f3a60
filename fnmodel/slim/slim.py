"""Turns a trained model file into a verified model directory, once for each content."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fnmodel.errors import SlimError
from fnmodel.model import MODEL, PROBE, SIGNATURE, OnnxModel, Tolerance
from fnmodel.slim import sandbox
from fnmodel.slim.report import FILE as PARITY
from fnmodel.slim.report import ParityReport
from fnmodel.slim.sandbox import Limits
from fnmodel.slim.versions import versions

_FOLDER = "model"
_TEMPORARY = ".new-"
_YOUNG_SECONDS = 60


@dataclass(frozen=True)
class Slimmed:
    """A model directory, how it compares with the original, and whether it was there already."""

    model: OnnxModel
    report: ParityReport
    cached: bool


def slim(
    source: Path,
    *,
    sample: Path | None,
    target: str | None,
    tolerance: Tolerance,
    label_flips: int,
    cache: Path,
    progress: Callable[[str], None],
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
) -> Slimmed:
    """Convert a trained model and compare its answers, or find the result of the same conversion.

    The result stands in `cache/KEY/`: `model/` and `parity.json`. It appears there whole or not
    at all. A report that did not pass is a result too: call `report.check()` to stop at it.

    Raises:
        SlimError: the model or the sample cannot be read, or does not fit.
        MissingExtraError: scikit-learn or its converter is not installed.
        UnsupportedModelError: a step has no converter.

    """
    source, cache = source.absolute(), cache.absolute()
    sample = sample.absolute() if sample else None
    sha256 = _sha256(source, "the model")
    settings = [source.name, target, tolerance.absolute, tolerance.relative, label_flips]
    key = _key(sha256, sample, settings)
    final = cache / key
    found = _find(final)
    if found is not None:
        progress(f"{source.name} is converted already")
        return found
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    with _temporary(cache) as folder:
        work, made = folder / "work", folder / "result"
        work.mkdir()
        made.mkdir()
        order = {
            "job": {
                "source": str(source),
                "sha256": sha256,
                "sample": str(sample) if sample else None,
                "target": target,
                "tolerance": {"absolute": tolerance.absolute, "relative": tolerance.relative},
                "label_flips": label_flips,
                "folder": str(made / _FOLDER),
            }
        }
        shield = sandbox.isolation(folder)
        data = sandbox.run(order, folder=work, shield=shield, limits=limits, progress=progress)
        data["isolation"] = [
            *shield.words,
            f"at most {limits.seconds} s and {limits.memory >> 30} GB",
        ]
        sandbox.check_files(made / _FOLDER, (MODEL, SIGNATURE, PROBE))
        (made / PARITY).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        made.chmod(0o755)
        with suppress(OSError):  # another run was first, with the same content
            made.rename(final)
    found = _find(final)
    if found is None:
        raise SlimError(
            f"{final} is damaged", hint="remove that folder, then run `fnmodel slim` again"
        )
    return replace(found, cached=False)


def _find(final: Path) -> Slimmed | None:
    """Return a finished result, or None; a damaged one is removed."""
    if not final.is_dir():
        return None
    try:
        return Slimmed(OnnxModel.load(final / _FOLDER), ParityReport.read(final / PARITY), True)
    except SlimError:
        shutil.rmtree(final)
        return None


def _key(sha256: str, sample: Path | None, settings: list[Any]) -> str:
    parts = {
        "source": sha256,
        "sample": [sample.name, _sha256(sample, "the sample")] if sample else None,
        "settings": settings,
        "code": _code_sha256(),
        "python": sys.version_info[:2],
        "packages": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _code_sha256() -> str:
    """Return a hash of the modules that decide what a conversion gives."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(
        [*here.glob("*.py"), here.parent / "inference.py", here.parent / "model.py"]
    ):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sha256(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SlimError(
            f"{what} {path} cannot be read: {error.strerror}",
            hint="name an existing file in fnmodel.yaml or on the command line",
        ) from error


@contextmanager
def _temporary(cache: Path) -> Iterator[Path]:
    """Yield a private folder in the cache, locked while this process lives, removed afterwards."""
    folder = cache / f"{_TEMPORARY}{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _sweep(cache: Path) -> None:
    """Remove the temporary folders of runs that were killed: nobody holds their lock."""
    for folder in cache.glob(f"{_TEMPORARY}*"):
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # its own run removed it meanwhile
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
