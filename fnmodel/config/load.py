"""`fnmodel.yaml` is read with line numbers, and all problems are reported at once."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from fnmodel.config.base import FILE
from fnmodel.config.image import SigningConfig
from fnmodel.config.model import OneModel
from fnmodel.config.project import Project
from fnmodel.errors import ConfigError, UsageError


def find(start: Path | None = None) -> Path:
    """Return the `fnmodel.yaml` of this folder.

    Raises:
        UsageError: there is none.

    """
    folder = (start or Path.cwd()).absolute()
    path = folder / FILE
    if not path.is_file():
        raise UsageError(
            f"there is no {FILE} in {folder}",
            hint="`fnmodel init MODEL --sample FILE` writes one; or name the folder with --project",
        )
    return path


def load(path: Path) -> Project:
    """Read a project file; its relative paths become absolute.

    Raises:
        ConfigError: it is not YAML, has unknown keys or wrong values; lists all of them by line.

    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_plain(node)
        data = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(str(path), [str(error)]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(str(path), [f"{line}{problem}"]) from error
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(str(path), ["line 1: expected keys and values, such as `name: churn`"])
    lines = dict(_lines(node, ()))
    twice = [f"line {line}: key {key!r} stands twice" for key, line in _twice(node)]
    try:
        project = Project.model_validate(data)
    except ValidationError as error:
        problems = [_problem(dict(item), lines) for item in error.errors()]
        raise ConfigError(str(path), [*twice, *problems]) from error
    if twice:
        raise ConfigError(str(path), twice)
    folder = path.parent
    base = project.image.base
    if base is not None and base.startswith("oci:"):
        base = f"oci:{folder / base.removeprefix('oci:')}"
    signing = SigningConfig(
        key=project.signing.key and folder / project.signing.key,
        trusted=tuple(folder / key for key in project.signing.trusted),
    )
    models = {
        name: one.model_copy(update=_below(folder, one)) for name, one in project.models.items()
    }
    return project.model_copy(
        update={
            **_below(folder, project),
            "models": models,
            "requirements": project.requirements and folder / project.requirements,
            "image": project.image.model_copy(update={"base": base}),
            "signing": signing,
        }
    )


def _below(folder: Path, one: OneModel) -> dict[str, Any]:
    """Return what names files of a model, below a folder."""
    keys = ("model", "sample", "request", "processing")
    found = {key: folder / value for key in keys if (value := getattr(one, key)) is not None}
    sample = one.gates.sample and folder / one.gates.sample
    return {**found, "gates": one.gates.model_copy(update={"sample": sample})}


def _check_plain(node: yaml.Node | None) -> None:
    """Refuse YAML that is more than keys, lists and values.

    Raises:
        ValueError: a key is no plain word, or a value has a tag or refers to another.

    """
    seen: set[int] = set()
    waiting = [node] if node is not None else []
    while waiting:
        one = waiting.pop()
        line = f"line {one.start_mark.line + 1}: "
        if id(one) in seen:
            raise ValueError(f"{line}anchors and aliases are not used here; write the value out")
        seen.add(id(one))
        if not one.tag.startswith("tag:yaml.org,2002:"):
            raise ValueError(f"{line}the tag {one.tag} is not used here; write a plain value")
        if isinstance(one, yaml.MappingNode):
            if not all(isinstance(key, yaml.ScalarNode) for key, _ in one.value):
                raise ValueError(f"{line}a key must be a plain word")
            waiting.extend(value for _, value in one.value)
        elif isinstance(one, yaml.SequenceNode):
            waiting.extend(one.value)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `fnmodel.yaml`."""
    return Project.model_json_schema()


def _lines(node: yaml.Node, at: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from ((k, n) for k, n in _lines(value, (*at, key.value)) if k != (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*at, index))


def _twice(node: yaml.Node) -> Iterator[tuple[str, int]]:
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.value, key.start_mark.line + 1
            seen.add(key.value)
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _twice(child)


def _problem(item: dict[str, Any], lines: dict[tuple[Any, ...], int]) -> str:
    at = tuple(part for part in item["loc"] if part != "[key]")
    line = next(lines[at[:size]] for size in range(len(at), -1, -1) if at[:size] in lines)
    dotted = ".".join(str(part) for part in at)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(at[-1]), _keys(at[:-1]), n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        return f"line {line}: unknown key {dotted!r}{guess}"
    message = item["msg"].removeprefix("Value error, ")
    return f"line {line}: {dotted}: {message}" if dotted else f"line {line}: {message}"


def _keys(at: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Project
    for part in at:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        model = (field and _part(field.annotation)) or model
    return list(model.model_fields)


def _part(annotation: Any) -> type[BaseModel] | None:
    """Return the part of `fnmodel.yaml` that a field is of, alone, in a list or by names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_part, get_args(annotation))), None)
