"""An HTTP API's question who is calling, and the answer: a key of the stage, or nobody.

API Gateway asks with the header `x-api-key` and keeps each answer under that header for a minute,
so that this runs once a minute and key, and not once a request. What must hold for every request
(scopes, expiry, rate) goes along as the answer's context; `fnmodel.serve.admission` holds to it.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fnmodel.apikey import ApiKey, Item, identity_of
from fnmodel.errors import AwsError

COARSE = 3600
"""Seconds: a key's last use is written when the one that is known is older than this."""

NOBODY: Mapping[str, Any] = {"isAuthorized": False}


class Keys(Protocol):
    """Where keys are kept: a table by the key's id."""

    def get(self, key: str) -> Item | None:
        """Return an item, as it is now."""

    def touch(self, key: str, name: str, value: int) -> None:
        """Set one number of an item."""


def authorize(
    event: Mapping[str, Any],
    keys: Keys,
    *,
    now: Callable[[], float] = time.time,
    log: Callable[[str], object] = lambda line: sys.stdout.write(f"{line}\n"),
) -> dict[str, Any]:
    """Answer one event (payload format 2.0) with a simple response.

    Raises:
        AwsError: the table cannot be read. API Gateway then answers 500: nobody comes in.

    """
    source = event.get("identitySource")
    given = source[0] if isinstance(source, list) and source else None
    given = given if isinstance(given, str) else ""
    identity = identity_of(given)
    item = keys.get(identity) if identity else None
    if item is None:
        return dict(NOBODY)
    key, moment = ApiKey.from_item(item), now()
    if not key.opens(given, moment):
        return dict(NOBODY)
    if moment - key.used >= COARSE:
        try:
            keys.touch(key.id, "used", int(moment))
        except AwsError as error:
            # The caller has a good key; that its use was not noted is no reason to refuse it.
            log(f"the last use of key {key.id} was not noted: {error.message}")
    context = {
        "key": key.id,
        "name": key.name,
        "scopes": " ".join(key.scopes),
        "expires": key.expires,
        "rate": key.rate,
    }
    return {"isAuthorized": True, "context": context}
