"""Keys, roles, tags, logs, names around a function, and what must hold of any stack whatever."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from release_cases import JOBS, PROJECT, PUBLIC, image_uri

from fnmodel.config import (
    Access,
    AlarmsConfig,
    CaptureConfig,
    CorsConfig,
    DomainConfig,
    FanoutConfig,
    FunctionConfig,
    JobsConfig,
    StackConfig,
    WatchConfig,
)
from fnmodel.provision.around import Around
from fnmodel.provision.bodies import IN_REQUEST
from fnmodel.provision.template import Template, parameters, render, tags
from fnmodel.provision.watching import Watching
from fnmodel.shipped import shipped

TEXT = shipped("template.yaml").read_text("utf-8")
KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OWN = {"Fn::GetAtt": ["Key", "Arn"]}
BOUNDARY = "arn:aws:iam::123456789012:policy/teams/bounds"
CERTIFICATE = (
    "arn:aws:acm:eu-central-1:123456789012:certificate/1234abcd-12ab-34cd-56ef-1234567890ab"
)
KEYED = Access.model_validate({"api_key": {}, "health": "public", "docs": "public"})
JWT = Access.model_validate({"jwt": {"issuer": "https://id.example/", "audience": ["api"]}})
WATCHED = Watching.of(
    WatchConfig.model_validate(
        {
            "email": ["ops@example.com"],
            "webhook": {"url": "https://hooks.example/x", "secret": "ssm:/churn/hook"},
            "retrain": {"source": "s3://code/churn.zip"},
        }
    ),
    CaptureConfig(rate=1, subject="who"),
    None,
    "1.2.3",
)
NAMED = DomainConfig(name="churn.example.com", certificate=CERTIFICATE)


def domain(**more: Any) -> DomainConfig:
    return DomainConfig.model_validate({**NAMED.model_dump(), **more})


def body(*, stack: dict[str, Any] | None = None, **more: Any) -> Template:
    """Render the largest stage there is, but for what is given."""
    around = more.pop("surroundings", None) or Around(
        alarms=AlarmsConfig(email=("ops@example.com",)),
        stack=StackConfig.model_validate(stack or {}),
        domain=more.pop("domain", domain(hosted_zone="Z1", truststore="s3://trust-bucket/ca.pem")),
        account_concurrency=1000,
        provisioned=more.pop("provisioned", 0),
    )
    more = {
        "access": KEYED, "cors": CorsConfig(origins=("https://app.example",)), "rollout": True,
        "audit": True, "capture": CaptureConfig(rate=1, kms_key=KEY),
        "function": FunctionConfig(tracing="xray"), "surroundings": around, "replay": True,
        "watch": WATCHED, "fanout": FanoutConfig(), "requests": JobsConfig(), **more,
    }  # fmt: skip
    if not more["capture"].rate:
        more["watch"] = None
    template: Template = json.loads(render(TEXT, JOBS, **more))
    return template


LARGEST = body(stack={"kms_key": "own"})


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    resources = template["Resources"].items()
    found = {name: r["Properties"] for name, r in resources if r["Type"] == f"AWS::{kind}"}
    assert found, f"the template has no {kind}"
    return found


def statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in of_type(template, "IAM::Role").items():
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


# ------------------------------------------------------------------ in every stack


def test_every_function_has_a_role_of_its_own() -> None:
    """What one may do, no other may because of it; each writes into a log group of its own."""
    functions = of_type(LARGEST, "Lambda::Function").values()
    roles = [function["Role"]["Fn::GetAtt"][0] for function in functions]
    logs = [function["LoggingConfig"]["LogGroup"]["Ref"] for function in functions]

    assert len(roles) == len(set(roles)) == len(set(logs)) == 4


# Each with the reason for which its actions know no resource to name.
WITHOUT_RESOURCE = {
    ("FunctionRole", "WriteTraces"): "X-Ray has no resources for segments",
    ("RolloutRole", "ReadMetrics"): "CloudWatch has no resources for reading metrics",
}


def test_no_right_goes_further_than_the_stack() -> None:
    """Actions are written out; a resource is one of the stack but for two, each with a reason."""
    wide = set()
    for role, statement in statements(LARGEST):
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action), (role, action)
        if statement["Resource"] == "*":
            wide.add((role, statement["Sid"]))

    assert wide == set(WITHOUT_RESOURCE)


def test_whoever_is_not_in_the_stack_is_asked_for_account_or_source() -> None:
    """A service that acts on what it is told must say for which account (confused deputy)."""
    asked = "SourceAccount", "SourceArn", "ExternalId"
    for name, role in of_type(LARGEST, "IAM::Role").items():
        for statement in role["AssumeRolePolicyDocument"]["Statement"]:
            if statement["Principal"] != {"Service": "lambda.amazonaws.com"}:
                assert any(word in json.dumps(statement["Condition"]) for word in asked), name
    for permission in of_type(LARGEST, "Lambda::Permission").values():
        assert {"SourceAccount", "SourceArn"} <= set(permission)


@pytest.mark.parametrize(
    ("kind", "of", "action"),
    [
        ("S3::BucketPolicy", "S3::Bucket", "s3:*"),
        ("SQS::QueuePolicy", "SQS::Queue", "sqs:*"),
        ("SNS::TopicPolicy", "SNS::Topic", "sns:Publish"),
    ],
)
def test_everything_that_is_spoken_to_refuses_plain_http(kind: str, of: str, action: str) -> None:
    """Each bucket, queue and topic has a policy that says so."""
    refusing = [
        statement
        for policy in of_type(LARGEST, kind).values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
    ]

    assert len(refusing) == len(of_type(LARGEST, of))
    for statement in refusing:
        assert (statement["Principal"], statement["Action"]) == ("*", action)
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_bucket_is_private_versioned_and_encrypted() -> None:
    """The one of audit copies, too."""
    for bucket in of_type(LARGEST, "S3::Bucket").values():
        assert bucket["PublicAccessBlockConfiguration"] == dict.fromkeys(
            ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"),
            True,
        )
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        assert bucket["BucketEncryption"]


def test_whatever_is_invoked_as_an_event_keeps_what_failed() -> None:
    """Schedules, the live alias's events and the controller have a queue; each has an alarm."""
    schedules = of_type(LARGEST, "Scheduler::Schedule").values()
    [events] = of_type(LARGEST, "Lambda::EventInvokeConfig").values()
    kept = {"Fn::GetAtt": ["Failures", "Arn"]}
    controller = LARGEST["Resources"]["RolloutFunction"]["Properties"]
    watched = {
        dimension["Value"]["Fn::GetAtt"][0]
        for alarm in of_type(LARGEST, "CloudWatch::Alarm").values()
        for dimension in alarm.get("Dimensions", ())
        if dimension["Name"] == "QueueName"
    }

    assert [one["Target"]["DeadLetterConfig"] for one in schedules] == [{"Arn": kept}] * 2
    assert events["Qualifier"] == "live"
    assert events["DestinationConfig"] == {"OnFailure": {"Destination": kept}}
    assert controller["DeadLetterConfig"] == {
        "TargetArn": {"Fn::GetAtt": ["RolloutFailures", "Arn"]}
    }
    assert watched == set(of_type(LARGEST, "SQS::Queue"))
    may_send = {role for role, s in statements(LARGEST) if s["Action"] == "sqs:SendMessage"}
    assert may_send == {
        "FunctionRole", "ScheduleRole", "RolloutRole", "BatchMachineRole", "WatchRole",
    }  # fmt: skip


