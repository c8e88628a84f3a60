"""Writes a project's first `fnmodel.yaml` and request, from what the model says of itself."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fnmodel.cli.console import Console
from fnmodel.cli.orders import conversion_of
from fnmodel.config import FILE, NAME, Parity, SlimConfig
from fnmodel.errors import UsageError
from fnmodel.home import folder
from fnmodel.interpreter import RUNNING
from fnmodel.model import Signature

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
    trust: tuple[str, ...],
    force: bool,
) -> Written:
    """Slim the model (cached for `deploy`), then write `fnmodel.yaml` and `request.json`.

    Raises:
        UsageError: a file exists and `force` is off, or `name` is no model name.
        SlimError: the model cannot be read or converted.

    """
    from fnmodel.slim.proof.probe import sample_request
    from fnmodel.slim.slim import slim

    path = project.absolute() / FILE
    request = path.with_name(REQUEST)
    for file in (path, request):
        if file.exists() and not force:
            raise UsageError(f"{file} exists", hint="--force overwrites it")
    if name is not None and not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} is not a model name",
            hint="lower-case letters, digits and hyphens, 2 to 32 characters, a letter first",
        )
    with console.step("init") as step:
        slimmed = slim(
            conversion_of(model, sample, target, Parity(), SlimConfig(trust=trust)),
            cache=folder("cache", "slim"),
            progress=step.progress,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    body = json.dumps(sample_request(slimmed.model), indent=2, ensure_ascii=False)
    _replace(request, body + "\n")
    _replace(path, _yaml(path.parent, model, sample, target, name, trust))
    return Written((path, request), slimmed.report.framework, slimmed.model.signature)


def _yaml(
    folder: Path,
    model: Path,
    sample: Path | None,
    target: str | None,
    name: str | None,
    trust: tuple[str, ...],
) -> str:
    lines = [
        f"name: {_quoted(name or _name(folder.name))}",
        f"model: {_quoted(_relative(model, folder))}",
    ]
    if sample:
        lines.append(f"sample: {_quoted(_relative(sample, folder))}")
    if target:
        lines.append(f"target: {_quoted(target)}")
    lines.append(f"request: {REQUEST}")
    if trust:
        lines += ["slim:", "  trust:", *(f"    - {_quoted(one)}" for one in trust)]
    lines += [
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
    """Return a YAML string: plain where YAML reads it as just that text, else as JSON."""
    import yaml

    plain = bool(re.fullmatch(r"[A-Za-z][\w./-]*", text)) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
