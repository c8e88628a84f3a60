"""Decides which files a conversion may see: Python, its packages, the model and the sample."""

import os
import re
import site
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Links of alternatives lead to BLAS; the others are read by the dynamic linker and by libc.
_SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)
# Packages of these systems link to one another all over the store.
_STORES = ("/nix/store", "/gnu/store")
_SECRETS = (
    ".aws", ".azure", ".config", ".docker", ".git-credentials", ".gnupg", ".kube", ".netrc",
    ".pypirc", ".ssh",
)  # fmt: skip
_PATH_LISTS = ("PYTHONPATH", "LD_LIBRARY_PATH")
_MAPPED = re.compile(r"^\S+ +r\S+ +\S+ +\S+ +\d+ +(/.+)$", re.MULTILINE)


def needed(source: Path, *others: Path | None) -> tuple[Path, ...]:
    """Return the files and folders that a conversion of this model, with these files, reads."""
    from fnmodel.slim.content import blobs
    from fnmodel.slim.untrusted.onnxfile import companions

    beside: tuple[Path, ...] = ()
    if source.is_dir():
        cache = blobs(source)
        beside = (source, cache) if cache else (source,)
    elif source.suffix.lower() == ".onnx":
        beside = (source, *companions(source))
    return (*(beside or (source,)), *(path for path in others if path))


def mounts(
    writable: Path, readable: Sequence[Path] = (), trust: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return bubblewrap's arguments for an empty root with these files in it.

    Folders of secrets are covered where they lie in something that is shown.
    """
    arguments: list[str] = []
    shown: list[Path] = []
    for system in map(Path, _SYSTEM):
        if system.is_symlink():
            arguments += ["--symlink", str(system.readlink()), str(system)]
        elif system.is_dir():
            arguments += ["--ro-bind", str(system), str(system)]
            shown.append(system)
    wanted = [*map(Path, _SYSTEM_FILES), *_python(), *_code(trust), *readable]
    # Parents first: what is mounted later covers what lies below it.
    for path in sorted({p for p in wanted if _may_show(p)}, key=lambda p: (len(p.parts), p)):
        if not any(path.is_relative_to(parent) for parent in shown):
            arguments += ["--ro-bind", str(path), str(path)]
            shown.append(path)
    for path in _libraries():
        if not any(path.is_relative_to(parent) for parent in shown):
            arguments += ["--ro-bind", str(path), str(path)]
            shown.append(path)
    arguments += _covers(shown)
    return (*arguments, "--bind", str(writable), str(writable))


def user_base() -> Path | None:
    """Return the folder of the user's own packages when this Python uses it."""
    packages = site.getusersitepackages() if site.ENABLE_USER_SITE else None
    return Path(site.getuserbase()) if packages and packages in sys.path else None


def _may_show(path: Path) -> bool:
    return path.is_absolute() and len(path.parts) > 1 and path.exists()


def _python() -> Iterator[Path]:
    """Yield the folders of the interpreter, of its packages, and of this one."""
    for prefix in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        path = Path(prefix)
        for real in {path, path.resolve()}:
            # A prefix that is a home folder holds more than Python.
            yield from _inside(real) if _is_home(real) else (real,)
    yield from _links(Path(sys.executable))
    for name in _PATH_LISTS:
        for entry in os.environ.get(name, "").split(os.pathsep):
            if entry and not _is_home(Path(entry)):
                yield Path(entry).absolute()
    if os.environ.get("PYTHONPYCACHEPREFIX"):
        yield Path(os.environ["PYTHONPYCACHEPREFIX"]).absolute()
    base = user_base()
    if base is not None:
        yield from _inside(base)
    # A folder on the path may hold a project around the packages; a site-packages holds no more.
    yield from (p for p in map(Path, sys.path) if p.name in ("site-packages", "dist-packages"))
    yield Path(__file__).parents[2]
    for store in map(Path, _STORES):
        if Path(sys.base_prefix).resolve().is_relative_to(store):
            yield store


def _inside(prefix: Path) -> Iterator[Path]:
    yield from (prefix / name for name in ("bin", "lib", "lib64", "include", "pyvenv.cfg"))


def _links(path: Path) -> Iterator[Path]:
    """Yield a file and each link on the way to it."""
    for _ in range(40):
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _code(trust: Sequence[str]) -> Iterator[Path]:
    """Yield where the modules of trusted names lie, with what lies on the path beside them."""
    for top in {name.partition(".")[0] for name in trust}:
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            continue
        if spec is None:
            continue
        places = [Path(p) for p in spec.submodule_search_locations or ()]
        places += [Path(spec.origin)] if not places and spec.has_location and spec.origin else []
        for place in places:
            beside = place.parent
            yield beside if str(beside) in sys.path and not _is_home(beside) else place


def _is_home(path: Path) -> bool:
    return Path.home().is_relative_to(path)


def _libraries() -> Iterator[Path]:
    """Yield the libraries that this process has loaded, wherever they lie."""
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return
    for name in sorted(set(_MAPPED.findall(maps))):
        path = Path(name)
        if ".so" in path.name and path.is_file():
            yield path


def _covers(shown: Iterable[Path]) -> list[str]:
    covers: list[str] = []
    for name in _SECRETS:
        secret = Path.home() / name
        if not any(secret.is_relative_to(path) for path in shown):
            continue
        if secret.is_dir():
            covers += ["--tmpfs", str(secret)]
        elif secret.exists():
            covers += ["--ro-bind", "/dev/null", str(secret)]
    return covers