def test_no_secret_stands_in_the_template() -> None:
    """The one secret of a stage is a parameter that CloudFormation never shows."""
    variables = {
        name: value
        for function in of_type(LARGEST, "Lambda::Function").values()
        for name, value in function["Environment"]["Variables"].items()
    }

    assert variables["FNMODEL_CAPTURE_KEY"] == {"Ref": "CaptureKey"}
    assert LARGEST["Parameters"]["CaptureKey"]["NoEcho"] is True
    assert "Default" not in LARGEST["Parameters"]["CaptureKey"]
    # Everything else is public words, names a secret without telling it, or is a reference.
    plain = {key: value for key, value in variables.items() if isinstance(value, str)}
    assert json.loads(plain.pop("FNMODEL_WATCH"))["webhook"]["secret"] == "ssm:/churn/hook"
    assert json.loads(plain.pop("FNMODEL_JOBS")).keys() == {"bytes", "days", "formats", "timeout"}
    assert set(plain.values()) == {"fnmodel", "default"}


def test_what_is_deleted_with_the_stage_and_what_stays_is_written_down() -> None:
    """Each resource that holds data says both; only locked copies, and their key, stay."""
    holds = "S3::Bucket", "DynamoDB::Table", "Logs::LogGroup", "SQS::Queue", "KMS::Key"
    kept = set()
    for name, resource in LARGEST["Resources"].items():
        if resource["Type"].removeprefix("AWS::") in holds:
            assert {"DeletionPolicy", "UpdateReplacePolicy"} <= set(resource), name
        if resource.get("DeletionPolicy") == "Retain":
            kept.add(name)

    assert kept == {"BootstrapVersion", "AuditBucket", "AuditBucketPolicy", "Key"}
    assert body(stack={"kms_key": "own"}, audit=False)["Resources"]["Key"]["DeletionPolicy"] == (
        "Delete"
    )


