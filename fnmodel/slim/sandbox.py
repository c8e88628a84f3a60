"""Runs the conversion in a child process that sees no secrets, no network and no more than needed.

Unpickling a model runs whatever code is in it. The parent never unpickles; it hands over a job as
JSON and takes back JSON and files.
"""

import functools
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnmodel.errors import (
    FnmodelError,
    MissingExtraError,
    SlimError,
    UnsupportedModelError,
)

_ERRORS: dict[str, type[FnmodelError]] = {
    kind.code: kind for kind in (SlimError, MissingExtraError, UnsupportedModelError)
}
# An allow list: a name that is not here (AWS_*, tokens, proxies) does not reach the child.
_PASSED = ("PATH", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_FIXED = {
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LOKY_MAX_CPU_COUNT": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
_SECRET_FOLDERS = (".aws", ".ssh", ".gnupg", ".docker", ".kube", ".config/gcloud", ".azure")
_SECRET_FILES = (".netrc", ".pypirc", ".git-credentials")
_LONGEST_ANSWER = 16 << 20


@dataclass(frozen=True)
class Limits:
    """What a conversion may use: wall-clock and CPU seconds, and bytes of address space."""

    seconds: int = 900
    memory: int = 16 << 30


@dataclass(frozen=True)
class Isolation:
    """A command that shields the command behind it, and what it shields from, in words."""

    prefix: tuple[str, ...]
    words: tuple[str, ...]


def isolation(writable: Path) -> Isolation:
    """Return the strongest isolation that works on this machine.

    bubblewrap leaves nothing but `writable` to write to and hides the folders of secrets below the
    home folder; unshare takes the network and the other processes away.
    """
    for tried in _candidates(writable):
        if not tried.prefix or _works(tried.prefix):
            return tried
    raise AssertionError  # the last candidate needs nothing


def run(
    order: Mapping[str, Any],
    *,
    folder: Path,
    shield: Isolation,
    limits: Limits,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Run `fnmodel.slim.child` on an order and return its report as plain data.

    `folder` becomes the child's working, home and temporary folder. The child and whatever it
    started are killed when the time is over, on an error and on Ctrl-C.

    Raises:
        SlimError: the child failed, died, or took too long.
        MissingExtraError: its framework is not installed.
        UnsupportedModelError: a step has no converter.

    """
    command = [*shield.prefix, sys.executable, "-P", "-m", "fnmodel.slim.child"]
    told = {**order, "seconds": limits.seconds, "memory": limits.memory}
    errors = folder / "stderr.txt"
    with errors.open("wb") as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env=environment(folder),
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError):
                child.stdin.write(json.dumps(told).encode() + b"\n")
                child.stdin.flush()
            for answer in _answers(child.stdout.fileno(), time.monotonic() + limits.seconds):
                if "progress" in answer:
                    progress(str(answer["progress"]))
                elif "error" in answer:
                    raise _error(answer["error"])
                elif "report" in answer:
                    report: dict[str, Any] = answer["report"]
                    return report
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)  # its stream has ended: let it say how
        except TimeoutError as error:
            raise SlimError(
                f"the conversion took longer than {limits.seconds} s and was stopped",
                hint="a smaller model, or fewer trees or rows kept in it, converts sooner",
            ) from error
        finally:
            _kill(child)
    raise SlimError(_died(child.returncode, errors))


def check_files(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder from the child that holds anything but these plain files.

    A link would carry other files of this machine into the image.

    Raises:
        SlimError: the child wrote something else.

    """
    parent = folder.parent
    written = {path.relative_to(parent): path.lstat().st_mode for path in parent.rglob("*")}
    top = Path(folder.name)
    plain = stat.S_ISDIR(written.get(top, 0)) and all(
        stat.S_ISREG(mode) for path, mode in written.items() if path != top
    )
    if set(written) != {top, *(top / name for name in names)} or not plain:
        raise SlimError(
            "the conversion process wrote other files than a model directory",
            hint="do not use this model file: its own code did that",
        )


def environment(folder: Path) -> dict[str, str]:
    """Return the child's environment: the allowed names, and folders of its own."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {**passed, **_FIXED, "HOME": str(folder), "TMPDIR": str(folder)}


def _candidates(writable: Path) -> Iterator[Isolation]:
    own = "allow-listed environment, own process group"
    hidden = [str(p) for name in _SECRET_FOLDERS if (p := Path.home() / name).is_dir()]
    files = [str(p) for name in _SECRET_FILES if (p := Path.home() / name).is_file()]
    masks = [word for path in hidden for word in ("--tmpfs", path)]
    masks += [word for path in files for word in ("--ro-bind", "/dev/null", path)]
    yield Isolation(
        (
            *("bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"),
            *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *masks),
            # Sockets of daemons (Docker, D-Bus, agents) are files: no network barrier stops them.
            *("--tmpfs", "/run"),
            *("--bind", str(writable), str(writable), "--"),
        ),
        (
            own,
            "no network",
            "own processes only",
            "read-only files",
            "credential files and /run hidden",
        ),
    )
    for flags in ("-rn", "-n"):
        full = ("unshare", flags, "-pf", "--mount-proc", "--kill-child", "--")
        yield Isolation(full, (own, "no network", "own processes only"))
    for flags in ("-rn", "-n"):
        yield Isolation(("unshare", flags, "--"), (own, "no network"))
    yield Isolation((), (own, "network reachable: neither bwrap nor unshare works here"))


@functools.cache
def _works(prefix: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _answers(descriptor: int, deadline: float) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects that arrive, until the end of the stream.

    Raises:
        TimeoutError: the deadline passed.
        SlimError: what arrived is not JSON, or too long.

    """
    pending = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return
        *lines, pending = (pending + chunk).split(b"\n")
        if len(pending) > _LONGEST_ANSWER:
            raise SlimError("the conversion process answered without end")
        for line in lines:
            try:
                answer = json.loads(line)
            except ValueError as error:
                raise SlimError("the conversion process did not answer in JSON") from error
            if isinstance(answer, dict):
                yield answer


def _error(data: Mapping[str, str]) -> FnmodelError:
    kind = _ERRORS.get(data.get("code", ""), SlimError)
    return kind(str(data.get("message", "")), hint=str(data.get("hint", "")))


def _kill(child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _died(code: int, errors: Path) -> str:
    last = _last_line(errors.read_bytes()[-4096:].decode(errors="replace").splitlines())
    number = -code if code < 0 else code - 128  # bwrap and unshare report a signal as 128 + n
    names = {int(known): known.name for known in signal.Signals}
    how = f"by {names[number]}" if number in names else f"with exit code {code}"
    return f"the conversion process ended {how} and without an answer{last}"


def _last_line(lines: Sequence[str]) -> str:
    said = [line.strip() for line in lines if line.strip()]
    return f"; it said: {said[-1][:300]}" if said else ""
