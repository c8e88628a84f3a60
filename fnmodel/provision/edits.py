"""Two values in, the places where they differ out; nothing is asked of any cloud."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.provision.resolve import MARK

# What tells one element of a list from the others, in the forms of the services.
_IDENTITIES = ("Sid", "Id", "PolicyName", "Key", "Name", "ParameterName", "AttributeName")


@dataclass(frozen=True)
class Edit:
    """One place that differs: its path in the properties, and both values; None is absent."""

    path: str
    before: Any
    after: Any


def edits(before: Any, after: Any, path: str = "", *, marks: bool = False) -> Iterator[Edit]:
    """Yield where two values differ, in the order of the first.

    Numbers and booleans may be text, one word may be a list of it, lists may be in any order, JSON
    may be text: services give back what they were given in forms of their own. With `marks`, a mark
    in `before` fits any value.
    """
    before, after = _opened(before, after), _opened(after, before)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from edits(before.get(key), after.get(key), inner, marks=marks)
    elif isinstance(before, list) and isinstance(after, list) and _named(before, after):
        ours, theirs = _by_name(before), _by_name(after)
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            yield from edits(ours.get(name), theirs.get(name), f"{path}[{name}]", marks=marks)
    elif not same(before, after, marks=marks):
        yield Edit(path, before, after)


def same(before: Any, after: Any, *, marks: bool = False) -> bool:
    """Whether two values mean the same; with `marks`, a mark in the first fits any."""
    before, after = _opened(before, after), _opened(after, before)
    if _nothing(before) or _nothing(after):
        return _nothing(before) and _nothing(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = {*before, *after}
        return all(same(before.get(key), after.get(key), marks=marks) for key in keys)
    if isinstance(before, list) or isinstance(after, list):
        return _same_lists(_listed(before), _listed(after), marks=marks)
    if marks and isinstance(before, str) and MARK.search(before):
        return _pattern(before).fullmatch(str(after)) is not None
    return bool(before == after) or _text(before) == _text(after)


def _nothing(value: Any) -> bool:
    """Whether a value says no more than an absent one; 0 does."""
    if isinstance(value, Mapping):
        return all(map(_nothing, value.values()))
    return value is None or value is False or value in ("", [])


def _same_lists(before: list[Any], after: list[Any], *, marks: bool) -> bool:
    left = list(after)
    for one in before:
        index = next((i for i, other in enumerate(left) if same(one, other, marks=marks)), None)
        if index is None:
            return False
        del left[index]
    return not left


def _pattern(text: str) -> re.Pattern[str]:
    parts, end = [], 0
    for mark in MARK.finditer(text):
        parts.append(re.escape(text[end : mark.start()]))
        end = mark.end()
    return re.compile(".*".join([*parts, re.escape(text[end:])]), re.DOTALL)


def _opened(value: Any, other: Any) -> Any:
    """Return what JSON in a text says, where it stands against an object."""
    if isinstance(value, str) and isinstance(other, Mapping | list) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    # Some services give the ARN of a log group without what stands for its streams.
    return text.removesuffix(":*") if ":log-group:" in text else text


def _named(*lists: list[Any]) -> bool:
    """Whether all elements are objects with a name of their own."""
    for one in lists:
        if not all(isinstance(item, Mapping) and _name(item) for item in one):
            return False
        if len({_name(item) for item in one}) < len(one):
            return False
    return True


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {str(_name(item)): item for item in items}


def _name(item: Mapping[str, Any]) -> Any:
    return next((item[key] for key in _IDENTITIES if item.get(key)), None)
