"""A small base image from Debian's packages: `python -m fnmodel.pack.debian --python 3.13 base/`.

mmdebstrap unpacks the packages of `layers/base/SUITE.txt` without running a script of theirs, and
the Python among them compiles its own library. The same versions of packages give the same digest.
It asks this machine's own package sources, for the suite that has the wanted Python.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from fnmodel.errors import FnmodelError, PackError
from fnmodel.pack import bytecode, compression, layer
from fnmodel.pack.image import EPOCH, Architecture, empty, host_architecture, oci_architecture
from fnmodel.pack.layout import Store
from fnmodel.shipped import shipped

SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""The Debian suite that has a minor version of Python."""

ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}

_UNREAD = ("man", "doc", "locale", "info", "lintian", "bug", "pixmaps", "menu")
# What the scripts of packages would do, and the list of packages, which scanners of images read.
_HOOKS = (
    (
        'for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --field "$deb"; '
        'printf "Status: install ok installed\\n\\n"; done > "$1/var/lib/dpkg/status"'
    ),
    ': > "$1/etc/apt/sources.list"',
    'cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"',
    'cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"',
    'mkdir -p "$1/etc/ssl/certs"',
    'cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"',
    "PYTHONHASHSEED=0 {compile} -I -S -m compileall -q --invalidation-mode unchecked-hash {where}",
)


def make(python: str, architecture: Architecture, folder: Path, sources: Sequence[str] = ()) -> str:
    """Write the base for a minor version of Python as an OCI image layout; return its digest.

    `sources` are lines of sources.list; without any, this machine's own are asked.

    Raises:
        PackError: no suite has that Python, mmdebstrap is missing or fails, the folder holds
            something else, or another architecture's Python has none here to compile for it.

    """
    suite = SUITES.get(python)
    if suite is None:
        raise PackError(
            f"no Debian suite has Python {python} as its own",
            hint=f"take one of {', '.join(SUITES)}, or another base image",
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / "oci-layout").is_file():
        raise PackError(f"{folder} holds something else", hint="name an empty or a new folder")
    listed = (shipped("layers") / "base" / f"{suite}.txt").read_text(encoding="utf-8")
    packages = [line for line in listed.splitlines() if line and not line.startswith("#")]
    compiler = _compiler(python, architecture)
    command = [
        "mmdebstrap", "--variant=extract", "--format=tar", "--quiet", "--skip=output/dev",
        f"--architectures={oci_architecture(architecture)}", f"--include={','.join(packages)}",
        # A mirror that falls silent is asked again.
        '--aptopt=Acquire::Retries "3"', '--aptopt=Acquire::http::Timeout "30"',
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNREAD),
        *(f"--extract-hook={hook.format(**compiler)}" for hook in _HOOKS),
        suite, "-", "-",
    ]  # fmt: skip
    store = Store(folder)
    made = layer.of_tar(
        store,
        _output(command, "\n".join(sources or own_sources(suite)) + "\n"),
        f"fnmodel.pack.debian: {suite}",
        compression.deflated,
    )
    image = empty(architecture).append(made)
    image = image.configure(
        env=ENV,
        labels={"io.fnmodel.base": suite},
        entrypoint=(),
        cmd=(f"/usr/bin/python{python}",),
        working_dir="/",
    )
    store.add_reference(suite, image)
    return image.digest


def _compiler(python: str, architecture: Architecture) -> dict[str, str]:
    """Return the words of a hook that compiles Python's own library."""
    library = f"/usr/lib/python{python}"
    if architecture == host_architecture():
        return {"compile": f'chroot "$1" /usr/bin/python{python}', "where": library}
    program = shlex.quote(str(bytecode.find_interpreter(python)))
    return {"compile": program, "where": f'-s "$1" -p / "$1"{library}'}


def own_sources(suite: str) -> list[str]:
    """Return lines of sources.list for a suite, from where this machine takes its packages.

    Raises:
        PackError: it takes none from Debian.

    """
    form = "$(LABEL)|$(REPO_URI)"
    try:
        asked = subprocess.run(
            ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = dict(line.split("|", 1) for line in asked.stdout.splitlines() if "|" in line)
        main, security = found["Debian"], found.get("Debian-Security")
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise PackError(
            "this machine takes no packages from Debian, so none can be asked for a base",
            hint="run apt-get update, or name a mirror: --source 'deb URL SUITE main'",
        ) from error
    lines = [f"deb {main} {suite} main"]
    return [*lines, f"deb {security} {suite}-security main"] if security else lines


def _output(command: Sequence[str], given: str) -> Iterator[bytes]:
    """Yield what a command prints; its own words go into the error when it fails."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as sources:
        sources.write(given.encode())
        sources.seek(0)
        try:
            process = subprocess.Popen(
                command, stdin=sources, stdout=subprocess.PIPE, stderr=said, env=environment
            )
        except OSError as error:
            raise PackError(
                f"mmdebstrap cannot run: {error.strerror}", hint="apt-get install mmdebstrap"
            ) from error
        with process:
            assert process.stdout is not None
            while chunk := process.stdout.read(1 << 20):
                yield chunk
        if process.returncode:
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip()[-800:]
            raise PackError(f"mmdebstrap failed: {words}", hint="check the sources and the network")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a base image; print how to name it."""
    parser = argparse.ArgumentParser(prog="python -m fnmodel.pack.debian", description=__doc__)
    parser.add_argument("folder", type=Path, help="an OCI image layout, made or added to")
    parser.add_argument("--python", choices=SUITES, default="3.13")
    parser.add_argument("--architecture", choices=("x86_64", "arm64"), default="x86_64")
    parser.add_argument("--source", action="append", default=[], help="a line of sources.list")
    given = parser.parse_args(arguments)
    sys.stderr.write(f"unpacking Debian {SUITES[given.python]} into {given.folder}\n")
    try:
        digest = make(given.python, given.architecture, given.folder, given.source)
    except FnmodelError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    sys.stdout.write(f"{digest}\n")
    sys.stderr.write(f"image.base: oci:{given.folder}:{SUITES[given.python]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
