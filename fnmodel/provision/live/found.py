"""What a reader gives, and what it is given."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

Client = Callable[[str], Any]
"""Makes the boto3 client of a service."""


@dataclass(frozen=True)
class Found:
    """A resource as it stands.

    `properties` are all that the reader looked at, in CloudFormation's names and form; what is not
    set is None. `beside` are parts that could be resources of their own, by type and physical id,
    in words: those that no template asked for were added by hand. `tags` is None where tags were
    not read. `defaults` are what the service sets where a template says nothing.
    """

    properties: Mapping[str, Any]
    beside: Mapping[tuple[str, str], str] = field(default_factory=dict)
    tags: Mapping[str, str] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


Reader = Callable[[Client, str, Mapping[str, Any]], Found | None]
"""Reads a resource by its physical id; it may look at what was asked for, to know whose part it is.

None says that it does not exist. Errors of AWS go through.
"""


def pick(answer: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return properties that the service calls as CloudFormation does."""
    return {name: answer.get(name) for name in names}


def tags(pairs: Iterable[Mapping[str, str]] | Mapping[str, str] | None) -> dict[str, str]:
    """Return tags by their keys, without those that AWS sets itself."""
    if isinstance(pairs, Mapping):
        found = dict(pairs)
    else:
        found = {
            str(one.get("Key", one.get("key"))): str(one.get("Value", one.get("value", "")))
            for one in pairs or ()
        }
    return {key: value for key, value in found.items() if not key.startswith("aws:")}


def document(text: Any) -> Any:
    """Return a policy document, or any other JSON that a service keeps as text."""
    if not isinstance(text, str) or not text:
        return text or None
    text = unquote(text) if text.startswith("%7B") else text
    try:
        return json.loads(text)
    except ValueError:
        return text  # a policy that was broken by hand is shown as it is


def absent(error: Exception, *codes: str) -> bool:
    """Whether an error of botocore says that there is no such thing."""
    code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
    return code in codes or code in _ABSENT


_ABSENT = frozenset({
    "ResourceNotFoundException", "NoSuchEntity", "NotFoundException", "NotFound", "404",
    "NoSuchBucket", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue",
})  # fmt: skip
