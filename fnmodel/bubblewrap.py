"""Runs a program inside an image's own file tree, with neither privileges nor a daemon.

bubblewrap makes the tree the root of one process. https://github.com/containers/bubblewrap
"""

import shutil
import subprocess
from functools import cache
from pathlib import Path

_MOUNTS = ("proc", "dev", "tmp")


@cache
def works() -> bool:
    """Whether this machine has bubblewrap, and its kernel lets it make namespaces."""
    if shutil.which("bwrap") is None:
        return False
    tried = [*_apart(), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"]
    try:
        return subprocess.run(tried, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def confined(root: Path, tmp: Path) -> list[str]:
    """Return the words before a command that runs read-only in `root`, without network.

    `tmp` becomes its `/tmp`, the one place where it may write.
    """
    return [*_apart(), *_tree(root, tmp), "--proc", "/proc", "--"]


def in_place(root: Path, tmp: Path, working_dir: str) -> list[str]:
    """Return the words before a command that runs read-only in `root`, with the host's network."""
    words = [*_apart(), "--share-net", *_tree(root, tmp), "--proc", "/proc"]
    return [*words, "--chdir", working_dir, "--"]


def _apart() -> list[str]:
    # By its path, since the command's environment is another one.
    return [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent"]


def _tree(root: Path, tmp: Path) -> list[str]:
    # Mount points must be there, since nothing can be made in a read-only root.
    for name in _MOUNTS:
        (root / name).mkdir(exist_ok=True)
    return ["--ro-bind", str(root), "/", "--dev", "/dev", "--bind", str(tmp), "/tmp"]  # noqa: S108
