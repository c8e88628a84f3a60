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
from typing import Any, Literal

from fnmodel.errors import FnmodelError, SlimError, by_code
from fnmodel.slim.isolation import visible

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
    # There is no user database inside; what asks for a name gets this one.
    "LOGNAME": "fnmodel",
    "USER": "fnmodel",
}
_LONGEST_ANSWER = 16 << 20
_DIED = "a smaller model or more memory may help; else convert it to ONNX and name that file"
_LOOK_SECONDS = 1.0
_MORE_TASKS = 1024


Strength = Literal["bubblewrap", "unshare", "none"]


@dataclass(frozen=True)
class Limits:
    """What a conversion may use: seconds (wall-clock, CPU), bytes of address space and of disk."""

    seconds: int = 900
    memory: int = 16 << 30
    disk: int = 32 << 30


@dataclass(frozen=True)
class Isolation:
    """A command that shields the command behind it, and what it shields from, in words."""

    prefix: tuple[str, ...]
    words: tuple[str, ...]
    strength: Strength = "none"

    def require(self) -> None:
        """Refuse to go on where code of the model could reach more than its own files.

        Raises:
            SlimError: bubblewrap does not work on this machine.

        """
        if self.strength != "bubblewrap":
            raise SlimError(
                "this machine offers no full isolation: " + ", ".join(self.words),
                hint="install bubblewrap (`apt install bubblewrap`), or run in a container where "
                "user namespaces are allowed",
            )


def isolation(
    writable: Path, readable: Sequence[Path] = (), trust: Sequence[str] = ()
) -> Isolation:
    """Return the strongest isolation that works on this machine.

    bubblewrap shows Python, its packages and the `readable` files and folders, nothing else, and
    leaves only `writable` to write to. The code of `trust`, full names of classes, is shown as
    well. unshare takes the network and the other processes away, but hides no file.
    """
    for tried in _candidates(writable, readable, trust):
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
    """Run `fnmodel.slim.isolation.child` on an order and return its report as plain data.

    `folder` becomes the child's working, home and temporary folder. The child and whatever it
    started are killed when the time is over, on an error and on Ctrl-C.

    Raises:
        SlimError: the child failed, died, or took too long.
        MissingExtraError: its framework is not installed.
        UnsupportedModelError: a step has no converter.

    """
    command = [*shield.prefix, sys.executable, "-P", "-m", "fnmodel.slim.isolation.child"]
    told = {
        **order,
        "seconds": limits.seconds,
        "memory": limits.memory,
        "file": min(limits.memory, limits.disk),
        "tasks": _tasks() + _MORE_TASKS,
    }
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
            deadline = time.monotonic() + limits.seconds
            for answer in _answers(child.stdout.fileno(), deadline, folder.parent, limits.disk):
                if "progress" in answer:
                    progress(_plain(answer["progress"]))
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
    raise SlimError(_plain(_died(child.returncode, errors)), hint=_DIED)


def check_files(folder: Path, names: Sequence[str], optional: Sequence[str] = ()) -> None:
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
    wanted = {top, *(top / name for name in names)}
    if set(written) - {top / name for name in optional} != wanted or not plain:
        raise SlimError(
            "the conversion process wrote other files than a model directory",
            hint="do not use this model file: its own code did that",
        )


def environment(folder: Path) -> dict[str, str]:
    """Return the child's environment: the allowed names, and folders of its own."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    packages = visible.user_base()
    if packages is not None:  # found by HOME otherwise
        passed["PYTHONUSERBASE"] = str(packages)
    return {**passed, **_FIXED, "HOME": str(folder), "TMPDIR": str(folder)}


def _candidates(
    writable: Path, readable: Sequence[Path], trust: Sequence[str]
) -> Iterator[Isolation]:
    own = "allow-listed environment, own process group"
    shown = visible.mounts(writable, readable, trust)
    for sized in (True, False):
        yield Isolation(
            (
                *("bwrap", "--unshare-all", "--die-with-parent", "--new-session"),
                *("--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev"),
                # Older ones cannot bound what a memory file system holds: then there is none.
                *(("--size", str(1 << 28), "--tmpfs", "/tmp") if sized else ("--dir", "/tmp")),  # noqa: S108
                *(("--size", str(1 << 28), "--tmpfs", "/dev/shm") if sized else ()),  # noqa: S108
                *shown,
                *("--remount-ro", "/dev", "--remount-ro", "/", "--"),
            ),
            (
                own,
                "no network",
                "own processes only",
                "read-only files",
                "only Python, its packages, the model and the sample visible",
            ),
            "bubblewrap",
        )
    open_files = "all files and local sockets within reach: bubblewrap does not work here"
    for flags in ("-rn", "-n"):
        full = ("unshare", flags, "-pf", "--mount-proc", "--kill-child", "--")
        yield Isolation(full, (own, "no network", "own processes only", open_files), "unshare")
    for flags in ("-rn", "-n"):
        yield Isolation(("unshare", flags, "--"), (own, "no network", open_files), "unshare")
    yield Isolation(
        (),
        (
            own,
            "network reachable: neither bwrap nor unshare works here",
            "all files and local sockets within reach",
        ),
    )


def _tasks() -> int:
    """Return how many processes and threads the machine runs: the limit counts them all."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].rpartition("/")[2])
    except (OSError, ValueError, IndexError):
        return 1 << 16


@functools.cache
def _works(prefix: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _answers(
    descriptor: int, deadline: float, folder: Path, most: int
) -> Iterator[Mapping[str, Any]]:
    """Yield the JSON objects that arrive, until the end of the stream.

    Raises:
        TimeoutError: the deadline passed.
        SlimError: what arrived is not JSON, or too long, or `folder` holds more than `most` bytes.

    """
    pending = b""
    looked = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= deadline:
            raise TimeoutError
        if now - looked >= _LOOK_SECONDS:
            looked = now
            _check_space(folder, most)
        if not select.select([descriptor], [], [], min(deadline - now, _LOOK_SECONDS))[0]:
            continue
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


def _check_space(folder: Path, most: int) -> None:
    used = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # gone meanwhile
                used += os.lstat(Path(inside, name)).st_blocks * 512
    if used > most:
        raise SlimError(
            f"the conversion wrote more than {most >> 20} MB of files and was stopped",
            hint="a model does not need that much; do not use this file unless you wrote it",
        )


def _error(data: Mapping[str, str]) -> FnmodelError:
    known = by_code().get(data.get("code", ""))
    # The child may be lying by now: it can say no more than why a model is not converted.
    kind = known if known is not None and issubclass(known, SlimError) else SlimError
    return kind(_plain(data.get("message", "")), hint=_plain(data.get("hint", "")))


def _plain(text: object) -> str:
    """Return text as a terminal may print it: a model's code may have written it."""
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )


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
