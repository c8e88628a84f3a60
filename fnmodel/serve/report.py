"""One line of JSON on stdout a request: a log record and, by EMF, CloudWatch metrics at once.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

Powertools' Logger and Metrics write two such lines for 30 times the cost, and their import adds
a tenth to a cold start; `handlers.batch` uses them, where neither matters.
"""

import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import orjson

from fnmodel.capture.scrub import scrub

NAMESPACE = "fnmodel"
_LATENCY = {"Name": "latency_ms", "Unit": "Milliseconds"}
_COUNTS = [
    {"Name": "rows", "Unit": "Count"},
    {"Name": "client_errors", "Unit": "Count"},
    {"Name": "server_errors", "Unit": "Count"},
    {"Name": "cold_start", "Unit": "Count"},
]
_BYTES = [
    {"Name": "request_bytes", "Unit": "Bytes"},
    {"Name": "response_bytes", "Unit": "Bytes"},
]
_MODEL = ["function_name", "model"]
_VERSION = ["function_name", "version"]
_ALIAS = ["function_name", "alias", "version"]


class EmfReport:
    """Writes the record of each request; its metrics are by function, version and alias.

    Each set of dimensions is billed as metrics of its own, so the sizes are by function only. What
    was not asked by an alias, as a gate asks a new version, has no part in the alias's metrics. By
    alias, the latency of a process's first request is left out, and of each named model's: it loads
    what later ones find loaded, so that a new version with few requests would look slow beside one
    that is warm. `model` is None where an image names its models; records then say which, and
    metrics are by model, too. A record with `replay`, of a request that a rollout has sent once
    more, counts as one of these, and in no other metric.
    """

    def __init__(
        self,
        *,
        model: str | None,
        function: str,
        version: str,
        write: Callable[[str], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        one = {} if model is None else {"model": model}
        self._fixed = {
            "service": "fnmodel", **one, "function_name": function, "version": version
        }  # fmt: skip
        self._write = write
        self._now = now
        self._warm: set[str] = set()

    def __call__(self, record: dict[str, Any]) -> None:
        """Write one record; its keys are those of `fnmodel.serve.record.Report`."""
        status, model = record["status"], record.get("model", "")
        process, first = not self._warm, model not in self._warm
        self._warm.add(model)
        if "exception" in record:
            record = {**record, "exception": scrub(record["exception"])}
        level = {"level": "ERROR" if status >= 500 else "INFO", "message": "request"}
        if "replay" in record:
            self._line([_REPLAYS], {**level, **self._fixed, **record, "replays": 1})
            return
        self._line(
            _DIRECTIVES["alias" in record, "request_bytes" in record, "model" in record, first],
            {
                **level,
                **self._fixed,
                **record,
                "client_errors": int(400 <= status < 500),
                "server_errors": int(status >= 500),
                "cold_start": int(process),
            },
        )

    def dropped(self, rows: int, reason: str) -> None:
        """Write that rows of a request were not captured, with a metric of their own."""
        metric = {"Name": "capture_dropped", "Unit": "Count"}
        fields = {"level": "WARNING", "message": "rows were not captured", "reason": reason}
        directive = _directive([["function_name"]], [metric])
        self._line([directive], {**fields, **self._fixed, "capture_dropped": rows})

    def _line(self, directives: Any, fields: dict[str, Any]) -> None:
        stamp = {"Timestamp": int(self._now() * 1000), "CloudWatchMetrics": directives}
        # Looked up late: the Lambda runtime puts its own stream in the place of stdout.
        (self._write or sys.stdout.write)(orjson.dumps({"_aws": stamp, **fields}).decode() + "\n")


def _directive(dimensions: list[list[str]], metrics: list[dict[str, str]]) -> dict[str, Any]:
    return {"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics}


def _requests(alias: bool, sizes: bool, model: bool, first: bool) -> orjson.Fragment:
    sets = [["function_name"], _VERSION, *([_MODEL] if model else [])]
    directives = [_directive(sets if first or not alias else [*sets, _ALIAS], [_LATENCY, *_COUNTS])]
    if alias and first:
        directives.append(_directive([_ALIAS], _COUNTS))
    if sizes:
        directives.append(_directive([["function_name"]], _BYTES))
    return orjson.Fragment(orjson.dumps(directives))


_REPLAYS = _directive([["function_name"]], [{"Name": "replays", "Unit": "Count"}])

# The same with every request, so they are written once.
_DIRECTIVES = {kind: _requests(*kind) for kind in product((False, True), repeat=4)}
