"""One line of JSON on stdout a request: a log record and, by EMF, CloudWatch metrics at once.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

Powertools' Logger and Metrics write two such lines for 30 times the cost, and their import adds
a tenth to a cold start; `handlers.batch` uses them, where neither matters.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

NAMESPACE = "fnmodel"
_METRICS = [
    {"Name": "latency_ms", "Unit": "Milliseconds"},
    {"Name": "rows", "Unit": "Count"},
    {"Name": "client_errors", "Unit": "Count"},
    {"Name": "server_errors", "Unit": "Count"},
    {"Name": "cold_start", "Unit": "Count"},
]


class EmfReport:
    """Writes the record of each request, with the function's name and version as dimensions."""

    def __init__(
        self,
        *,
        model: str,
        function: str,
        version: str,
        write: Callable[[str], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = {"model": model, "function_name": function, "version": version}
        self._write = write
        self._now = now
        self._cold = 1

    def __call__(self, record: dict[str, Any]) -> None:
        """Write one record; its keys are those of `fnmodel.serve.record.Report`."""
        status = record["status"]
        milliseconds = int(self._now() * 1000)
        line = {
            "_aws": {
                "Timestamp": milliseconds,
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["function_name"], ["function_name", "version"]],
                        "Metrics": _METRICS,
                    }
                ],
            },
            "level": "ERROR" if status >= 500 else "INFO",
            "message": "request",
            **self._fixed,
            **record,
            "client_errors": int(400 <= status < 500),
            "server_errors": int(status >= 500),
            "cold_start": self._cold,
        }
        self._cold = 0
        # Looked up late: the Lambda runtime puts its own stream in the place of stdout.
        (self._write or sys.stdout.write)(orjson.dumps(line).decode() + "\n")
