"""How a sandbox's process is started: its command line and environment, by one of two drivers.

bubblewrap   the image's files are the root of the process, read-only as in Lambda, and its own
             Python runs; for images with a base, where bubblewrap works
process      this machine's Python of the same minor version runs the image's packages and code
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fnmodel import bubblewrap
from fnmodel.errors import LocalError
from fnmodel.interpreter import RUNNING, find

_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


@dataclass(frozen=True)
class RootFs:
    """An unpacked image: its root folder and the parts of its config that start a process."""

    root: Path
    env: Mapping[str, str]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    python: str

    @property
    def has_program(self) -> bool:
        """Whether the program that the entry point names is in the image."""
        # Not followed: an absolute link would lead out of the root.
        return os.path.lexists(self.root / self.entrypoint[0].lstrip("/"))


@dataclass(frozen=True)
class FunctionVersion:
    """A published version as Lambda's API describes it; memory in MB, timeout in seconds."""

    name: str
    version: str
    image_uri: str
    memory: int
    timeout: int
    environment: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    snapstart: bool = False


def launch(
    function: FunctionVersion, rootfs: RootFs, runtime_api: str, tmp: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a sandbox process.

    The environment starts empty: nothing of the host's leaks in. `tmp` is the folder that the
    process sees as its own `/tmp`, or finds in TMPDIR.

    Raises:
        LocalError: the image has no Python that can be started here, and this machine has none of
            its minor version; or its entry point is not Python.

    """
    command = function.command or rootfs.cmd
    env = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **rootfs.env,
        **function.environment,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if function.snapstart else "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{rootfs.python}",
        "LAMBDA_TASK_ROOT": "/var/task",
        "_HANDLER": command[0],
        "HOME": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
    }
    if rootfs.has_program and bubblewrap.works():
        words = bubblewrap.in_place(rootfs.root, tmp, rootfs.working_dir)
        return [*words, *rootfs.entrypoint, *command], env
    python = interpreter(rootfs.python)
    # Paths of the image are moved below its unpacked root, since this driver has no chroot.
    env |= {name: _moved(value, rootfs.root) for name, value in rootfs.env.items()}
    env |= {
        **function.environment,
        "LAMBDA_TASK_ROOT": str(rootfs.root / "var/task"),
        "HOME": str(tmp),
        "TMPDIR": str(tmp),
        # The image's file system is read-only in Lambda; nothing may be written beside the code.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return [python, "-s", "-S", str(_BOOTSTRAP), *_module(rootfs), *command], env


def interpreter(minor: str) -> str:
    """Return the host's Python of a minor version such as "3.13", outside any virtual environment.

    Raises:
        LocalError: there is none.

    """
    found = find(minor)
    if found is None:
        raise LocalError(
            f"the image is for Python {minor}, and this machine has none",
            hint=f'install Python {minor}, or set image.python to "{RUNNING}"',
        )
    return str(found)


def _module(rootfs: RootFs) -> list[str]:
    """Return the module that the entry point runs, and its arguments."""
    program, *options = rootfs.entrypoint
    if not Path(program).name.startswith("python") or "-m" not in options:
        raise LocalError(
            f"the embedded cloud cannot run the entry point {' '.join(rootfs.entrypoint)}",
            hint="run `fnmodel deploy --local`, which builds an image with fnmodel's own",
        )
    return options[options.index("-m") + 1 :]


def _moved(value: str, root: Path) -> str:
    """Move each absolute path of an image's variable below the unpacked root, if it is there."""
    parts = value.split(":")
    return ":".join(
        str(root / part.lstrip("/"))
        if part.startswith("/") and (root / part.lstrip("/")).exists()
        else part
        for part in parts
    )