def test_a_new_stage_fits_into_a_request() -> None:
    """It has no bucket yet from which CloudFormation could read more than 51,200 bytes."""
    assert size(LARGEST) > IN_REQUEST
    assert size(body(stack={"kms_key": "own"}, serving=False)) < 0.9 * IN_REQUEST


def size(template: Template) -> int:
    return len(json.dumps(template, ensure_ascii=False, separators=(",", ":")).encode())


def test_the_controller_keeps_started_what_the_stage_asks_for() -> None:
    """It has the number and the right where there is one; the commands read it from the stack."""
    started, without = body(surroundings=Around(provisioned=2)), LARGEST
    variables = started["Resources"]["RolloutFunction"]["Properties"]["Environment"]["Variables"]
    rights = {s["Sid"]: s for role, s in statements(started) if role == "RolloutRole"}

    assert started["Outputs"]["Provisioned"]["Value"] == variables["FNMODEL_PROVISIONED"] == "2"
    assert rights["KeepStarted"]["Resource"] == {"Fn::Sub": "${Function.Arn}:*"}
    assert rights["ListStarted"]["Resource"] == {"Fn::GetAtt": ["Function", "Arn"]}
    assert "Provisioned" not in json.dumps(without)
    # Never the alias's: https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
    assert "ProvisionedConcurrencyConfig" not in json.dumps(started["Resources"]["LiveAlias"])


# ------------------------------------------------------------------ one key


