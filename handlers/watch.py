"""The Lambda function that watches captured rows: each hour, a quarter after its end."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from fnmodel.aws import Cloud, translated
from fnmodel.errors import FnmodelError
from fnmodel.model import SIGNATURE, Signature
from fnmodel.profile import REFERENCE, read_reference, reference_digest
from fnmodel.serve.models import folders
from fnmodel.watch import channels
from fnmodel.watch.book import Book
from fnmodel.watch.bucket import S3Store
from fnmodel.watch.channels import Outbox
from fnmodel.watch.drift import Rules
from fnmodel.watch.incident import Rhythm
from fnmodel.watch.judge import DRIFT_KINDS
from fnmodel.watch.records import Record
from fnmodel.watch.retrain import Guards
from fnmodel.watch.run import Desk, Settings, Watched, look
from fnmodel.watch.signing import key_of
from fnmodel.watch.webhook import Target

_LEAST = 60_000
"""Milliseconds that another hour must have; without them the next run goes on."""

cloud = Cloud()
endpoint = os.environ["FNMODEL_FUNCTION"]
policy = json.loads(os.environ["FNMODEL_WATCH"])


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Watch what is due at the event's `time` (ISO 8601); return what was found, by model.

    Raises:
        AlertError: an alert did not arrive everywhere; Lambda tries again.
        AwsError: AWS refused a call.

    """
    now = datetime.fromisoformat(event["time"]).astimezone(UTC)
    # Lambda tries again under the same id.
    desk = replace(_desk(), who=context.aws_request_id)
    found: dict[str, list[Any]] = {}
    failed: FnmodelError | None = None
    for model in _models():
        hours = found.setdefault(model.name, [])
        try:
            for made in look(
                model, _settings(), desk, now,
                lambda: context.get_remaining_time_in_millis() < _LEAST,
            ):  # fmt: skip
                _log(_metrics(made, several=len(folders(os.environ)) > 1))
                hours.append(_short(made))
        except FnmodelError as error:
            failed = failed or error  # the other models are watched none the less
            _log({"level": "ERROR", "message": error.message, "model": model.name})
    if failed is not None:
        raise failed
    return {"models": found}


def _log(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _models() -> Iterator[Watched]:
    for name, folder in folders(os.environ).items():
        if (folder / REFERENCE).exists():
            yield _watched(name, folder)


@cache
def _watched(name: str, folder: Path) -> Watched:
    signature = Signature.from_json(json.loads((folder / SIGNATURE).read_bytes()))
    return Watched(name, read_reference(folder), signature, reference_digest(folder))


@cache
def _settings() -> Settings:
    guards = policy.get("retrain")
    return Settings(
        os.environ["FNMODEL_STAGE"],
        endpoint,
        timedelta(minutes=policy["grace"]),
        Rules(alpha=policy["false_alarm_rate"], minimum=policy["minimum"], draws=0),
        Rhythm(policy["close_after"], timedelta(seconds=policy["remind"])),
        frozenset(policy["unkept"]),
        guards and Guards(**{**guards, "cooldown": timedelta(seconds=guards["cooldown"])}),
    )


@cache
def _desk() -> Desk:
    store = S3Store(cloud.client("s3"), os.environ["FNMODEL_BUCKET"])
    ways = {
        "eventbridge": channels.eventbridge(cloud.client("events")),
        "sns": channels.topic(cloud.client("sns"), os.environ["FNMODEL_TOPIC"]),
    }
    if hook := policy.get("webhook"):
        target = Target(hook["url"], inside=hook["inside"])
        ways["webhook"] = channels.webhook(target, lambda: _secret(hook["secret"]))
    ledger = os.environ.get("FNMODEL_LEDGER")
    book = Book(cloud.client("dynamodb"), ledger) if ledger else None
    return Desk(store, Outbox(store, ways), book)


def _secret(place: str) -> bytes:
    """Return the key of the webhook; asked for anew each time, so that it can be changed."""
    kind, _, name = place.partition(":")
    with translated():
        if kind == "ssm":
            answer = cloud.client("ssm").get_parameter(Name=name, WithDecryption=True)
            return key_of(answer["Parameter"]["Value"])
        return key_of(
            cloud.client("secretsmanager").get_secret_value(SecretId=name)["SecretString"]
        )


def _short(made: Record) -> dict[str, Any]:
    return {
        "hour": made.hour,
        "rows": made.rows,
        "judged": bool(made.pooled),
        "alarms": [alarm.text for alarm in made.alarms],
        "change": made.change,
    }


def _metrics(made: Record, *, several: bool) -> dict[str, Any]:
    """Return a line in CloudWatch's embedded metric format."""
    drifted = sum(alarm.kind in DRIFT_KINDS for alarm in made.alarms)
    values = {
        "watched_rows": made.rows,
        "drift_alarms": drifted,
        "quality_alarms": len(made.alarms) - drifted,
        "open_alerts": int(made.incident is not None),
    }
    directive = {
        "Namespace": "fnmodel",
        # A custom metric costs by its dimensions: models are told apart where there are several.
        "Dimensions": [["function_name"], *([["function_name", "model"]] if several else [])],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in values],
    }
    stamp = int(datetime.now(UTC).timestamp() * 1000)
    aws = {"Timestamp": stamp, "CloudWatchMetrics": [directive]}
    # EMF's line begins so; the embedded cloud goes by it.
    return {
        "_aws": aws,
        "function_name": endpoint,
        "model": made.model,
        "hour": made.hour,
        **values,
    }
