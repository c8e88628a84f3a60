"""Settings as an environment variable of a function."""

import json
from collections.abc import Mapping
from typing import Any

from fnmodel.errors import UsageError

# Lambda gives all environment variables together 4 KB.
_LIMIT = 3_000


def variable(said: Mapping[str, Any], of: str) -> str:
    """Return settings as JSON; `of` names where a project says them.

    Raises:
        UsageError: it is too long for an environment variable.

    """
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    if len(text.encode()) > _LIMIT:
        raise UsageError(
            f"{of}: {len(text.encode()):,} bytes; there is room for {_LIMIT:,}",
            hint="name fewer fields, or drop what holds them before it is sent",
        )
    return text
