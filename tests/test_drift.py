"""Hand edits of a stack that stands in an emulator: each is found, and a clean stack has none."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from release_cases import JOBS, PROJECT, PUBLIC, Emulator, image_uri

from fnmodel.config import Access, CaptureConfig, CorsConfig, FanoutConfig, StackConfig, WatchConfig
from fnmodel.local.differences import FORGOTTEN
from fnmodel.provision import around, template
from fnmodel.provision.around import Around
from fnmodel.provision.changes import ResourceChange, fate
from fnmodel.provision.drift import Drift, Survey, compare, survey, traffic
from fnmodel.provision.edits import Edit
from fnmodel.provision.live.found import Found
from fnmodel.provision.live.readers import READERS
from fnmodel.provision.resolve import Place, Resource, resolve
from fnmodel.provision.standing import Standing, standing
from fnmodel.provision.watching import Watching
from fnmodel.shipped import shipped

pytest_plugins = ["release_emulator"]

NAME = template.stack_name("churn", "edited")
ALLOW = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
WATCH = WatchConfig.model_validate({"retrain": {}})
KEY = "arn:aws:kms:us-east-1:000000000000:key/1"
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:other"
ARN = f"arn:aws:lambda:us-east-1:000000000000:function:{NAME}"


@dataclass
class Stage:
    """A stack with everything that the template has, and what was found in it so far."""

    emulator: Emulator
    standing: Standing
    seen: set[str] = field(default_factory=set)

    def __getitem__(self, logical_id: str) -> str:
        return self.standing.physical[logical_id]

    def client(self, service: str) -> Any:
        """Return a client of a service."""
        return self.emulator.client(service)

    def look(self) -> Survey:
        """Return all hand edits."""
        return survey(self.standing, self.emulator.client, forgotten=FORGOTTEN)

    def news(self) -> list[Drift]:
        """Return what was found and was not there the last time."""
        found = self.look().drifts
        fresh = [one for one in found if repr(one) not in self.seen]
        self.seen |= {repr(one) for one in found}
        return fresh


def rich_stage(emulator: Emulator) -> Stage:
    """Deploy the shipped template with all that a stage may ask for."""
    project = PROJECT.model_copy(update={"capture": CaptureConfig(rate=0.1, retention=45)})
    given = template.parameters(
        project, "edited", image_uri("a"), authorizer_uri=image_uri("a"),
        controller_uri=image_uri("a"), capture_key="ab" * 32,
    )  # fmt: skip
    tags = template.tags("churn", "edited")
    for serving in (False, True):  # the whole is too large for a stage that has no bucket yet
        body = template.render(
            shipped("template.yaml").read_text("utf-8"), JOBS,
            access=Access.model_validate({"api_key": {}}), capture=project.capture, audit=True,
            cors=CorsConfig(origins=("https://app.example",)), rollout=True, fanout=FanoutConfig(),
            watch=Watching.of(WATCH, project.capture, "/project", "1.0"), serving=serving,
            surroundings=Around(local=True),
        )  # fmt: skip
        asked = {k: v for k, v in given.items() if k in json.loads(body)["Parameters"]}
        stack = emulator.stacks.apply(emulator.stacks.plan(NAME, body, asked, tags))
    return Stage(emulator, standing(emulator.client("cloudformation"), stack))


@pytest.fixture(scope="module")
def stage(emulator: Emulator) -> Iterator[Stage]:
    """Deploy a stage for all edits of this file, which are made one after the other."""
    made = rich_stage(emulator)
    yield made
    emulator.client("s3").put_bucket_versioning(
        Bucket=made["Bucket"], VersioningConfiguration={"Status": "Enabled"}
    )


def test_a_clean_stack_shows_none(stage: Stage) -> None:
    """What CloudFormation made is what the template says, for every type that has a reader."""
    found = stage.look()

    assert found.drifts == ()
    assert found.unread == {"BootstrapVersion": "its type has no reader"}


def configure(stage: Stage, **changes: Any) -> None:
    stage.client("lambda").update_function_configuration(FunctionName=NAME, **changes)


def variables(stage: Stage, **more: str) -> None:
    now = stage.client("lambda").get_function_configuration(FunctionName=NAME)
    configure(stage, Environment={"Variables": {**now["Environment"]["Variables"], **more}})


def reschedule(stage: Stage, **changes: Any) -> None:
    scheduler = stage.client("scheduler")
    now = scheduler.get_schedule(Name="daily", GroupName=NAME)
    kept = ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow", "Target")
    given = {key: now[key] for key in (*kept, "Description")}
    scheduler.update_schedule(**{**given, **changes})


def realarm(stage: Stage, **changes: Any) -> None:
    cloudwatch = stage.client("cloudwatch")
    [now] = cloudwatch.describe_alarms(AlarmNames=[f"{NAME}-errors"])["MetricAlarms"]
    kept = (
        "AlarmName", "AlarmDescription", "Namespace", "MetricName", "Dimensions", "Statistic",
        "Period", "EvaluationPeriods", "ComparisonOperator", "TreatMissingData", "Threshold",
        "AlarmActions", "OKActions",
    )  # fmt: skip
    cloudwatch.put_metric_alarm(**{**{key: now[key] for key in kept}, **changes})


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def share(stage: Stage) -> None:
    s3, bucket = stage.client("s3"), stage["Bucket"]
    now = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    more = {
        "Sid": "Share", "Effect": "Allow", "Action": "s3:GetObject",
        "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=bucket, Policy=document(*now, more))


EDITS: dict[str, tuple[Callable[[Stage], Any], str, str]] = {
    "memory": (lambda s: configure(s, MemorySize=3000), "Function", "MemorySize"),
    "timeout": (lambda s: configure(s, Timeout=7), "Function", "Timeout"),
    "tracing": (
        lambda s: configure(s, TracingConfig={"Mode": "Active"}), "Function", "TracingConfig.Mode",
    ),
    "a variable": (
        lambda s: variables(s, PASSWORD="hunter2"),
        "Function", "Environment.Variables.PASSWORD",
    ),
    "image of $LATEST": (
        lambda s: s.client("lambda").update_function_code(
            FunctionName=NAME, ImageUri=image_uri("b")
        ), "Function", "Code.ImageUri",
    ),
    "reserved concurrency": (
        lambda s: s.client("lambda").put_function_concurrency(
            FunctionName=NAME, ReservedConcurrentExecutions=3
        ), "Function", "ReservedConcurrentExecutions",
    ),
    "function URL added": (
        lambda s: s.client("lambda").create_function_url_config(
            FunctionName=NAME, AuthType="NONE"
        ), "Function", "AWS::Lambda::Url",
    ),
    "everybody may invoke": (
        lambda s: s.client("lambda").add_permission(
            FunctionName=NAME, Qualifier="live", StatementId="x", Principal="*",
            Action="lambda:InvokeFunction",
        ), "Function", "AWS::Lambda::Permission",
    ),
    "the API may not invoke": (
        lambda s: s.client("lambda").remove_permission(
            FunctionName=NAME, Qualifier="live", StatementId=s["ApiPermission"]
        ), "ApiPermission", "",
    ),
    "policy attached": (
        lambda s: s.client("iam").attach_role_policy(
            RoleName=s["FunctionRole"], PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        ), "FunctionRole", "ManagedPolicyArns",
    ),
    "inline policy added": (
        lambda s: s.client("iam").put_role_policy(
            RoleName=s["FunctionRole"], PolicyName="more", PolicyDocument=document(ALLOW)
        ), "FunctionRole", "Policies[more]",
    ),
    "inline policy emptied": (
        lambda s: s.client("iam").delete_role_policy(
            RoleName=s["RolloutRole"], PolicyName="rollout"
        ), "RolloutRole", "Policies[rollout]",
    ),
    "trust": (
        lambda s: s.client("iam").update_assume_role_policy(
            RoleName=s["ScheduleRole"],
            PolicyDocument=document(
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
            ),
        ), "ScheduleRole", "AssumeRolePolicyDocument.Statement",
    ),
    "alarm threshold": (lambda s: realarm(s, Threshold=0.5), "ErrorAlarm", "Threshold"),
    "alarm switched off": (
        lambda s: s.client("cloudwatch").disable_alarm_actions(AlarmNames=[f"{NAME}-errors"]),
        "ErrorAlarm", "ActionsEnabled",
    ),
    "alarm deleted": (
        lambda s: s.client("cloudwatch").delete_alarms(AlarmNames=[f"{NAME}-crashes"]),
        "CrashAlarm", "",
    ),
    "log retention": (
        lambda s: s.client("logs").put_retention_policy(
            logGroupName=s["FunctionLogs"], retentionInDays=365
        ), "FunctionLogs", "RetentionInDays",
    ),
    "log kept forever": (
        lambda s: s.client("logs").delete_retention_policy(logGroupName=s["ApiLogs"]),
        "ApiLogs", "RetentionInDays",
    ),
    "log sent elsewhere": (
        lambda s: s.client("logs").put_subscription_filter(
            logGroupName=s["FunctionLogs"], filterName="spy", filterPattern="",
            destinationArn=OTHER,
        ), "FunctionLogs", "AWS::Logs::SubscriptionFilter",
    ),
    "bucket policy": (
        share, "BucketPolicy", "PolicyDocument.Statement[Share]",
    ),
    "bucket policy deleted": (
        lambda s: s.client("s3").delete_bucket_policy(Bucket=s["AuditBucket"]),
        "AuditBucketPolicy", "",
    ),
    "lifecycle rule": (
        lambda s: s.client("s3").put_bucket_lifecycle_configuration(
            Bucket=s["Bucket"],
            LifecycleConfiguration={"Rules": [{
                "ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""},
                "Expiration": {"Days": 1},
            }]},
        ), "Bucket", "LifecycleConfiguration.Rules[all]",
    ),
    "public access": (
        lambda s: s.client("s3").delete_public_access_block(Bucket=s["Bucket"]),
        "Bucket", "PublicAccessBlockConfiguration",
    ),
    "versioning": (
        lambda s: s.client("s3").put_bucket_versioning(
            Bucket=s["Bucket"], VersioningConfiguration={"Status": "Suspended"}
        ), "Bucket", "VersioningConfiguration.Status",
    ),
    "schedule disabled": (
        lambda s: reschedule(s, State="DISABLED"), "Scheduledaily", "State",
    ),
    "schedule added": (
        lambda s: s.client("scheduler").create_schedule(
            Name="more", GroupName=NAME, ScheduleExpression="rate(1 hour)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": OTHER, "RoleArn": "arn:aws:iam::000000000000:role/x"},
        ), "ScheduleGroup", "AWS::Scheduler::Schedule",
    ),
    "route added": (
        lambda s: s.client("apigatewayv2").create_route(
            ApiId=s["Api"], RouteKey="GET /open", Target=f"integrations/{s['ApiIntegration']}"
        ), "Api", "AWS::ApiGatewayV2::Route",
    ),
    "route opened": (
        lambda s: s.client("apigatewayv2").update_route(
            ApiId=s["Api"], RouteId=s["ApiRoute"].split("/")[-1], AuthorizationType="NONE"
        ), "ApiRoute", "AuthorizationType",
    ),
    "throttling": (
        lambda s: s.client("apigatewayv2").update_stage(
            ApiId=s["Api"], StageName="$default",
            DefaultRouteSettings={"ThrottlingRateLimit": 5000.0, "ThrottlingBurstLimit": 200},
        ), "ApiStage", "DefaultRouteSettings.ThrottlingRateLimit",
    ),
    "origins": (
        lambda s: s.client("apigatewayv2").update_api(
            ApiId=s["Api"], CorsConfiguration={"AllowOrigins": ["*"]}
        ), "Api", "CorsConfiguration.AllowOrigins",
    ),
    "tag removed": (
        lambda s: s.client("lambda").untag_resource(Resource=ARN, TagKeys=["fnmodel:stage"]),
        "Function", "Tags[fnmodel:stage]",
    ),
    "queue": (
        lambda s: s.client("sqs").set_queue_attributes(
            QueueUrl=s["RolloutFailures"], Attributes={"MessageRetentionPeriod": "60"}
        ), "RolloutFailures", "MessageRetentionPeriod",
    ),
    "table TTL": (
        lambda s: s.client("dynamodb").update_time_to_live(
            TableName=s["Ledger"],
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "time"},
        ), "Ledger", "TimeToLiveSpecification",
    ),
    "rule disabled": (
        lambda s: s.client("events").disable_rule(Name=s["RolloutAlarms"]),
        "RolloutAlarms", "State",
    ),
    "target added": (
        lambda s: s.client("events").put_targets(
            Rule=s["RolloutAlarms"], Targets=[{"Id": "more", "Arn": OTHER}]
        ), "RolloutAlarms", "Targets[more]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_hand_is_found_where_it_is(stage: Stage, edit: str) -> None:
    """One edit is one finding, at its resource and property; nothing else is told."""
    make, logical_id, path = EDITS[edit]
    make(stage)

    found = stage.news()

    assert [(one.logical_id, one.path) for one in found] == [(logical_id, path)]
    assert all(one.expected != one.found for one in found)
    assert "hunter2" not in repr(found)


MESSAGES = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Parameters": {"Days": {"Type": "Number", "Default": "4"}},
    "Conditions": {"Never": {"Fn::Equals": [{"Ref": "Days"}, "5"]}},
    "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"MessageRetentionPeriod": 3600}},
        "Gone": {"Type": "AWS::SQS::Queue", "Condition": "Never"},
        "QueuePolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{
                        "Sid": "Topic", "Effect": "Allow", "Action": "sqs:SendMessage",
                        "Principal": {"Service": "sns.amazonaws.com"},
                        "Resource": {"Fn::GetAtt": ["Queue", "Arn"]},
                    }],
                },
            },
        },
        "Topic": {"Type": "AWS::SNS::Topic"},
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {
                "TopicArn": {"Ref": "Topic"}, "Protocol": "sqs",
                "Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]},
            },
        },
    },
}  # fmt: skip


def test_queues_and_topics_of_any_template_are_looked_at(emulator: Emulator) -> None:
    """A queue's policy, a topic's subscribers; what a condition leaves out is not missed."""
    stacks = emulator.stacks
    stack = stacks.apply(stacks.plan("messages", json.dumps(MESSAGES), {}, {"team": "a"}))
    stage = Stage(emulator, standing(emulator.client("cloudformation"), stack))

    assert stage.news() == []

    emulator.client("sqs").set_queue_attributes(
        QueueUrl=stage["Queue"], Attributes={"Policy": document({**ALLOW, "Sid": "All"})}
    )
    emulator.client("sns").subscribe(
        TopicArn=stage["Topic"], Protocol="email", Endpoint="eve@example.com"
    )

    assert [(one.logical_id, one.kind, one.path) for one in stage.news()] == [
        ("QueuePolicy", "changed", "PolicyDocument.Statement[Topic]"),
        ("QueuePolicy", "changed", "PolicyDocument.Statement[All]"),
        ("Topic", "added", "AWS::SNS::Subscription"),
    ]


def test_a_reader_that_aws_refuses_is_told_and_hides_nothing_else(emulator: Emulator) -> None:
    """Without a permission one resource cannot be judged; the others are."""
    stacks = emulator.stacks
    stack = stacks.apply(stacks.plan("refused", json.dumps(MESSAGES), {}, {}))
    stage = Stage(emulator, standing(emulator.client("cloudformation"), stack))

    def refused(service: str) -> Any:
        client = emulator.client(service)
        return Refusing(client) if service == "sns" else client

    emulator.client("sqs").set_queue_attributes(
        QueueUrl=stage["Queue"], Attributes={"MessageRetentionPeriod": "60"}
    )
    found = survey(stage.standing, refused)

    assert [(one.logical_id, one.path) for one in found.drifts] == [
        ("Queue", "MessageRetentionPeriod")
    ]
    assert set(found.unread) == {"Topic", "Subscription"}
    assert "AccessDenied" in found.unread["Topic"]


class Refusing:
    """A client that may do nothing."""

    def __init__(self, client: Any) -> None:
        self._error = client.exceptions.ClientError

    def __getattr__(self, operation: str) -> Any:
        def refuse(**_arguments: Any) -> Any:
            answer = {"Error": {"Code": "AccessDenied", "Message": "not you"}}
            raise self._error(answer, operation)

        return refuse


def test_the_clock_of_a_rollout_is_no_edit(stage: Stage) -> None:
    """It runs while a rollout goes on; without one, somebody has switched it on."""
    stage.client("events").enable_rule(Name=stage["RolloutClock"])
    running = survey(stage.standing, stage.client, forgotten=FORGOTTEN, rolling=True)
    resting = survey(stage.standing, stage.client, forgotten=FORGOTTEN)

    state = ("RolloutClock", "State")
    assert state not in {(one.logical_id, one.path) for one in running.drifts}
    assert state in {(one.logical_id, one.path) for one in resting.drifts}


def replaced(builds: Any, name: str) -> None:
    [one] = builds.batch_get_projects(names=[name])["projects"]
    told = one["environment"]["environmentVariables"]
    spy = {"name": "PASSWORD", "value": "hunter2", "type": "PLAINTEXT"}
    environment = {**one["environment"], "environmentVariables": [*told, spy]}
    builds.update_project(name=name, environment=environment, serviceRole=OTHER)


def test_who_builds_and_with_what_is_looked_at(stage: Stage) -> None:
    """A pipeline's role and variables; what a variable holds is not told."""
    stage.news()
    replaced(stage.client("codebuild"), stage["RetrainProject"])

    found = stage.news()

    assert {(one.logical_id, one.path) for one in found} == {
        ("RetrainProject", "ServiceRole"),
        ("RetrainProject", "Environment.EnvironmentVariables[PASSWORD]"),
    }
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize("path", ["/", "/teams/risk/"])
def test_a_role_is_known_by_its_path(path: str) -> None:
    """The ARN of a role has the path that the stack gives it."""
    text = shipped("template.yaml").read_text("utf-8")
    given = Around(stack=StackConfig(role_path=path))
    body = json.loads(template.render(text, JOBS, access=PUBLIC, surroundings=given))
    place = Place.of("arn:aws:cloudformation:us-east-1:123:stack/s/1")

    found = resolve(body, {}, place=place, physical={"FunctionRole": "r"})

    assert found["Function"].properties["Role"] == f"arn:aws:iam::123:role{path}r"


