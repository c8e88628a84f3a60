"""A message in, a CloudEvent out: the same message gives the same event, whoever sends it again.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

ALERT = "io.fnmodel.watch.alert"
"""Types of alerts begin so, and end with what has changed: `.opened`, `.grown` and so on."""
RETRAIN = "io.fnmodel.watch.retrain.requested"


def event(kind: str, source: str, subject: str, time: str, data: Mapping[str, Any]) -> Any:
    """Return a CloudEvent 1.0 as plain data.

    Its id is a hash of type, source and subject: a window has one event of a kind.
    """
    name = json.dumps([kind, source, subject], separators=(",", ":")).encode()
    return {
        "specversion": "1.0",
        "id": hashlib.sha256(name).hexdigest()[:32],
        "type": kind,
        "source": source,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": dict(data),
    }
