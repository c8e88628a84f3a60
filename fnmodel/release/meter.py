"""Measures both versions of a rollout: requests by CloudWatch, predictions by captured rows.

Requests and crashes are AWS's own metrics by alias and version; what the endpoint itself answered,
and how fast, comes from its log by EMF (`fnmodel.serve.report`). A request that kills its process
writes no line, and one that gets a 500 is no error to Lambda, so both are asked.

All figures are sums since the rollout began, asked for anew each time: what CloudWatch learns late
is in the next look.

Lambda documents its metrics by `ExecutedVersion` for aliases that route to two versions, and says
nothing of an alias that has come to point to one. So from the first whole minute of a step of
100 %, what the alias counts and no version does is the candidate's.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fnmodel.aws import translated
from fnmodel.capture.line import PREFIX, folder_of, lines_of, time_of
from fnmodel.release.analysis import SLOW, Cursor, Readings, Requests
from fnmodel.release.columns import Row, prediction_columns
from fnmodel.release.metrics import ENDPOINT, LAMBDA, figures, of_alias, of_version, query
from fnmodel.release.tick import Rollout

_MINUTE = 60
_BEFORE = 3600
"""Seconds before the rollout from which the stable version's latency is taken."""
_LATE = 600.0
"""Seconds in which an object may still arrive behind those with later names."""
_MOST_ROWS = 20_000
"""Rows of both versions that one look counts at most; the next one goes on behind them."""

ALARMS = "crashes", "errors"
"""The stage's alarms, by the ends of their names in the template."""


