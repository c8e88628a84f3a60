"""How much memory a process has, and no more than that for what it asks for.

Without a limit a model that asks for too much is ended by Lambda or the kernel, and the process
with it. With one, ONNX Runtime and Python are refused the memory, and say so.
"""

import sys
from collections.abc import Iterator, Mapping
from ctypes import CDLL, byref, c_ulong
from pathlib import Path

# By C, since small bases leave out the module `resource`.
_RLIMIT_DATA = 2
_STATUS = Path("/proc/self/status")
# Stacks of a dozen threads and the buffers of OpenBLAS are asked for, and hardly used.
_UNTOUCHED = 256 << 20


def bound(environ: Mapping[str, str], root: Path = Path("/")) -> int | None:
    """Let this process ask for no more memory than it has; return the bytes that it still may.

    What it has asked for already does not count, nor what it maps of files, and there is room for
    what is never touched: nothing is refused that would have fitted. None where nobody says how
    much there is: Lambda, or the container's cgroup.
    """
    known = given(environ, root)
    if known is None or sys.platform != "linux":
        return None
    more = known + _UNTOUCHED
    both = (c_ulong * 2)()  # the limit, and the highest that it may be set to
    libc = CDLL(None)
    libc.getrlimit(_RLIMIT_DATA, byref(both))
    both[0] = min(_asked() + more, both[1])
    libc.setrlimit(_RLIMIT_DATA, byref(both))
    return more


def given(environ: Mapping[str, str], root: Path = Path("/")) -> int | None:
    """Return the bytes that Lambda's function or the container has."""
    megabytes = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    return int(megabytes) << 20 if megabytes else min(_limits(root), default=None)


def _limits(root: Path) -> Iterator[int]:
    from fnmodel.serve.cpus import folders  # which Lambda does without

    for folder in folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (folder / name).read_text(encoding="ascii").strip()
            except OSError:
                continue
            # Version 1 says no limit by the largest number of whole pages.
            if text != "max" and int(text) < 1 << 62:
                yield int(text)


def _asked() -> int:
    line = next(x for x in _STATUS.read_text("ascii").splitlines() if x.startswith("VmData:"))
    return int(line.split()[1]) << 10
