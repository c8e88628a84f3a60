"""How a request came in, by what API Gateway says of it: which door, and under which URL."""

import re
from collections.abc import Mapping
from typing import Any

_HOST = re.compile(r"[a-z0-9]+\.execute-api\.[a-z0-9-]+\.amazonaws\.com(\.cn)?")
# The key of an authorizer's context, by the kind of access; see docs/access.md.
_DOORS = {"iam": "iam", "jwt": "jwt", "lambda": "api_key"}
_CATCH_ALL = "$default"


def access_of(gateway: Mapping[str, Any]) -> str:
    """Return the stage's access: iam, jwt, api_key or public; empty where it cannot be known.

    `gateway` is the event's `requestContext`, empty outside of API Gateway. A route of its own,
    which may be public in a stage that is not, tells nothing.
    """
    authorizer = gateway.get("authorizer")
    if isinstance(authorizer, Mapping):
        return next((door for key, door in _DOORS.items() if key in authorizer), "")
    return "public" if gateway.get("routeKey") == _CATCH_ALL else ""


def server_of(gateway: Mapping[str, Any]) -> str:
    """Return the URL that paths begin at; `.`, where the document lies, if nobody tells.

    Under a domain of one's own, paths may begin below a prefix that the event does not have.
    """
    domain = gateway.get("domainName")
    known = isinstance(domain, str) and _HOST.fullmatch(domain)
    return f"https://{domain}" if known else "."
