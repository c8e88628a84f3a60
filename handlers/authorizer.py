"""The Lambda function that an HTTP API with keys asks who is calling."""

import os
from typing import Any

from fnmodel.serve.authorizer import authorize
from fnmodel.serve.dynamodb import Table

table = Table.from_environment(os.environ)


def handler(event: Any, _context: Any) -> dict[str, Any]:
    """Answer one event of a REQUEST authorizer, payload format 2.0, with a simple response.

    Raises:
        AwsError: the keys cannot be read; API Gateway lets nobody in then.

    """
    return authorize(event, table)
