"""The shipped template: what must hold in every deployment, and how jobs expand it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release_cases import JOBS, PROJECT, PUBLIC, image_uri

from fnmodel.config import (
    Access,
    AuditConfig,
    BatchJob,
    CaptureConfig,
    CorsConfig,
    FunctionConfig,
    Project,
)
from fnmodel.errors import ProvisionError, UsageError
from fnmodel.provision.template import (
    parameters,
    read,
    render,
    stack_name,
    tags,
)
from fnmodel.shipped import shipped

TEXT = shipped("template.yaml").read_text("utf-8")
JWT = {"issuer": "https://id.example/", "audience": ["api"], "scopes": ["score"]}
MODES: dict[str, Access] = {
    "iam": Access(iam=True),
    "jwt": Access.model_validate({"jwt": JWT}),
    "api_key": Access.model_validate({"api_key": {}}),
    "public": PUBLIC,
}
CORS = CorsConfig(origins=("https://app.example",))


def body(access: Access, cors: CorsConfig | None = None, *, serving: bool = True) -> Any:
    return json.loads(render(TEXT, JOBS, access=access, cors=cors, serving=serving))


# What must hold in every deployment is looked at where the template is largest.
TEMPLATE = body(MODES["api_key"], CORS)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
ALIAS = {"Ref": "LiveAlias"}


CAPTURE = CaptureConfig(rate=0.1, subject="id", retention=45)
CAPTURING = json.loads(render(TEXT, JOBS, access=MODES["api_key"], cors=CORS, capture=CAPTURE))


def of_type(name: str) -> dict[str, Any]:
    found = {key: r["Properties"] for key, r in RESOURCES.items() if r["Type"] == name}
    assert found, f"the template has no {name}"
    return found


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for key, role in CAPTURING["Resources"].items():
        for policy in role["Properties"].get("Policies", ()):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield key, statement


def test_every_right_names_its_actions_and_its_own_resources() -> None:
    """No role of the stack may do `*`, or anything to a resource of somebody else."""
    own = re.compile(
        r"\$\{Bucket\.Arn\}/(capture/)?\*|arn:\S+:event-bus/default|"
        r"arn:\S+:fnmodel-\$\{Project\}-\$\{Stage\}(:live|:\*|/\*)?"
    )
    for key, statement in statements():
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action), (key, action)
        resource = statement["Resource"]
        assert isinstance(resource, dict), (key, resource)
        assert "Fn::GetAtt" in resource or resource == ALIAS or own.fullmatch(resource["Fn::Sub"])


def test_the_api_and_the_schedules_go_to_the_alias_only() -> None:
    """Nothing invokes `$LATEST` or a fixed version."""
    [integration] = of_type("AWS::ApiGatewayV2::Integration").values()
    permission = RESOURCES["ApiPermission"]["Properties"]

    assert integration["IntegrationUri"] == ALIAS
    assert permission["FunctionName"] == ALIAS
    for schedule in of_type("AWS::Scheduler::Schedule").values():
        assert schedule["Target"]["Arn"] == ALIAS
    invoking = [s for _, s in statements() if "lambda:InvokeFunction" in s["Action"]]
    assert [statement["Resource"] for statement in invoking] == [ALIAS]


def test_only_the_api_of_this_stack_may_invoke_its_functions() -> None:
    """The permissions are bound to the API and the account, against a confused deputy."""
    permissions = of_type("AWS::Lambda::Permission")

    assert {"ApiPermission", "AuthorizerPermission"} == set(permissions)
    for permission in permissions.values():
        assert ":${Api}/" in permission["SourceArn"]["Fn::Sub"]
        assert permission["SourceAccount"] == {"Ref": "AWS::AccountId"}
    asked = permissions["AuthorizerPermission"]["SourceArn"]["Fn::Sub"]
    assert asked.endswith(":${Api}/authorizers/${KeyAuthorizer}")


def test_only_the_stack_s_own_schedules_may_use_the_schedule_role() -> None:
    """The trust names account and schedule group."""
    [statement] = RESOURCES["ScheduleRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Condition"]["StringEquals"] == {
        "aws:SourceAccount": {"Ref": "AWS::AccountId"},
        "aws:SourceArn": {"Fn::GetAtt": ["ScheduleGroup", "Arn"]},
    }


def test_requests_end_within_the_limit_of_http_apis() -> None:
    """The integration waits at most 30 seconds and speaks payload format 2.0."""
    [integration] = of_type("AWS::ApiGatewayV2::Integration").values()

    assert integration["TimeoutInMillis"] <= 30_000
    assert integration["PayloadFormatVersion"] == "2.0"


@pytest.mark.parametrize(
    ("reference", "accepted"),
    [
        (image_uri("a"), True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/fnmodel/x@sha256:" + "0" * 64, True),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/fnmodel/churn:latest", False),
        ("000000000000.dkr.ecr.us-east-1.amazonaws.com/fnmodel/churn@sha256:abc", False),
        ("evil.example/fnmodel/churn@sha256:" + "0" * 64, False),
        (image_uri("a") + "\n", False),
    ],
)
def test_an_image_is_taken_by_digest_only(reference: str, accepted: bool) -> None:
    """A tag, a short digest or another registry's host is refused before anything is made."""
    pattern = TEMPLATE["Parameters"]["ImageUri"]["AllowedPattern"]

    assert accepted is bool(re.fullmatch(pattern, reference))
    assert "@sha256:" in pattern


