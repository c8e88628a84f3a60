"""The part of the template that drives rollouts: what it may do, and when it is there at all."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from release_cases import JOBS, PUBLIC

from fnmodel.config import CaptureConfig
from fnmodel.provision.template import render
from fnmodel.release.meter import ALARMS
from fnmodel.shipped import shipped

TEXT = shipped("template.yaml").read_text("utf-8")
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
QUIET = CaptureConfig()
CAPTURING = CaptureConfig(rate=1, kms_key=KEY)


def body(
    *,
    rollout: bool = True,
    capture: CaptureConfig = QUIET,
    serving: bool = True,
    audit: bool = False,
) -> Any:
    text = render(
        TEXT, JOBS, access=PUBLIC, rollout=rollout, capture=capture, serving=serving, audit=audit
    )
    return json.loads(text)


RESOURCES: dict[str, Any] = body()["Resources"]


def rights(capture: CaptureConfig, *, audit: bool = False) -> dict[str, tuple[Any, Any]]:
    """Return actions and resource of each statement of the controller's role."""
    resources = body(capture=capture, audit=audit)["Resources"]
    [policy] = resources["RolloutRole"]["Properties"]["Policies"]
    return {s["Sid"]: (s["Action"], s["Resource"]) for s in policy["PolicyDocument"]["Statement"]}


def test_the_controller_may_move_its_own_alias_and_nothing_else() -> None:
    """It cannot publish, delete or change a function, nor touch another one."""
    asked = rights(QUIET)

    assert asked["MoveAlias"] == (
        ["lambda:GetAlias", "lambda:UpdateAlias"],
        {"Fn::GetAtt": ["Function", "Arn"]},
    )
    assert asked["ReadAndWriteLedger"][1] == {"Fn::GetAtt": ["Ledger", "Arn"]}
    assert asked["StopClock"][0] == "events:DisableRule"
    assert asked["StopClock"][1]["Fn::Sub"].endswith(":rule/fnmodel-${Project}-${Stage}")
    assert {sid for sid, (_, resource) in asked.items() if resource == "*"} == {"ReadMetrics"}
    for actions, _ in asked.values():
        for action in [actions] if isinstance(actions, str) else actions:
            assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action)


def test_it_reads_captured_rows_only_where_there_are_some() -> None:
    """With a key of KMS it may decrypt by that one."""
    with_key, without = rights(CAPTURING), rights(QUIET)

    assert set(with_key) - set(without) == {"ReadCapturedRows", "ListCapturedRows", "UseKey"}
    assert with_key["ReadCapturedRows"] == ("s3:GetObject", {"Fn::Sub": "${Bucket.Arn}/capture/*"})
    assert with_key["UseKey"] == ("kms:Decrypt", {"Ref": "CaptureKmsKey"})
    assert "UseKey" not in rights(CaptureConfig(rate=1))


def test_it_copies_what_it_writes_into_the_ledger() -> None:
    """It may add copies, and see which are there; neither read nor change one."""
    audited = body(audit=True)
    copying, without = rights(QUIET, audit=True), rights(QUIET)
    variables = audited["Resources"]["RolloutFunction"]["Properties"]["Environment"]["Variables"]

    assert variables["FNMODEL_AUDIT"] == {"Ref": "AuditBucket"}
    assert set(copying) - set(without) == {"CopyLedger", "ListCopies"}
    assert copying["CopyLedger"] == ("s3:PutObject", {"Fn::Sub": "${AuditBucket.Arn}/live/*"})
    assert copying["ListCopies"] == ("s3:ListBucket", {"Fn::GetAtt": ["AuditBucket", "Arn"]})
    assert "AuditBucket" not in json.dumps(body())
    assert "Rollout" not in json.dumps(body(rollout=False, audit=True))


def test_the_clock_stands_still_until_a_rollout_begins() -> None:
    """It wakes the controller every minute, and is disabled in the template."""
    clock = RESOURCES["RolloutClock"]["Properties"]

    assert (clock["State"], clock["ScheduleExpression"]) == ("DISABLED", "rate(1 minute)")
    assert [t["Arn"] for t in clock["Targets"]] == [{"Fn::GetAtt": ["RolloutFunction", "Arn"]}]
    given = RESOURCES["RolloutFunction"]["Properties"]["Environment"]["Variables"]
    assert given["FNMODEL_CLOCK"] == clock["Name"]


def test_only_its_own_rules_may_wake_it() -> None:
    """The clock, and the rule of the stage's alarms, against a confused deputy."""
    for rule in ("RolloutClock", "RolloutAlarms"):
        permission = RESOURCES[f"{rule}Permission"]["Properties"]
        assert permission["SourceArn"] == {"Fn::GetAtt": [rule, "Arn"]}
        assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
        assert permission["FunctionName"] == {"Ref": "RolloutFunction"}


def test_alarms_are_those_that_a_rollout_asks_for() -> None:
    """Each wakes the controller when it begins to ring, and silence does not ring."""
    alarms = {k: r["Properties"] for k, r in RESOURCES.items() if "Alarm" in r["Type"]}
    del alarms["OverdueAlarm"]  # of schedules
    names = {a["AlarmName"]["Fn::Sub"].rpartition("-")[2] for a in alarms.values()}
    pattern = RESOURCES["RolloutAlarms"]["Properties"]["EventPattern"]

    assert names == set(ALARMS)
    assert pattern["resources"] == [{"Fn::GetAtt": [name, "Arn"]} for name in alarms]
    assert {alarm["TreatMissingData"] for alarm in alarms.values()} == {"notBreaching"}


def test_looks_that_failed_are_kept_and_what_is_said_is_bounded() -> None:
    """Its queue is encrypted, its log ends."""
    queue, function = (RESOURCES[n]["Properties"] for n in ("RolloutFailures", "RolloutFunction"))

    assert queue["SqsManagedSseEnabled"] is True
    assert function["DeadLetterConfig"]["TargetArn"] == {"Fn::GetAtt": ["RolloutFailures", "Arn"]}
    assert function["Timeout"] < 60
    assert RESOURCES["RolloutLogs"]["Properties"]["RetentionInDays"] == 90


def test_a_stage_that_is_moved_by_hand_has_nothing_of_it() -> None:
    """Neither a resource nor an output nor a reference to one."""
    by_hand = body(rollout=False)

    assert "Rollout" not in json.dumps(by_hand)
    assert not {"CrashAlarm", "ErrorAlarm"} & by_hand["Resources"].keys()
    assert set(body()["Outputs"]) - set(by_hand["Outputs"]) == {"RolloutClock"}


@pytest.mark.parametrize("capture", [QUIET, CAPTURING], ids=["quiet", "capturing"])
def test_cfn_lint_finds_nothing(tmp_path: Path, capture: CaptureConfig) -> None:
    """Open and closed; with captured rows and copies of the ledger, and without."""
    paths = []
    for serving in (True, False):
        path = tmp_path / f"{serving}.json"
        found = body(capture=capture, serving=serving, audit=capture is CAPTURING)
        path.write_text(json.dumps(found), "utf-8")
        paths.append(str(path))
    linter = Path(sys.executable).with_name("cfn-lint")

    result = subprocess.run([linter, *paths], capture_output=True, text=True)

    assert (result.returncode, result.stdout.strip()) == (0, "")
