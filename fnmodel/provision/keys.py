"""The API keys of a stage, in its table: made, listed and revoked. The key itself is never kept."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from fnmodel.apikey import SCOPES, ApiKey, digest, generate
from fnmodel.aws import translated
from fnmodel.errors import UsageError


@dataclass(frozen=True)
class Made:
    """A new key: what the table knows of it, and `secret`, which nobody can read again."""

    key: ApiKey
    secret: str = field(repr=False)


class ApiKeys:
    """The keys of one stage; times are seconds since 1970."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def add(
        self,
        name: str,
        *,
        now: float,
        scopes: Collection[str] = SCOPES,
        expires: float = 0,
        rate: int = 0,
        make: Callable[[], tuple[str, str]] = generate,
    ) -> Made:
        """Make a key and store its hash; several keys may share a name, none an id."""
        identity, secret = make()
        key = ApiKey(
            id=identity,
            name=name,
            digest=digest(secret),
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            created=int(now),
            expires=int(expires),
            rate=rate,
        )
        with translated():
            self._client.put_item(
                TableName=self._table,
                Item=key.to_item(),
                ConditionExpression="attribute_not_exists(pk)",
            )
        return Made(key, secret)

    def list(self) -> list[ApiKey]:
        """Return every key that was ever made, the newest first."""
        with translated():
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table, ConsistentRead=True
            )
            items = [item for page in pages for item in page["Items"]]
        return sorted(map(ApiKey.from_item, items), key=lambda key: (-key.created, key.id))

    def revoke(self, name: str, *, now: float) -> ApiKey:
        """Let a key open nothing any more; `name` is its id, or its name.

        A revoked key stays in the list. Repeated, this changes nothing.

        Raises:
            UsageError: there is no such key, or several that work have this name.

        """
        keys = self.list()
        found = [key for key in keys if key.id == name]
        if not found:
            named = [key for key in keys if key.name == name]
            found = [key for key in named if not key.revoked] or named[:1]
        if not found:
            raise UsageError(
                f"there is no key {name!r} in this stage", hint="`fnmodel keys list` shows them"
            )
        if len(found) > 1:
            ids = ", ".join(key.id for key in found)
            raise UsageError(
                f"{len(found)} keys are named {name!r}", hint=f"revoke one by its id: {ids}"
            )
        [key] = found
        if key.revoked:
            return key
        with translated():
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": key.id}},
                UpdateExpression="SET revoked = :now",
                ExpressionAttributeValues={":now": {"N": str(int(now))}},
                ReturnValues="ALL_NEW",
            )
        return ApiKey.from_item(answer["Attributes"])