def test_what_is_kept_is_encrypted_private_and_bounded() -> None:
    """Buckets and tables are encrypted and closed; logs and old object versions do not pile up."""
    [bucket] = of_type("AWS::S3::Bucket").values()

    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["LifecycleConfiguration"]["Rules"]
    for table in of_type("AWS::DynamoDB::Table").values():
        assert table["SSESpecification"]["SSEEnabled"] is True
        assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert all(group["RetentionInDays"] for group in of_type("AWS::Logs::LogGroup").values())
    [stage] = of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    for schedule in of_type("AWS::Scheduler::Schedule").values():
        assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] <= 5


def test_the_access_log_is_one_json_object_a_request() -> None:
    """The folded format of the access log is still JSON."""
    [stage] = of_type("AWS::ApiGatewayV2::Stage").values()

    assert json.loads(stage["AccessLogSettings"]["Format"])["requestId"] == "$context.requestId"


def test_the_access_log_holds_no_secret() -> None:
    """Nothing that a caller sends is logged but method and path; of a key only its id."""
    [stage] = of_type("AWS::ApiGatewayV2::Stage").values()
    logged = set(json.loads(stage["AccessLogSettings"]["Format"]).values())

    assert logged == {
        f"$context.{name}"
        for name in (
            "requestId", "requestTime", "identity.sourceIp", "authorizer.key", "httpMethod",
            "path", "status", "responseLength", "responseLatency", "integrationLatency",
            "integrationErrorMessage",
        )
    }  # fmt: skip


def guards(template: Any) -> dict[str, tuple[str, Any]]:
    """Return how each route of a template lets callers in, by its key."""
    routes = [
        r["Properties"]
        for r in template["Resources"].values()
        if r["Type"] == "AWS::ApiGatewayV2::Route"
    ]
    return {r["RouteKey"]: (r["AuthorizationType"], r.get("AuthorizerId")) for r in routes}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("health", ["protected", "public"])
@pytest.mark.parametrize("docs", ["protected", "public"])
@pytest.mark.parametrize("cors", [None, CORS], ids=["plain", "cors"])
def test_only_a_public_stage_answers_everybody(
    mode: str, health: str, docs: str, cors: CorsConfig | None
) -> None:
    """Every route asks who calls, but for health and docs where the project says so, and CORS."""
    access = MODES[mode].model_copy(update={"health": health, "docs": docs})
    found = guards(body(access, cors))
    expected = {
        "iam": ("AWS_IAM", None),
        "jwt": ("JWT", {"Ref": "TokenAuthorizer"}),
        "api_key": ("CUSTOM", {"Ref": "KeyAuthorizer"}),
        "public": ("NONE", None),
    }

    assert found.pop("$default") == expected[mode]
    open_routes = set()
    if health == "public" and mode != "public":
        open_routes |= {"GET /v2/health/live", "GET /v2/health/ready"}
    if docs == "public" and mode != "public":
        open_routes |= {"GET /docs", "GET /openapi.json"}
    if cors is not None:
        open_routes.add("OPTIONS /{proxy+}")
    assert found == dict.fromkeys(open_routes, ("NONE", None))


