"""A message in, a CloudEvent out: the same message gives the same event, whoever sends it again.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def event(
    kind: str, source: str, subject: str, time: str, data: Mapping[str, Any], *, name: str = ""
) -> dict[str, Any]:
    """Return a CloudEvent 1.0 as plain data.

    Its id is `name`, or a hash of type, source and subject: a subject has one event of a kind.
    """
    return {
        "specversion": "1.0",
        "id": name or _hash(kind, source, subject),
        "type": kind,
        "source": source,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": dict(data),
    }


def _hash(*words: str) -> str:
    text = json.dumps(words, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
