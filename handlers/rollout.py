"""The Lambda function that drives a rollout while nobody else does: each minute, and on alarms."""

import os
from typing import Any

from fnmodel.aws import Cloud
from fnmodel.errors import ConflictError, LockHeldError
from fnmodel.release.alias import AliasRouter
from fnmodel.release.clock import RuleClock
from fnmodel.release.copies import S3Copies
from fnmodel.release.ledger import Ledger
from fnmodel.release.meter import CloudWatchMeter
from fnmodel.release.replay import PATIENCE, Replayer, ReplayingMeter
from fnmodel.release.replayable import CapturedRequests
from fnmodel.release.rollouts import Rollouts

ALIAS = "live"

cloud = Cloud()
function = os.environ["FNMODEL_FUNCTION"]
router = AliasRouter(cloud.client("lambda"), function, ALIAS)
if provisioned := int(os.environ.get("FNMODEL_PROVISIONED", "0")):
    # Only where asked for: its waits and its API are no part of other stages.
    from fnmodel.release.provisioned import Provisioned, StartedRouter

    keeper = Provisioned(cloud.client("lambda"), function, provisioned)
    router = StartedRouter(cloud.client("lambda"), function, ALIAS, keeper, print)
s3 = cloud.client("s3")
audit = os.environ.get("FNMODEL_AUDIT")
ledger = Ledger(
    cloud.client("dynamodb"),
    os.environ["FNMODEL_LEDGER"],
    ALIAS,
    copies=S3Copies(s3, audit, f"{ALIAS}/") if audit else None,
)
bucket = os.environ["FNMODEL_BUCKET"]
meter = ReplayingMeter(
    CloudWatchMeter(cloud.client("cloudwatch"), function, ALIAS, s3=s3, bucket=bucket),
    Replayer(
        cloud.client("lambda", wait=PATIENCE, once=True),
        function,
        CapturedRequests(s3, bucket, function, ALIAS),
        box=20.0,  # and the last pair's answers: the function has two minutes
    ),
    yields=True,
)
clock = RuleClock(cloud.client("events"), os.environ["FNMODEL_CLOCK"])


def handler(_event: Any, context: Any) -> dict[str, Any]:
    """Look at the rollout once, whatever the event; return what it is now.

    Raises:
        AwsError: AWS refused a call; the next minute looks again.

    """
    who = f"the controller, request {context.aws_request_id}"
    rollouts = Rollouts(router, ledger, meter, clock, who=who)
    try:
        rollout = rollouts.tick()
    except (LockHeldError, ConflictError) as error:
        # A command drives it at this moment, or somebody deploys.
        return {"rollout": None, "why": error.message}
    if rollout is None:
        return {"rollout": None, "why": "there was never one"}
    return {
        "rollout": rollout.id, "phase": rollout.phase, "step": rollout.step, "why": rollout.why
    }  # fmt: skip
