"""What `fnmodel doctor` looks at: one function a check, each with the way to mend it."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One check's result. FAIL keeps fnmodel from working, `note` limits what it can do."""

    state: Literal["ok", "note", "FAIL"]
    name: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Run every check; none changes anything, none needs the network."""
    return [
        finding
        for check in (
            _python, _system, _home, _space, _files, _uv, _sklearn, _emulator, _interpreters,
            _cloud, _credentials, _bubblewrap,
        )
        for finding in check()
    ]  # fmt: skip


def _python() -> Iterator[Finding]:
    yield Finding("ok", "Python", platform.python_version())


def _system() -> Iterator[Finding]:
    found = f"{platform.system()} {platform.machine()}"
    if sys.platform == "linux":
        yield Finding("ok", "system", found)
    else:
        yield Finding(
            "note", "system", found,
            "the embedded cloud runs Linux wheels: use Linux, WSL 2 or a Linux container for it",
        )  # fmt: skip


def _home() -> Iterator[Finding]:
    from fnmodel.errors import UsageError
    from fnmodel.home import home

    try:
        folder = home()
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, UsageError) as error:
        yield Finding("FAIL", "FNMODEL_HOME", str(error), "set FNMODEL_HOME to a writable folder")
    else:
        yield Finding("ok", "FNMODEL_HOME", str(folder))


def _space() -> Iterator[Finding]:
    from fnmodel.errors import UsageError
    from fnmodel.home import home

    try:
        free = shutil.disk_usage(home()).free / 1e9
    except (OSError, UsageError):
        return  # said by the check above
    if free < 2:
        yield Finding(
            "note", "disk", f"{free:.1f} GB free", "an image takes up to 0.5 GB: free some"
        )
    else:
        yield Finding("ok", "disk", f"{free:.1f} GB free")


def _files() -> Iterator[Finding]:
    from fnmodel.shipped import shipped

    try:
        where = shipped("template.yaml").parent
        shipped("handlers")
        shipped("layers")
    except FileNotFoundError as error:
        yield Finding("FAIL", "installation", str(error), "install fnmodel again")
    else:
        yield Finding("ok", "installation", f"fnmodel {version('fnmodel')} in {where}")


def _uv() -> Iterator[Finding]:
    import uv

    try:
        uv.find_uv_bin()
    except FileNotFoundError as error:
        yield Finding("FAIL", "uv", str(error), "pip install --force-reinstall uv")
    else:
        yield Finding("ok", "uv", version("uv"))


def _sklearn() -> Iterator[Finding]:
    names = ("scikit-learn", "onnx", "protobuf", "pandas")
    found = {name: _version(name) for name in names}
    missing = [name for name in names if found[name] is None]
    said = ", ".join(f"{name} {found[name]}" for name in names if found[name])
    if missing:
        yield Finding(
            "note", "scikit-learn models", f"without {', '.join(missing)}",
            "pip install 'fnmodel[sklearn]'",
        )  # fmt: skip
    else:
        yield Finding("ok", "scikit-learn models", said)


def _emulator() -> Iterator[Finding]:
    found = _version("ministack")
    if found is None:
        yield Finding("note", "embedded cloud", "not installed", "pip install 'fnmodel[local]'")
    else:
        yield Finding("ok", "embedded cloud", f"ministack {found}")


def _interpreters() -> Iterator[Finding]:
    from fnmodel import interpreter

    there = [minor for minor in interpreter.MINORS if interpreter.find(minor)]
    yield Finding(
        "ok", "Pythons to pack for", ", ".join(there),
        "" if len(there) > 1 else "an image for another version needs that Python here, "
        "to compile its bytecode",
    )  # fmt: skip


def _cloud() -> Iterator[Finding]:
    from fnmodel.cli.workspace import embedded_cloud
    from fnmodel.errors import UsageError

    try:
        status = embedded_cloud().status()
    except UsageError:
        return  # said by the check of FNMODEL_HOME
    found = f"runs at {status['url']}" if status["running"] else "does not run"
    yield Finding("ok", "local", found, "" if status["running"] else "`deploy --local` starts it")


def _credentials() -> Iterator[Finding]:
    from fnmodel.aws import credentials_source
    from fnmodel.errors import AwsError

    if not _has_source(os.environ.get("AWS_PROFILE", "default")):
        yield Finding("note", "AWS credentials", "none", "`aws sso login`, or use --local")
        return
    try:
        source, region = credentials_source()
    except AwsError as error:
        yield Finding("note", "AWS credentials", str(error), "mend AWS_PROFILE, or use --local")
        return
    where = f"{source or 'none'}, region {region or 'not set'}"
    good = bool(source and region)
    yield Finding(
        "ok" if good else "note", "AWS credentials", where,
        "" if good else "`aws sso login` and AWS_REGION, or use --local",
    )  # fmt: skip


def _has_source(profile: str) -> bool:
    """Whether credentials may come from near; asking EC2's metadata would take seconds."""
    from pathlib import Path

    variables = (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_PROFILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    )
    files = (Path.home() / ".aws/credentials", Path.home() / ".aws/config")
    named = profile != "default" or any(name in os.environ for name in variables)
    return named or any(file.is_file() for file in files)


def _bubblewrap() -> Iterator[Finding]:
    if sys.platform != "linux":
        return
    from fnmodel import bubblewrap

    if bubblewrap.works():
        yield Finding("ok", "isolation", "bubblewrap")
        return
    found = "bubblewrap does not work" if shutil.which("bwrap") else "no bubblewrap"
    remedy = (
        "install bubblewrap, and let it make user namespaces: then models are converted behind a "
        "barrier, and the embedded cloud runs images in their base's own files"
    )
    if shutil.which("unshare"):
        yield Finding("note", "isolation", f"unshare; {found}", remedy)
    else:
        yield Finding("note", "isolation", f"{found}, no unshare", remedy)


def differences() -> list[Finding]:
    """Return where the embedded cloud is known to differ from AWS; nothing where it is not here."""
    from fnmodel.local.differences import DIFFERENCES

    if importlib.util.find_spec("ministack") is None:
        return []
    return [
        Finding("note", f"local ≠ AWS: {one.topic}", one.here, f"in AWS: {one.aws}")
        for one in DIFFERENCES
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