class CloudWatchMeter:
    """Reads a stage's metrics, alarms and captured rows.

    `s3` and `bucket` are None where predictions are not compared.
    """

    def __init__(
        self,
        cloudwatch: Any,
        function: str,
        alias: str,
        *,
        s3: Any = None,
        bucket: str | None = None,
    ) -> None:
        self._client = cloudwatch
        self._s3 = s3
        self._function, self._alias, self._bucket = function, alias, bucket

    def read(self, rollout: Rollout, now: float) -> Readings:
        """Return what was measured until now.

        Raises:
            AwsError: CloudWatch or S3 refused.

        """
        evidence, limits = rollout.evidence, rollout.plan.limits
        ratio = limits.latency_ratio
        bound = evidence.slow_ms if ratio else None
        first = evidence.baseline is None
        rows: tuple[list[Row], list[Row]] = [], []
        cursor = evidence.cursor
        if evidence.shift is not None and self._s3 is not None:
            if first:
                cursor = Cursor(self._place(rollout.started))
            else:
                rows, cursor = self._rows(rollout, now)
        return Readings(
            stable=replace(
                self._requests(rollout.stable, rollout.started, now, bound),
                p99_ms=self._p99(rollout.stable, now) if ratio and bound is None else None,
            ),
            candidate=self._requests(
                rollout.candidate,
                rollout.started,
                now,
                bound * ratio if bound and ratio else None,
                alone=rollout.alone,
            ),
            p99_before=self._p99(rollout.stable, rollout.started) if ratio and first else None,
            rows=rows,
            cursor=cursor,
            alarms=self._alarms() if limits.alarms else (),
        )

    def _requests(
        self,
        version: str,
        start: float,
        now: float,
        bound: float | None,
        *,
        alone: float | None = None,
    ) -> Requests:
        """Return what a version did; `alone` is since when it has had all the alias's requests."""
        own = of_version(self._function, self._alias, version)
        lambdas = [*of_alias(self._function, self._alias), ("ExecutedVersion", version)]
        asked = [
            query("invocations", LAMBDA, "Invocations", lambdas, "Sum", _MINUTE),
            query("crashes", LAMBDA, "Errors", lambdas, "Sum", _MINUTE),
            query("answered", ENDPOINT, "server_errors", own, "SampleCount", _MINUTE),
            query("failed", ENDPOINT, "server_errors", own, "Sum", _MINUTE),
            query("cold", ENDPOINT, "cold_start", own, "Sum", _MINUTE),
            query("timed", ENDPOINT, "latency_ms", own, "SampleCount", _MINUTE),
        ]
        if bound is not None:
            # A trimmed count: the values above a bound.
            asked.append(query("slow", ENDPOINT, "latency_ms", own, f"TC({bound:.6g}:)", _MINUTE))
        found = self._figures(asked, start - start % _MINUTE, now + 1)
        total = {name: round(sum(values)) for name, values in found.items()}
        if alone is not None:
            for name, count in self._unattributed(lambdas, alone, now).items():
                total[name] += count
        count = max(total["invocations"], total["answered"])
        timed = total["timed"]
        return Requests(
            count=count,
            errors=min(total["crashes"] + total["failed"], count),
            cold=total["cold"],
            timed=timed,
            slow=min(total.get("slow", 0), timed),
        )

    def _unattributed(
        self, lambdas: list[tuple[str, str]], since: float, now: float
    ) -> dict[str, int]:
        """Return the alias's invocations and crashes that Lambda has counted for no version."""
        start = -(-since // _MINUTE) * _MINUTE
        if start > now:
            return {}
        metrics = {"invocations": "Invocations", "crashes": "Errors"}
        alias = of_alias(self._function, self._alias)
        asked = [
            query(f"{name}_{which}", LAMBDA, metric, dimensions, "Sum", _MINUTE)
            for name, metric in metrics.items()
            for which, dimensions in (("all", alias), ("known", lambdas))
        ]
        found = self._figures(asked, start, now + 1)
        return {
            name: max(round(sum(found[f"{name}_all"]) - sum(found[f"{name}_known"])), 0)
            for name in metrics
        }

    def _p99(self, version: str, end: float) -> float | None:
        """Return the latency that a hundredth of the requests of an hour was above."""
        own = of_version(self._function, self._alias, version)
        asked = [query("p99", ENDPOINT, "latency_ms", own, f"p{SLOW}", _BEFORE)]
        found = self._figures(asked, end - _BEFORE, end + 1)["p99"]
        # An hour may lie in two of CloudWatch's; percentiles do not add up.
        return max(found, default=None)

    def _figures(
        self, queries: list[dict[str, Any]], start: float, end: float
    ) -> Mapping[str, list[float]]:
        return figures(
            self._client, queries, datetime.fromtimestamp(start, UTC),
            datetime.fromtimestamp(end, UTC),
        )  # fmt: skip

    def _alarms(self) -> tuple[str, ...]:
        """Return the stage's alarms that ring."""
        with translated():
            pages = self._client.get_paginator("describe_alarms").paginate(
                # Not by the beginning: the alarms of `prod-eu` begin as those of `prod`.
                AlarmNames=[f"{self._function}-{name}" for name in ALARMS],
                StateValue="ALARM",
            )
            found = [alarm["AlarmName"] for page in pages for alarm in page["MetricAlarms"]]
        return tuple(sorted(found))

    def _place(self, time: float) -> str:
        return folder_of(self._function, self._alias, datetime.fromtimestamp(time, UTC))

    def _rows(self, rollout: Rollout, now: float) -> tuple[tuple[list[Row], list[Row]], Cursor]:
        """Return the predictions of objects that were not counted yet, and which are counted then.

        Firehose names objects by their time, so that they sort by it.
        """
        sides: dict[str, list[Row]] = {rollout.stable: [], rollout.candidate: []}
        since = time_of(datetime.fromtimestamp(rollout.started - 1, UTC))
        requests: set[str] = set()
        cursor = rollout.evidence.cursor
        counted = set(cursor.beyond)
        after, beyond = cursor.after, list[str]()
        for key, modified, content in self._objects(cursor.after, counted):
            for version, request, time, row in filter(None, map(_captured, lines_of(content))):
                if version not in sides or request in requests or time < since:
                    continue
                requests.add(request)  # rows of one request are not independent
                sides[version].append(row)
            counted.discard(_hash(key))
            if modified < now - _LATE:
                after, beyond = key, []
            else:
                beyond.append(_hash(key))
            if sum(map(len, sides.values())) >= _MOST_ROWS:
                break
        return (sides[rollout.stable], sides[rollout.candidate]), Cursor(
            after, (*beyond, *sorted(counted))
        )

    def _objects(self, after: str, counted: set[str]) -> Iterator[tuple[str, float, bytes]]:
        """Yield key, time and content of each object; no content of those that are counted."""
        with translated():
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket,
                Prefix=f"{PREFIX}{self._function}/{self._alias}/",
                StartAfter=after,
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key, content = item["Key"], b""
                    if _hash(key) not in counted:
                        answer = self._s3.get_object(Bucket=self._bucket, Key=key)
                        content = answer["Body"].read()
                    yield key, item["LastModified"].timestamp(), content


def _captured(line: bytes) -> tuple[str, str, str, Row] | None:
    """Return version, request, time and prediction; a broken line must not stop a rollout."""
    try:
        data = json.loads(line)
        told, time = data["fnmodel"], data["eventMetadata"]["inferenceTime"]
        prediction = json.loads(data["captureData"]["endpointOutput"]["data"])
        return (
            str(told["version"]),
            str(told["request_id"]),
            str(time),
            prediction_columns(prediction),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]