@pytest.mark.parametrize("mode", MODES)
def test_a_stage_has_the_authorizer_it_asks_for_and_no_other(mode: str) -> None:
    """What belongs to another kind of access is left out, parameters and outputs too."""
    template = body(MODES[mode])
    authorizers = {
        key for key, r in template["Resources"].items()
        if r["Type"] == "AWS::ApiGatewayV2::Authorizer"
    }  # fmt: skip
    keyed = mode == "api_key"

    assert authorizers == {"jwt": {"TokenAuthorizer"}, "api_key": {"KeyAuthorizer"}}.get(
        mode, set()
    )
    assert ("Keys" in template["Resources"]) is keyed
    assert ("KeysTable" in template["Outputs"]) is keyed
    assert ("AuthorizerImageUri" in template["Parameters"]) is keyed
    assert ("AuthorizerFunction" in template["Resources"]) is keyed
    assert template["Outputs"]["Access"]["Value"] == mode


def test_the_template_as_it_stands_lets_nobody_in_without_iam() -> None:
    """Who deploys the file by hand gets no public API."""
    assert read(TEXT)["Resources"]["ApiRoute"]["Properties"]["AuthorizationType"] == "AWS_IAM"


def test_tokens_are_those_of_the_project_s_issuer() -> None:
    """Issuer, audience and scopes are the file's, byte by byte."""
    template = body(MODES["jwt"])
    authorizer = template["Resources"]["TokenAuthorizer"]["Properties"]

    assert authorizer["JwtConfiguration"] == {"Issuer": JWT["issuer"], "Audience": JWT["audience"]}
    assert template["Resources"]["ApiRoute"]["Properties"]["AuthorizationScopes"] == ["score"]


def test_an_unproven_stage_has_no_way_in_whatever_its_access() -> None:
    """Before the first gate: no route, no authorizer, no schedule; keys can be made already."""
    for access in MODES.values():
        template = body(access, CORS, serving=False)
        kinds = {r["Type"] for r in template["Resources"].values()}

        assert not kinds & {
            "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Stage", "AWS::ApiGatewayV2::Authorizer",
            "AWS::Lambda::Permission", "AWS::Scheduler::Schedule",
        }  # fmt: skip
        assert not {"Url", "Access"} & set(template["Outputs"])
        assert "AuthorizerImageUri" not in template["Parameters"]