def test_one_key_encrypts_all_that_a_stage_keeps() -> None:
    """Given or made by the stack: logs, objects, tables, queues, notices, environments."""
    for given, key in ((KEY, KEY), ("own", OWN)):
        template = body(stack={"kms_key": given})
        for kind, name in (
            ("Logs::LogGroup", "KmsKeyId"), ("SNS::Topic", "KmsMasterKeyId"),
            ("SQS::Queue", "KmsMasterKeyId"), ("Lambda::Function", "KmsKeyArn"),
        ):  # fmt: skip
            assert {json.dumps(one[name]) for one in of_type(template, kind).values()} == {
                json.dumps(key)
            }
        for bucket in of_type(template, "S3::Bucket").values():
            [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == key
            assert rule["BucketKeyEnabled"] is True
        for table in of_type(template, "DynamoDB::Table").values():
            assert table["SSESpecification"]["KMSMasterKeyId"] == key
        assert ("Key" in template["Resources"]) is (given == "own")


def test_roles_may_use_the_key_and_nothing_else_of_kms() -> None:
    """Those that read or write what is encrypted; without a key no role has the right."""
    using = {role: s for role, s in statements(LARGEST) if s["Sid"] == "UseStackKey"}

    assert set(using) == {
        "FunctionRole", "AuthorizerRole", "RolloutRole", "ScheduleRole", "CaptureStreamRole",
        "BatchMachineRole", "WatchRole", "RetrainRole",
    }  # fmt: skip
    for statement in using.values():
        assert statement["Resource"] == OWN
        assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
    plain = body(capture=CaptureConfig())
    assert "kms" not in json.dumps(plain).lower().replace("kmsmaster", "")


def test_the_stack_s_own_key_is_for_its_account_its_logs_and_its_alarms() -> None:
    """It turns every year; services that act in nobody's name are bound to this stage."""
    key = LARGEST["Resources"]["Key"]["Properties"]
    account, logs, telling = key["KeyPolicy"]["Statement"]

    assert key["EnableKeyRotation"] is True
    assert account["Principal"]["AWS"]["Fn::Sub"].endswith(":root")
    assert list(logs["Condition"]["ArnLike"]) == ["kms:EncryptionContext:aws:logs:arn"]
    assert telling["Condition"] == {
        "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    }
    pattern = logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]["Fn::Sub"]
    for group in of_type(LARGEST, "Logs::LogGroup").values():
        at = f":log-group:{group['LogGroupName']['Fn::Sub']}"
        assert re.search(re.escape(pattern[pattern.index(":log-group") :]).replace(r"\*", ".*"), at)


# ------------------------------------------------------------------ roles, tags, logs


def test_every_role_is_bounded_where_the_project_says_so() -> None:
    """Path and boundary are of all roles, or of none."""
    bounded = body(stack={"permissions_boundary": BOUNDARY, "role_path": "/teams/risk/"})

    for role in of_type(bounded, "IAM::Role").values():
        assert (role["PermissionsBoundary"], role["Path"]) == (BOUNDARY, "/teams/risk/")
    for role in of_type(LARGEST, "IAM::Role").values():
        assert not {"PermissionsBoundary", "Path"} & set(role)


def test_tags_of_the_project_are_the_stack_s() -> None:
    """CloudFormation gives them to all that takes tags; fnmodel's own cannot be replaced."""
    assert tags("churn", "dev", {"team": "risk"}) == {
        "team": "risk", "fnmodel:project": "churn", "fnmodel:stage": "dev",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kept", "rows", "function", "others"),
    [(90, None, 90, 90), (7, 45, 7, 7), (365, 45, 30, 365), (365, 400, 365, 365)],
)
def test_logs_end_with_their_retention(
    kept: int, rows: int | None, function: int, others: int
) -> None:
    """The function's, which holds captured rows, no later than these."""
    capture = CaptureConfig() if rows is None else CaptureConfig(rate=1, retention=rows)
    groups = of_type(body(stack={"log_retention": kept}, capture=capture), "Logs::LogGroup")

    assert groups.pop("FunctionLogs")["RetentionInDays"] == function
    assert {group["RetentionInDays"] for group in groups.values()} == {others}


# ------------------------------------------------------------------ a name of your own


def test_a_domain_closes_the_default_endpoint() -> None:
    """One way in: the name, by TLS 1.2 at least; and the stage's URL is it."""
    resources = LARGEST["Resources"]
    named = resources["Domain"]["Properties"]

    assert named["DomainNameConfigurations"] == [
        {"CertificateArn": CERTIFICATE, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2"}
    ]
    assert named["MutualTlsAuthentication"] == {"TruststoreUri": "s3://trust-bucket/ca.pem"}
    assert resources["Api"]["Properties"]["DisableExecuteApiEndpoint"] is True
    assert resources["DomainRecord"]["Properties"]["HostedZoneId"] == "Z1"
    assert LARGEST["Outputs"]["Url"]["Value"] == "https://churn.example.com"


def test_a_domain_needs_neither_a_zone_nor_a_truststore() -> None:
    """Without a zone the stack says what the record has to name."""
    template = body(domain=domain(default_endpoint=True))

    assert "DomainRecord" not in template["Resources"]
    assert "DomainTarget" in template["Outputs"]
    assert "MutualTlsAuthentication" not in template["Resources"]["Domain"]["Properties"]
    assert "DisableExecuteApiEndpoint" not in template["Resources"]["Api"]["Properties"]


def test_a_domain_is_a_door() -> None:
    """Neither a stage without one nor one that is not open yet has a name."""
    for template in (body(domain=None), body(serving=False)):
        assert not {"Domain", "DomainMapping", "DomainRecord"} & set(template["Resources"])
        assert "DomainTarget" not in template["Outputs"]


def test_mutual_tls_has_no_way_around_it() -> None:
    """API Gateway's own name asks for no certificate."""
    with pytest.raises(ValidationError, match="go around the truststore"):
        domain(truststore="s3://trust-bucket/ca.pem", default_endpoint=True)


# ------------------------------------------------------------------ the embedded cloud


def test_the_embedded_cloud_gets_what_it_can_and_the_rest_is_told() -> None:
    """It checks no certificates, encrypts nothing and sends no mail."""
    around = Around(
        alarms=AlarmsConfig(email=("a@example.com",)), domain=NAMED, local=True,
        stack=StackConfig(kms_key="own", tags={"team": "risk"}),
    )  # fmt: skip
    template = body(surroundings=around, watch=None)
    kinds = {resource["Type"] for resource in template["Resources"].values()}

    assert around.left_out == ("domain", "stack.kms_key", "alarms.email")
    assert not {"AWS::KMS::Key", "AWS::ApiGatewayV2::DomainName", "AWS::SNS::Subscription"} & kinds
    assert "DisableExecuteApiEndpoint" not in template["Resources"]["Api"]["Properties"]
    assert Around(local=True).left_out == ()


# ------------------------------------------------------------------ all of it together


def combinations() -> Iterator[dict[str, Any]]:
    """Yield stages in which any two choices meet each other at least once."""
    choices: dict[str, list[Any]] = {
        "access": [KEYED, JWT, PUBLIC],
        "domain": [None, domain(), domain(hosted_zone="Z1", truststore="s3://trust-bucket/ca.pem")],
        "stack": [{}, {"kms_key": "own"}, {"kms_key": KEY, "permissions_boundary": BOUNDARY}],
        "rollout": [True, False],
        "audit": [True, False],
        "capture": [CaptureConfig(), CaptureConfig(rate=1), CaptureConfig(rate=1, kms_key=KEY)],
        "serving": [True, False],
        "provisioned": [0, 2],
        "watch": [None, WATCHED],
        "fanout": [None, FanoutConfig()],
        "requests": [None, JobsConfig()],
        "replay": [True, False],
        "function": [
            FunctionConfig(),
            FunctionConfig(reserved_concurrency=5, tracing="xray"),
        ],
    }
    names = list(choices)
    open_pairs = {
        (one, a, other, b)
        for one, other in itertools.combinations(names, 2)
        for a in range(len(choices[one]))
        for b in range(len(choices[other]))
    }
    rows = list(itertools.product(*(range(len(choices[name])) for name in names)))

    def pairs(row: tuple[int, ...]) -> set[tuple[str, int, str, int]]:
        named = list(zip(names, row, strict=True))
        return {(*one, *other) for one, other in itertools.combinations(named, 2)}

    while open_pairs:
        best = max(rows, key=lambda row: len(pairs(row) & open_pairs))
        open_pairs -= pairs(best)
        yield {name: choices[name][at] for name, at in zip(names, best, strict=True)}


@pytest.mark.timeout(900)
def test_cfn_lint_finds_nothing_in_any_pair_of_choices(tmp_path: Path) -> None:
    """Whatever a stage asks for, the body breaks no rule of AWS's."""
    paths = []
    for number, choice in enumerate(combinations()):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(body(**choice)), "utf-8")
        paths.append(str(path))
    linter = Path(sys.executable).with_name("cfn-lint")

    result = subprocess.run([linter, *paths], capture_output=True, text=True)

    assert len(paths) > 9
    assert (result.returncode, result.stdout.strip()) == (0, "")


def test_parameters_of_the_largest_stage_are_the_template_s() -> None:
    """Each gets a value but those that have one, and no other is sent."""
    project = PROJECT.model_copy(update={"capture": CaptureConfig(rate=1, kms_key=KEY)})
    given = parameters(
        project, "dev", image_uri("a"), authorizer_uri=image_uri("b"),
        controller_uri=image_uri("c"), capture_key="ab" * 32,
    )  # fmt: skip
    needed = {name for name, one in LARGEST["Parameters"].items() if "Default" not in one}

    assert needed <= set(given) <= set(LARGEST["Parameters"])
    assert given["ControllerImageUri"] == image_uri("c")


def test_a_finding_of_checkov_s_that_nobody_reviewed_is_told() -> None:
    """And one that is gone, so that the list stays true; each entry has its reason."""
    from checkov import differences, reviewed

    known = reviewed()
    more = {**known, ("CKV_AWS_1", "plain"): {"Bucket"}}

    assert differences(known, known) == []
    assert differences(more, known) == ["CKV_AWS_1, plain: Bucket is new"]
    assert differences(known, more) == ["CKV_AWS_1, plain: Bucket is found no longer"]
