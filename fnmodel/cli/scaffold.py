"""Writes a project's first `fnmodel.yaml` and request, from what the model says of itself."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fnmodel.cli.console import Console
from fnmodel.cli.orders import conversion_of
from fnmodel.config import FILE, NAME, Parity, SlimConfig
from fnmodel.errors import UsageError
from fnmodel.home import folder
from fnmodel.interpreter import RUNNING
from fnmodel.model import Signature

if TYPE_CHECKING:
    from fnmodel.slim.slim import Slimmed

REQUEST = "request.json"


@dataclass(frozen=True)
class Given:
    """A model as `init` is told of it."""

    model: Path
    sample: Path | None
    target: str | None
    trust: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What was found in a model."""

    framework: str
    signature: Signature


@dataclass(frozen=True)
class Written:
    """The files that were written, and what was found in each model, by name."""

    files: tuple[Path, ...]
    found: Mapping[str, Found]


def given(
    models: Sequence[Path], samples: Sequence[Path], target: str | None, trust: tuple[str, ...]
) -> list[Given]:
    """Join models with their samples: one for all, or one for each in their order.

    Raises:
        UsageError: there are as many samples as fit neither, or something does not exist.

    """
    for model in models:
        if not model.exists():
            raise UsageError(f"there is no model {model}", hint="name an existing file or folder")
    for sample in samples:
        if not sample.is_file():
            raise UsageError(f"there is no file {sample}", hint="name an existing file")
    if len(samples) not in {0, 1, len(models)}:
        raise UsageError(
            f"there are {len(models)} models and {len(samples)} samples",
            hint="give one --sample for all models, or one for each, in their order",
        )
    matched = samples if len(samples) > 1 else [*samples, None][:1] * len(models)
    return [Given(one, sample, target, trust) for one, sample in zip(models, matched, strict=True)]


def write(
    console: Console, project: Path, models: Sequence[Given], *, name: str | None, force: bool
) -> Written:
    """Slim the models (cached for `deploy`), then write `fnmodel.yaml` and a request for each.

    Raises:
        UsageError: a file exists and `force` is off, `name` is no model name, or two models would
            have the same.
        SlimError: a model cannot be read or converted.

    """
    from fnmodel.slim.proof.probe import sample_request

    path = project.absolute() / FILE
    if name is not None and not re.fullmatch(NAME, name):
        raise UsageError(
            f"{name!r} is not a model name",
            hint="lower-case letters, digits and hyphens, 2 to 32 characters, a letter first",
        )
    whole = name or _name(path.parent.name)
    named = _names(models) if len(models) > 1 else {whole: models[0]}
    requests = {
        one: path.with_name(REQUEST if len(models) == 1 else f"request-{one}.json") for one in named
    }
    for file in (path, *requests.values()):
        if file.exists() and not force:
            raise UsageError(f"{file} exists", hint="--force overwrites it")
    slims = {one: _slim(console, one if len(models) > 1 else "", of) for one, of in named.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    for one in list(requests):
        body = sample_request(slims[one].model)
        if len(models) > 1 and not body["records"]:
            del requests[one]  # a model of tensors, which are not asked for by name
            continue
        _replace(requests[one], json.dumps(body, indent=2, ensure_ascii=False) + "\n")
    _replace(path, _yaml(path.parent, whole, named, requests))
    found = {
        one: Found(slimmed.report.framework, slimmed.model.signature)
        for one, slimmed in slims.items()
    }
    return Written((path, *requests.values()), found)


def _names(models: Sequence[Given]) -> dict[str, Given]:
    named: dict[str, Given] = {}
    for one in models:
        name = _name(one.model.stem, keep="_")
        if name in named:
            raise UsageError(
                f"{named[name].model} and {one.model} would both be the model {name!r}",
                hint="rename one of the files",
            )
        named[name] = one
    return named


def _slim(console: Console, about: str, one: Given) -> "Slimmed":
    from fnmodel.slim.slim import slim

    with console.step("init", about) as step:
        return slim(
            conversion_of(one.model, one.sample, one.target, Parity(), SlimConfig(trust=one.trust)),
            cache=folder("cache", "slim"),
            progress=step.progress,
        )


def _yaml(
    folder: Path, name: str, models: Mapping[str, Given], requests: Mapping[str, Path]
) -> str:
    lines = [f"name: {_quoted(name)}"]
    if len(models) == 1:
        [(one, given)] = models.items()
        lines += _of_one(folder, given, requests.get(one))
    else:
        lines += ["", "models:"]
        for one, given in models.items():
            lines += [
                f"  {one}:",
                *(f"    {line}" for line in _of_one(folder, given, requests.get(one))),
            ]
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


def _of_one(folder: Path, one: Given, request: Path | None) -> Iterator[str]:
    yield f"model: {_quoted(_relative(one.model, folder))}"
    if one.sample:
        yield f"sample: {_quoted(_relative(one.sample, folder))}"
    if one.target:
        yield f"target: {_quoted(one.target)}"
    if request:
        yield f"request: {request.name}"
    if one.trust:
        yield from ("slim:", "  trust:", *(f"    - {_quoted(name)}" for name in one.trust))


def _name(text: str, keep: str = "") -> str:
    name = re.sub(rf"[^a-z0-9{keep}]+", "-", text.lower())[:32].strip("-_")
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