class Services:
    """Answers as AWS writes them for what the embedded cloud does not keep."""

    def get_bucket_encryption(self, **_: str) -> Any:
        """Return the rule of a bucket that is encrypted by a key."""
        by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        rule = {"ApplyServerSideEncryptionByDefault": by_key, "BucketKeyEnabled": True}
        return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}

    def describe_table(self, **_: str) -> Any:
        """Return a table that is encrypted by a key."""
        sealed = {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": KEY}
        table = {"TableArn": "t", "KeySchema": [], "AttributeDefinitions": []}
        return {"Table": {**table, "SSEDescription": sealed}}

    def __getattr__(self, _operation: str) -> Callable[..., Any]:
        return lambda **_: defaultdict(dict)


@pytest.mark.parametrize(
    ("kind", "encrypt", "path"),
    [
        ("AWS::S3::Bucket", around._bucket, "BucketEncryption"),
        ("AWS::DynamoDB::Table", around._table, "SSESpecification"),
    ],
)
def test_what_a_key_encrypts_is_no_edit_and_another_key_is(
    kind: str, encrypt: Callable[[dict[str, Any], Any], None], path: str
) -> None:
    """The same key in the words of CloudFormation and of the service."""
    same: dict[str, Any] = {}
    other: dict[str, Any] = {}
    encrypt(same, KEY)
    encrypt(other, f"{KEY}-2")

    def edited(asked: dict[str, Any]) -> list[str]:
        live = READERS[kind](lambda _: Services(), "x", asked)
        found = compare("X", Resource(kind, asked), live, tags={}, known=())
        return [one.path for one in found if one.path.startswith(path)]

    assert edited(same) == []
    assert len(edited(other)) == 1


def test_every_type_of_the_template_has_a_reader() -> None:
    """A resource that is added to the template is looked at, or is named here."""
    read = template.read(shipped("template.yaml").read_text("utf-8"))
    types = {one["Type"] for one in read["Resources"].values()}

    assert types - set(READERS) == {"AWS::Lambda::Version"}


def test_a_default_that_stands_is_no_edit() -> None:
    """Services show what they set themselves; another value is an edit."""
    asked = Resource("AWS::Events::Rule", {"ScheduleExpression": "rate(1 day)"})

    def found(state: str) -> list[Drift]:
        properties = {"ScheduleExpression": "rate(1 day)", "State": state}
        one = Found(properties, defaults={"State": "ENABLED"})
        return compare("Rule", asked, one, tags={}, known=())

    assert found("ENABLED") == []
    assert [(one.path, one.expected, one.found) for one in found("DISABLED")] == [
        ("State", "ENABLED", "DISABLED")
    ]


@pytest.mark.parametrize("asked", [{}, {"Environment": {"Variables": {"A": "b"}}}])
def test_what_a_variable_holds_is_never_told(asked: dict[str, Any]) -> None:
    """Neither of one more variable, nor where the template has none at all."""
    live = Found({"Environment": {"Variables": {"PASSWORD": "hunter2"}}})
    found = compare("F", Resource("AWS::Lambda::Function", asked), live, tags={}, known=())

    assert found
    assert "hunter2" not in repr(found)


def test_tags_of_others_are_no_edit() -> None:
    """An account may tag what it pays for; the stack's own tags must stay."""
    asked = Resource("AWS::S3::Bucket")
    live = Found({}, tags={"fnmodel:stage": "b", "cost-centre": "12"})

    [found] = compare("Bucket", asked, live, tags={"fnmodel:stage": "a"}, known=())

    assert (found.path, found.expected, found.found) == ("Tags[fnmodel:stage]", "a", "b")


def test_an_alias_is_held_against_the_ledger() -> None:
    """Without a word of the ledger there is nothing to hold it against."""
    assert traffic("LiveAlias", None, "version 1: 100 %") == []
    assert traffic("LiveAlias", "version 1: 100 %", "version 1: 100 %") == []
    [found] = traffic("LiveAlias", "version 1: 100 %", "version 2: 100 %")
    assert (found.path, found.found) == ("traffic", "version 2: 100 %")


def drift(logical_id: str, path: str, kind: Any = "changed") -> Drift:
    return Drift(logical_id, "AWS::X", kind, path, "a", "b")


def change(action: Any, *paths: str) -> dict[str, ResourceChange]:
    edits = tuple(Edit(path, 1, 2) for path in paths)
    return {"Function": ResourceChange(action, "Function", "AWS::X", "", edits, "")}


@pytest.mark.parametrize(
    ("edit", "changes", "words"),
    [
        (drift("Function", "MemorySize"), change("change", "MemorySize"), "deploy sets it"),
        (drift("Function", "Code.ImageUri"), change("change", "Code"), "deploy sets it"),
        (drift("Function", "MemorySize"), change("change", "Timeout"), "may be set back"),
        (drift("Function", "MemorySize"), change("replace"), "would replace"),
        (drift("Function", "MemorySize"), {}, "the next version is published with it"),
        (drift("Function", "Code.ImageUri"), {}, "deploy stops"),
        (drift("Function", "AWS::Lambda::Url", "added"), {}, "stays"),
        (drift("Alarm", "", "missing"), {}, "stays missing"),
        (drift("LiveAlias", "traffic"), {}, "only `shift`"),
        (drift("Bucket", "LifecycleConfiguration"), {}, "stays"),
    ],
)
def test_what_a_deploy_does_about_an_edit_is_said(
    edit: Drift, changes: dict[str, ResourceChange], words: str
) -> None:
    """CloudFormation does not look; what it updates anyway, it sets; what is published is told."""
    assert words in fate(edit, changes)
