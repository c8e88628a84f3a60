"""The registries' way to ask for credentials: `WWW-Authenticate`, Basic or Bearer.

A bearer token is good for scopes such as `repository:team/model:pull,push`. A registry names the
scope that one request lacks, so scopes are united: a token for the push must not lose the pull.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """What a 401 asks for: a scheme in lower case and its parameters."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""

    @staticmethod
    def parse(headers: Iterable[str]) -> "Challenge | None":
        """Read `WWW-Authenticate` headers; Bearer is preferred to Basic, others are unknown."""
        found = {}
        for header in headers:
            scheme, _, rest = header.strip().partition(" ")
            values = {k.lower(): a or b for k, a, b in _PARAMETER.findall(rest)}
            found[scheme.lower()] = Challenge(
                scheme.lower(),
                values.get("realm", ""),
                values.get("service", ""),
                values.get("scope", ""),
            )
        return found.get("bearer") or found.get("basic")


def unite(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return scopes with the actions of one resource joined, in a fixed order."""
    actions: dict[str, set[str]] = {}
    for text in scopes:
        for scope in text.split():
            resource, _, listed = scope.rpartition(":")
            actions.setdefault(resource, set()).update(listed.split(","))
    return tuple(f"{name}:{','.join(sorted(found))}" for name, found in sorted(actions.items()))
