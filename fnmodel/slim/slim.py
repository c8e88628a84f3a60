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

from fnmodel import hashes
from fnmodel.errors import SlimError
from fnmodel.hashes import Hashed, anew
from fnmodel.model import MODEL, OPTIONAL, REQUIRED, WEIGHTS, OnnxModel
from fnmodel.slim.content import content_sha256
from fnmodel.slim.isolation import sandbox, visible
from fnmodel.slim.isolation.sandbox import Limits
from fnmodel.slim.order import Job, Order
from fnmodel.slim.proof import page
from fnmodel.slim.proof.page import FILE as PAGE
from fnmodel.slim.proof.report import FILE as PARITY
from fnmodel.slim.proof.report import ParityReport
from fnmodel.slim.untrusted import onnxfile
from fnmodel.slim.versions import versions
from fnmodel.uses import Freed, Uses

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
    order: Order,
    *,
    cache: Path,
    progress: Callable[[str], None],
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    full_isolation: bool = False,
    hashed: Hashed = anew,
) -> Slimmed:
    """Convert a trained model and compare its answers, or find the result of the same conversion.

    The result stands in `cache/KEY/`: `model/`, `parity.json` and `parity.html`. It appears there
    whole or not at all. A report that did not pass is a result too: `report.check()` stops at it.
    `full_isolation` makes it an error where bubblewrap does not work; `hashed` may know the hash of
    a file without reading it.

    Raises:
        SlimError: the model or the sample cannot be read, or does not fit, or the isolation that
            was asked for is not to be had.
        MissingExtraError: the model's framework or its converter is not installed.
        UnsupportedModelError: a step has no converter.

    """
    order = replace(
        order,
        source=order.source.absolute(),
        sample=order.sample.absolute() if order.sample else None,
        processing=order.processing.absolute() if order.processing else None,
        held_out=order.held_out.absolute() if order.held_out else None,
    )
    cache = cache.absolute()
    sha256 = _sha256(order.source, "the model", hashed)
    final = cache / _key(sha256, order, hashed)
    found = _find(final, hashed)
    if found is not None:
        progress(f"{order.source.name} is converted already")
        return found
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    with _temporary(cache) as folder:
        work, made = folder / "work", folder / "result"
        work.mkdir()
        made.mkdir()
        job = Job(order, sha256, made / _FOLDER)
        needed = visible.needed(order.source, order.sample, order.processing, order.held_out)
        shield = sandbox.isolation(folder, needed, order.trust)
        if full_isolation:
            shield.require()
        elif order.trust and shield.strength != "bubblewrap":
            progress(f"trusted code of the model runs here with: {', '.join(shield.words)}")
        data = sandbox.run(
            {"job": job.to_json()}, folder=work, shield=shield, limits=limits, progress=progress
        )
        data["isolation"] = [
            *shield.words,
            f"at most {limits.seconds} s and {limits.memory >> 30} GB",
        ]
        sandbox.check_files(made / _FOLDER, REQUIRED, OPTIONAL)
        onnxfile.check_external(made / _FOLDER / MODEL, made / _FOLDER / WEIGHTS)
        (made / PARITY).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        (made / PAGE).write_text(page.render(ParityReport.read(made / PARITY)), encoding="utf-8")
        made.chmod(0o755)
        with suppress(OSError):  # another run was first, with the same content
            made.rename(final)
    found = _find(final, hashed)
    if found is None:
        raise SlimError(
            f"{final} is damaged", hint="remove that folder, then run `fnmodel slim` again"
        )
    return replace(found, cached=False)


def clean(cache: Path, seconds: float, *, dry_run: bool = False) -> Freed:
    """Remove results that were not used for so many seconds, and return what that freed.

    It may run beside conversions. With `dry_run` nothing is removed.
    """
    if not cache.is_dir():
        return Freed()
    results = [folder for folder in cache.glob("[!.]*") if folder.is_dir()]
    # Without its report it is what an interrupted clean-up left.
    marks = [mark if (mark := one / PARITY).is_file() else one for one in results]
    return Uses(cache).clean(zip(results, marks, strict=True), seconds, dry_run=dry_run)


def _find(final: Path, hashed: Hashed) -> Slimmed | None:
    """Return a finished result, or None; a damaged one is removed."""
    if not final.is_dir():
        return None
    try:
        Uses(final.parent).mark(final / PARITY)
        model = OnnxModel.load(final / _FOLDER, lambda path: hashed(path, hashes.sha256))
        return Slimmed(model, ParityReport.read(final / PARITY), True)
    except SlimError:
        shutil.rmtree(final, ignore_errors=True)
        return None


def _key(sha256: str, order: Order, hashed: Hashed) -> str:
    processing = order.processing
    parts = {
        "source": sha256,
        "order": {
            **order.to_json(),
            "source": order.source.name,
            "sample": _named(order.sample, "the sample", hashed),
            "held_out": _named(order.held_out, "the sample of `gates:`", hashed),
            "processing": _sha256(processing, "the file of `processing:`", hashed)
            if processing
            else None,
        },
        "code": _code_sha256(),
        "python": sys.version_info[:2],
        "packages": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _named(path: Path | None, what: str, hashed: Hashed) -> list[str] | None:
    return [path.name, _sha256(path, what, hashed)] if path else None


def _code_sha256() -> str:
    """Return a hash that changes when a module that decides what a conversion gives does.

    Sizes and times tell, as they tell a compiler's cache; reading all modules takes longer than
    all else when a conversion is found.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256()
    inside = [*here.rglob("*.py"), *here.parent.glob("front/*.py"), *here.parent.glob("*.py")]
    for path in sorted(inside):
        status = path.stat()
        digest.update(
            f"{path.relative_to(here.parent)} {status.st_size} {status.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()


def _sha256(path: Path, what: str, hashed: Hashed) -> str:
    try:
        return content_sha256(path, hashed)
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