def test_the_authorizer_may_read_keys_and_note_their_use() -> None:
    """It can neither make a key, nor change what one may do, nor reach the ledger."""
    policy = RESOURCES["AuthorizerRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    logs, reading, noting = policy["Statement"]
    keys = {"Fn::GetAtt": ["Keys", "Arn"]}

    assert logs["Resource"] == {"Fn::GetAtt": ["AuthorizerLogs", "Arn"]}
    assert (reading["Action"], reading["Resource"]) == ("dynamodb:GetItem", keys)
    assert (noting["Action"], noting["Resource"]) == ("dynamodb:UpdateItem", keys)
    assert noting["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "used"]},
        "StringEqualsIfExists": {"dynamodb:ReturnValues": "NONE"},
    }


def test_the_model_s_own_role_knows_nothing_of_keys() -> None:
    """The user's code runs with it."""
    assert "Keys" not in json.dumps(RESOURCES["FunctionRole"])


def test_a_revoked_key_is_forgotten_within_a_minute() -> None:
    """API Gateway keeps an answer by the header alone, and for a minute at most."""
    authorizer = RESOURCES["KeyAuthorizer"]["Properties"]

    assert authorizer["AuthorizerResultTtlInSeconds"] <= 60
    assert authorizer["IdentitySource"] == ["$request.header.x-api-key"]
    assert authorizer["EnableSimpleResponses"] is True
    assert authorizer["AuthorizerPayloadFormatVersion"] == "2.0"


def test_cors_is_a_list_without_credentials() -> None:
    """No wildcard, and no cookies whatever the origin."""
    cors = RESOURCES["Api"]["Properties"]["CorsConfiguration"]

    assert cors["AllowOrigins"] == ["https://app.example"]
    assert cors["AllowCredentials"] is False
    assert "*" not in json.dumps(cors)
    assert "CorsConfiguration" not in body(PUBLIC)["Resources"]["Api"]["Properties"]


def test_traffic_is_not_the_stack_s_business() -> None:
    """The alias is made once, on the bootstrap version, without weights; versions are retained."""
    alias = RESOURCES["LiveAlias"]["Properties"]

    assert {"FunctionName", "FunctionVersion", "Name"} == set(alias)
    assert alias["FunctionVersion"] == {"Fn::GetAtt": ["BootstrapVersion", "Version"]}
    version = RESOURCES["BootstrapVersion"]
    assert version["Properties"] == {"FunctionName": {"Ref": "Function"}}
    assert "Retain" == version["DeletionPolicy"] == version["UpdateReplacePolicy"]


def test_a_destroyed_stack_leaves_nothing() -> None:
    """Only the bootstrap version is retained, which goes with its function."""
    kept = {key for key, r in RESOURCES.items() if r.get("DeletionPolicy") == "Retain"}

    assert {"BootstrapVersion"} == kept


def test_copies_of_the_ledger_are_locked_and_stay() -> None:
    """Only a stage that asks for it has the bucket; objects are locked by default, by its rule."""
    audited = json.loads(render(TEXT, JOBS, access=PUBLIC, audit=True))
    bucket = audited["Resources"]["AuditBucket"]
    properties = bucket["Properties"]

    assert not {"AuditBucket", "AuditBucketPolicy"} & set(RESOURCES)
    assert "Retain" == bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"]
    assert properties["ObjectLockEnabled"] is True
    assert properties["ObjectLockConfiguration"]["Rule"]["DefaultRetention"] == {
        "Mode": {"Ref": "AuditMode"}, "Days": {"Ref": "AuditRetention"},
    }  # fmt: skip
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert "AuditBucket" in audited["Outputs"]
    given = parameters(
        PROJECT.model_copy(update={"audit": AuditConfig(retention=90, mode="compliance")}),
        "dev",
        image_uri("a"),
    )
    assert set(audited["Parameters"]) - set(given) == set()
    assert (given["AuditRetention"], given["AuditMode"]) == ("90", "COMPLIANCE")


def test_outputs_are_what_the_commands_read() -> None:
    """Renaming an output would break deployed stages."""
    assert {
        "Url", "Access", "KeysTable", "ApiId", "FunctionName", "AliasArn", "Bucket", "LedgerTable",
        "ScheduleGroup", "LogGroup", "AlarmTopic", "FailuresQueue", "Dashboard",
    } == set(TEMPLATE["Outputs"])  # fmt: skip


def test_each_job_with_a_schedule_becomes_one_schedule() -> None:
    """A job without a schedule runs by hand and needs no resource."""
    schedules = of_type("AWS::Scheduler::Schedule")

    [name] = schedules.keys() - {"OverdueLook"}
    schedule = schedules[name]
    assert schedule["Name"] == "daily"
    assert schedule["ScheduleExpression"] == "cron(0 6 * * ? *)"
    assert schedule["ScheduleExpressionTimezone"] == "Europe/Berlin"


def test_a_project_without_jobs_has_no_schedule() -> None:
    """The pattern itself is never deployed."""
    resources = json.loads(render(TEXT, (), access=PUBLIC))["Resources"]

    assert not [r for r in resources.values() if r["Type"] == "AWS::Scheduler::Schedule"]


def test_a_job_s_event_survives_hostile_prefixes() -> None:
    """Quotes and `${…}` in a prefix stay text, and the bucket is filled in by CloudFormation."""
    job = BatchJob(
        name="odd", input='a"${Bucket}\\/', output="ü ${AWS::AccountId}/", schedule="rate(1 hour)"
    )
    resources = json.loads(render(TEXT, [job], access=PUBLIC))["Resources"]
    schedule = resources["Scheduleodd"]
    separator, parts = schedule["Properties"]["Target"]["Input"]["Fn::Join"]
    joined = separator.join("the-bucket" if p == {"Ref": "Bucket"} else p for p in parts)

    assert {
        "fnmodel": "batch",
        "job": "odd",
        "bucket": "the-bucket",
        "input": job.input,
        "output": job.output,
        "error_budget": 0.01,
        "scheduled_time": "<aws.scheduler.scheduled-time>",
        "schedule_arn": "<aws.scheduler.schedule-arn>",
    } == json.loads(joined)


@pytest.mark.parametrize("model", [None, "add_sub"])
def test_a_job_names_its_model_where_it_has_one(model: str | None) -> None:
    """Without one the event is what it was, and the first model scores."""
    job = BatchJob(name="odd", input="i/", output="o/", schedule="rate(1 hour)", model=model)
    text = render(TEXT, [job], access=PUBLIC)

    assert ('\\"model\\": \\"add_sub\\"' in text) == (model is not None)
    assert '\\"model\\": null' not in text


def test_jobs_never_share_a_logical_id() -> None:
    """Names that differ only in hyphens give different resources."""
    names = ("a-b", "ab", "a--b", "azb")
    jobs = [BatchJob(name=n, input="i/", output="o/", schedule="rate(1 day)") for n in names]
    resources = json.loads(render(TEXT, jobs, access=PUBLIC))["Resources"]
    schedules = {key for key, r in resources.items() if r["Type"] == "AWS::Scheduler::Schedule"}

    assert len(schedules - {"OverdueLook"}) == 4


def test_the_same_project_gives_the_same_bytes() -> None:
    """An unchanged project is recognised by comparing bodies."""
    assert render(TEXT, JOBS, access=PUBLIC) == render(TEXT, JOBS, access=PUBLIC)


def test_too_many_jobs_are_refused_before_cloudformation_does() -> None:
    """A body over a million bytes is named with its size."""
    jobs = [
        BatchJob(name=f"job-{n}", input="i/", output="o/", schedule="rate(1 day)")
        for n in range(3000)
    ]
    with pytest.raises(ProvisionError, match="CloudFormation accepts 1,000,000"):
        render(TEXT, jobs, access=PUBLIC)


def test_names_that_lambda_would_refuse_are_refused_first() -> None:
    """Project and stage together must fit a function's name."""
    assert stack_name("churn", "dev") == "fnmodel-churn-dev"
    with pytest.raises(UsageError, match="may have 64"):
        stack_name("p" * 32, "s" * 32)


def test_parameters_are_the_template_s() -> None:
    """Every parameter of the template gets a value, and no other is sent."""
    given = parameters(PROJECT, "dev", image_uri("a"), authorizer_uri=image_uri("b"))

    assert set(TEMPLATE["Parameters"]) == set(given)
    assert given["Memory"] == "1769"


def test_a_stage_s_own_function_settings_win() -> None:
    """Memory and timeout of the stage stand in for the project's."""
    given = parameters(PROJECT, "dev", image_uri("a"), FunctionConfig(memory=512, timeout=900))

    assert (given["Memory"], given["Timeout"]) == ("512", "900")


def test_what_is_captured_has_its_way_into_the_bucket() -> None:
    """The log's subscription sends lines of rows, and only these, to the stream of the bucket."""
    from fnmodel.capture.line import PREFIX, Origin, line

    resources = CAPTURING["Resources"]
    stream = resources["CaptureStream"]["Properties"]["ExtendedS3DestinationConfiguration"]
    subscription = resources["CaptureSubscription"]["Properties"]
    made = json.loads(line(Origin("r", "t", "m", "1", "live", 1.0, 1), 0, {}, {}, None))

    assert subscription["LogGroupName"] == {"Ref": "FunctionLogs"}
    assert subscription["DestinationArn"] == {"Fn::GetAtt": ["CaptureStream", "Arn"]}
    assert subscription["FilterPattern"] == '{ $.captureData.endpointInput.mode = "INPUT" }'
    assert made["captureData"]["endpointInput"]["mode"] == "INPUT"
    assert stream["BucketARN"] == {"Fn::GetAtt": ["Bucket", "Arn"]}
    where = stream["Prefix"]["Fn::Sub"]
    assert where.startswith(
        f"{PREFIX}fnmodel-${{Project}}-${{Stage}}/live/!{{timestamp:yyyy/MM/dd/HH}}"
    )
    assert stream["FileExtension"] == ".jsonl"
    assert "EncryptionConfiguration" not in stream  # the bucket's own


def test_only_a_traced_function_may_write_traces() -> None:
    """X-Ray's two actions know no resources; a function that does not trace has not even them."""
    traced = json.loads(render(TEXT, JOBS, access=PUBLIC, function=FunctionConfig(tracing="xray")))[
        "Resources"
    ]
    [policy] = traced["FunctionRole"]["Properties"]["Policies"]
    wide = [s for s in policy["PolicyDocument"]["Statement"] if s["Resource"] == "*"]
    given = parameters(PROJECT, "dev", image_uri("a"), FunctionConfig(tracing="xray"))

    assert [s["Action"] for s in wide] == [["xray:PutTraceSegments", "xray:PutTelemetryRecords"]]
    assert "xray" not in json.dumps(RESOURCES)
    assert given["Tracing"] == "Active"
    assert parameters(PROJECT, "dev", image_uri("a"))["Tracing"] == "PassThrough"


def test_a_function_that_sends_spans_has_opentelemetrys_variables() -> None:
    """They stand in its environment, with what says that they are meant; no right is needed."""
    otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example:4318"}
    settings = FunctionConfig(tracing="otlp", otel=otel)

    made = json.loads(render(TEXT, JOBS, access=PUBLIC, function=settings))["Resources"]

    variables = made["Function"]["Properties"]["Environment"]["Variables"]
    plain = RESOURCES["Function"]["Properties"]["Environment"]["Variables"]
    assert variables == {**plain, "OTEL_TRACES_EXPORTER": "otlp", **otel}
    assert "xray" not in json.dumps(made)


def test_captured_rows_end_with_their_retention() -> None:
    """In the bucket after the days that are asked for, in the log no later; also once it is off."""
    given = parameters(PROJECT.model_copy(update={"capture": CAPTURE}), "dev", image_uri("a"))

    assert given["CaptureRetention"] == "45"
    assert CAPTURING["Resources"]["FunctionLogs"]["Properties"]["RetentionInDays"] == 30
    for template in (TEMPLATE, CAPTURING):
        rules = template["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        [rule] = [rule for rule in rules if rule["Id"] == "forget-captured-rows"]
        assert (rule["Prefix"], rule["Status"]) == ("capture/", "Enabled")
        assert rule["ExpirationInDays"] == {"Ref": "CaptureRetention"}
        assert rule["NoncurrentVersionExpiration"]["NoncurrentDays"] == 1


def test_without_a_rate_there_is_nothing_of_capture() -> None:
    """No stream, role, secret or variable of it is deployed."""
    resources = TEMPLATE["Resources"]

    assert not [name for name in resources if name.startswith("Capture")]
    assert "FNMODEL_CAPTURE" not in json.dumps(resources)
    assert "CaptureKey" not in TEMPLATE["Parameters"]


def test_a_key_of_kms_encrypts_captured_rows() -> None:
    """Firehose may use that key, and no other."""
    arn = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    capture = CaptureConfig(rate=1, kms_key=arn)
    resources = json.loads(render(TEXT, JOBS, access=PUBLIC, capture=capture))["Resources"]
    stream = resources["CaptureStream"]["Properties"]["ExtendedS3DestinationConfiguration"]
    [policy] = resources["CaptureStreamRole"]["Properties"]["Policies"]
    statement = policy["PolicyDocument"]["Statement"][-1]

    assert stream["EncryptionConfiguration"] == {
        "KMSEncryptionConfig": {"AWSKMSKeyARN": {"Ref": "CaptureKmsKey"}}
    }
    assert (statement["Sid"], statement["Resource"]) == ("UseKey", {"Ref": "CaptureKmsKey"})
    given = parameters(PROJECT.model_copy(update={"capture": capture}), "dev", image_uri("a"))
    assert given["CaptureKmsKey"] == arn


def test_parameters_of_a_stage_that_captures_are_the_template_s() -> None:
    """The policy that the function reads is in them; the secret is never shown."""
    from fnmodel.capture.redact import Policy

    project = PROJECT.model_copy(update={"capture": CAPTURE})
    given = parameters(
        project, "dev", image_uri("a"), authorizer_uri=image_uri("b"), capture_key="ab" * 32
    )

    assert set(CAPTURING["Parameters"]) == set(given)
    assert CAPTURING["Parameters"]["CaptureKey"]["NoEcho"] is True
    read_back = Policy.of(
        {"FNMODEL_CAPTURE": given["Capture"], "FNMODEL_CAPTURE_KEY": given["CaptureKey"]}
    )
    assert read_back == Policy(rate=0.1, subject="id", key=bytes.fromhex("ab" * 32))
    wide = CaptureConfig(rate=1, fields={f"field-{n}": "drop" for n in range(500)})
    with pytest.raises(UsageError, match=r"capture\.fields"):
        parameters(PROJECT.model_copy(update={"capture": wide}), "dev", image_uri("a"))


def test_snapshots_are_taken_where_they_are_asked_for() -> None:
    """SnapStart is off unless the project says otherwise, and goes to published versions only."""
    function = RESOURCES["Function"]["Properties"]
    on = parameters(PROJECT, "dev", image_uri("a"), FunctionConfig(snapstart=True))

    assert function["SnapStart"] == {"ApplyOn": {"Ref": "SnapStart"}}
    assert parameters(PROJECT, "dev", image_uri("a"))["SnapStart"] == "None"
    assert on["SnapStart"] == "PublishedVersions"
    assert set(TEMPLATE["Parameters"]["SnapStart"]["AllowedValues"]) == {
        "PublishedVersions",
        "None",
    }


def test_tags_do_not_change_between_deploys() -> None:
    """CloudFormation copies stack tags to all resources; a changed one would modify them all."""
    assert tags("churn", "dev") == {"fnmodel:project": "churn", "fnmodel:stage": "dev"}


def test_short_forms_are_read() -> None:
    """`!GetAtt a.b` splits at the first dot only, other tags become `Fn::…`."""
    text = (
        "A: !GetAtt x.y.z\nB: !Sub 'q-${x}'\nC: !Ref x\nD: !Join ['', [a, !Ref b]]\nE: 2012-10-17"
    )

    data = read(text.replace("2012-10-17", '"2012-10-17"'))

    assert data == {
        "A": {"Fn::GetAtt": ["x", "y.z"]},
        "B": {"Fn::Sub": "q-${x}"},
        "C": {"Ref": "x"},
        "D": {"Fn::Join": ["", ["a", {"Ref": "b"}]]},
        "E": "2012-10-17",
    }


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    """Neither the text that people read nor a body that is sent breaks a rule of AWS."""
    key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    captures = (CaptureConfig(), CaptureConfig(rate=1, kms_key=key))
    bodies = []
    for mode, access in MODES.items():
        for serving in (True, False):
            path = tmp_path / f"{mode}-{serving}.json"
            capture = captures[serving]
            text = render(TEXT, JOBS, access=access, cors=CORS, serving=serving, capture=capture)
            path.write_text(text, "utf-8")
            bodies.append(str(path))
    linter = Path(sys.executable).with_name("cfn-lint")

    result = subprocess.run(
        [linter, str(shipped("template.yaml")), *bodies], capture_output=True, text=True
    )

    assert (result.returncode, result.stdout.strip()) == (0, "")


def test_a_longest_project_still_has_a_name() -> None:
    """The longest names that fit are accepted."""
    project = Project(name="p" * 32, model="m.pkl")

    assert len(stack_name(project.name, "s" * 23)) == 64
