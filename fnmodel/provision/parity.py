"""What two stages are, as flat facts, and where they differ: on purpose, or not. Pure.

A fact's name is a path such as `function.memory` or `template.Resources.Api.Properties.Name`. What
each stage has of its own by nature (its name, its image's registry, its secrets and resources) is
no fact.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.provision.template import Template

Facts = Mapping[str, Any]
OWN = frozenset({"Stage", "ImageUri", "AuthorizerImageUri", "ControllerImageUri", "CaptureKey"})
"""Parameters whose values belong to one stage alone."""

_MASK = "****"
_SETTINGS = {"memory": "Memory", "timeout": "Timeout", "snapstart": "SnapStart"}
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|HEADERS")
_THE_STAGES = "(the stage's own)"


@dataclass(frozen=True)
class Difference:
    """One fact that differs; None where a stage has no such fact.

    `on_purpose` says that fnmodel.yaml asks for exactly these two values.
    """

    where: str
    one: Any
    two: Any
    on_purpose: bool


@dataclass(frozen=True)
class Compared:
    """A stage as it stands, and as the project file wants it."""

    live: Facts
    declared: Facts


def differences(one: Compared, two: Compared) -> tuple[Difference, ...]:
    """Return the facts in which two stages differ, by name."""
    found = []
    for where in sorted({*one.live, *two.live}):
        first, second = one.live.get(where), two.live.get(where)
        if first != second:
            asked = (one.declared.get(where), two.declared.get(where)) == (first, second)
            found.append(Difference(where, first, second, asked))
    return tuple(found)


def stack_facts(template: Template, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts of a template and its parameters."""
    facts = {
        f"parameters.{name}": value
        for name, value in parameters.items()
        if name not in OWN and value != _MASK
    }
    return facts | {f"template.{path}": value for path, value in _flat(template)}


def declared_function(template: Template, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the facts of the function that a template and parameters describe."""
    facts: dict[str, Any] = {
        f"function.{name}": parameters.get(parameter) for name, parameter in _SETTINGS.items()
    }
    facts["function.architecture"] = parameters.get("Architecture")
    facts["function.tracing"] = parameters.get("Tracing")
    for name, value in _variables(template).items():
        own = _is_own(value, template)
        shown = parameters.get(value["Ref"]) if isinstance(value, dict) and not own else value
        facts[f"function.environment.{name}"] = _THE_STAGES if own else _shown(name, shown)
    return facts


def live_function(configuration: Mapping[str, Any], template: Template) -> dict[str, Any]:
    """Return the same facts of a version, from its Lambda configuration."""
    snapstart = (configuration.get("SnapStart") or {}).get("ApplyOn", "None")
    facts: dict[str, Any] = {
        "function.memory": str(configuration.get("MemorySize")),
        "function.timeout": str(configuration.get("Timeout")),
        "function.snapstart": snapstart,
        "function.architecture": (configuration.get("Architectures") or ["x86_64"])[0],
        "function.tracing": (configuration.get("TracingConfig") or {}).get("Mode", "PassThrough"),
    }
    written = _variables(template)
    for name, value in ((configuration.get("Environment") or {}).get("Variables") or {}).items():
        own = _is_own(written.get(name), template)
        facts[f"function.environment.{name}"] = _THE_STAGES if own else _shown(name, value)
    return facts


def _variables(template: Template) -> Mapping[str, Any]:
    properties = template["Resources"]["Function"]["Properties"]
    variables: Mapping[str, Any] = (properties.get("Environment") or {}).get("Variables") or {}
    return variables


def _shown(name: str, value: Any) -> Any:
    """Return a variable's value; of one that may be a secret its hash: it is printed."""
    if not _SECRET.search(name):
        return value
    return f"sha256:{hashlib.sha256(str(value).encode()).hexdigest()[:12]}"


def _is_own(value: Any, template: Template) -> bool:
    """Whether a variable holds the name of a resource, or what is one stage's alone."""
    if not isinstance(value, dict):
        return False
    name = value.get("Ref")
    return name in OWN or name not in template.get("Parameters", {})


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items: list[tuple[Any, Any]]
    if isinstance(value, dict) and value:
        items = list(value.items())
    elif isinstance(value, list) and value:
        items = list(enumerate(value))
    else:
        yield path, value
        return
    for key, inner in items:
        yield from _flat(inner, f"{path}.{key}" if path else str(key))
