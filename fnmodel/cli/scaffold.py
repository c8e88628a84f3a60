"""Writes a project's first `fnmodel.yaml` and request, from what the model says of itself."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fnmodel.cli.console import Console
from fnmodel.config import FILE, Parity
from fnmodel.errors import UsageError
from fnmodel.home import folder
from fnmodel.interpreter import RUNNING
from fnmodel.model import Signature, Tolerance

REQUEST = "request.json"


@dataclass(frozen=True)
class Written:
    """The files that were written, and what was found in the model."""

    files: tuple[Path, ...]
    framework: str
    signature: Signature


def write(
    console: Console,
    project: Path,
    model: Path,
    *,
    sample: Path | None,
    target: str | None,
    name: str | None,
    force: bool,
) -> Written:
    """Slim the model (cached for `deploy`), then write `fnmodel.yaml` and `request.json`.

    Raises:
        UsageError: `fnmodel.yaml` exists and `force` is off.
        SlimError: the model cannot be read or converted.

    """
    from fnmodel.slim.probe import sample_request
    from fnmodel.slim.slim import slim

    path = project.absolute() / FILE
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="--force overwrites it")
    parity = Parity()
    with console.step("init") as step:
        slimmed = slim(
            model.absolute(),
            sample=sample.absolute() if sample else None,
            target=target,
            tolerance=Tolerance(parity.absolute, parity.relative),
            label_flips=parity.label_flips,
            cache=folder("cache", "slim"),
            progress=step.progress,
        )
    request = path.with_name(REQUEST)
    files = [path, request]
    body = json.dumps(sample_request(slimmed.model), indent=2, ensure_ascii=False)
    _replace(request, body + "\n")
    _replace(path, _yaml(path.parent, model, sample, target, name))
    return Written(tuple(files), slimmed.report.framework, slimmed.model.signature)


def _yaml(
    folder: Path, model: Path, sample: Path | None, target: str | None, name: str | None
) -> str:
    lines = [f"name: {name or _name(folder.name)}", f"model: {_quoted(_relative(model, folder))}"]
    if sample:
        lines.append(f"sample: {_quoted(_relative(sample, folder))}")
    if target:
        lines.append(f"target: {_quoted(target)}")
    lines += [
        f"request: {REQUEST}",
        "",
        "# The stage of commands that name none. `local` is the embedded cloud on this machine;",
        "# any other name is a stage of its own in your AWS account.",
        "stage: local",
        "",
        "image:",
        f'  python: "{RUNNING}"',
        "  # AWS needs a base image, pinned by digest: base: NAME@sha256:…",
    ]
    return "\n".join(lines) + "\n"


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:32].strip("-")
    return name if re.match(r"[a-z].", name) else "model"


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.absolute(), folder)


def _quoted(text: str) -> str:
    # JSON strings are YAML strings.
    return text if re.fullmatch(r"[\w./-]+", text) else json.dumps(text, ensure_ascii=False)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
