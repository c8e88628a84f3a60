"""How many CPUs a container may use, which is seldom how many its machine has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cpus(root: Path = Path("/"), usable: int | None = None) -> int:
    """Return the CPUs that this process may use, at least 1; a share of one counts as one.

    The least of those it may be scheduled on (`usable`) and the quotas of its cgroup and of those
    around it, by version 2 or 1 of the interface. `root` is where /proc and /sys lie.
    """
    if usable is None:
        scheduled = hasattr(os, "sched_getaffinity")
        usable = len(os.sched_getaffinity(0)) if scheduled else os.cpu_count() or 1
    return max(1, math.ceil(min([usable, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    for folder in folders(root, "cpu", "cpu,cpuacct"):
        match _words(folder / "cpu.max"):
            case [quota, period] if quota != "max":
                yield int(quota) / int(period)
        match (*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")):
            case (quota, period) if int(quota) > 0:
                yield int(quota) / int(period)


def folders(root: Path, *controllers: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroups and of those around them, by both versions.

    In a container the path is often that of the host, and its own cgroup lies at the mount itself.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, name, path = line.split(":", 2)
        if name in ("", *controllers):
            mount = root / "sys/fs/cgroup" / name
            inner = PurePosixPath(path).relative_to("/")
            yield from (mount / folder for folder in (inner, *inner.parents))


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
