"""Alarms, dashboards, rules, logs, topics and state machines, as they stand."""

from collections.abc import Mapping
from typing import Any

from fnmodel.provision.live.found import Client, Found, document, pick, tags


def alarm(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read when an alarm rings, and whom it tells."""
    aws = client("cloudwatch")
    answer = aws.describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    [found] = [*answer.get("MetricAlarms", ()), *answer.get("CompositeAlarms", ())] or [None]
    if found is None:
        return None
    names = (
        "AlarmDescription", "Namespace", "MetricName", "Statistic", "ExtendedStatistic", "Period",
        "EvaluationPeriods", "DatapointsToAlarm", "ComparisonOperator", "Dimensions", "Threshold",
        "AlarmActions", "OKActions", "InsufficientDataActions", "AlarmRule", "ActionsEnabled",
        "TreatMissingData",
    )  # fmt: skip
    properties = pick(found, *names)
    if found.get("ExtendedStatistic"):
        properties["Statistic"] = None  # an alarm has one of them; the embedded cloud shows both
    return Found(properties, defaults={"ActionsEnabled": True, "TreatMissingData": "missing"})


def dashboard(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read what a dashboard shows."""
    answer = client("cloudwatch").get_dashboard(DashboardName=name)
    return Found({"DashboardBody": document(answer["DashboardBody"])})


def rule(client: Client, identity: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read when a rule matches, and what it starts."""
    aws = client("events")
    name = identity.rsplit("|", 1)[-1]
    answer = aws.describe_rule(Name=name)
    targets = [
        target
        for page in aws.get_paginator("list_targets_by_rule").paginate(Rule=name)
        for target in page["Targets"]
    ]
    return Found(
        pick(answer, "Description", "ScheduleExpression", "State")
        | {"EventPattern": document(answer.get("EventPattern")), "Targets": targets},
        defaults={"State": "ENABLED"},
    )


def log_group(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read for how long a log is kept, and who else gets it."""
    aws = client("logs")
    groups = aws.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    found = next((one for one in groups if one["logGroupName"] == name), None)
    if found is None:
        return None
    filters = aws.describe_subscription_filters(logGroupName=name)["subscriptionFilters"]
    arn = str(found["arn"]).removesuffix(":*")
    return Found(
        {
            "RetentionInDays": found.get("retentionInDays"),
            "KmsKeyId": found.get("kmsKeyId"),
        },
        beside={
            ("AWS::Logs::SubscriptionFilter", one["filterName"]): (
                f"subscription {one['filterName']} to {one['destinationArn']}"
            )
            for one in filters
        },
        tags=tags(aws.list_tags_for_resource(resourceArn=arn).get("tags")),
    )


def subscription_filter(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read which lines of a log go where."""
    name = identity.rsplit("|", 1)[-1]
    answer = client("logs").describe_subscription_filters(logGroupName=asked["LogGroupName"])
    found = next((one for one in answer["subscriptionFilters"] if one["filterName"] == name), None)
    if found is None:
        return None
    return Found({
        "FilterPattern": found.get("filterPattern") or None,
        "DestinationArn": found["destinationArn"],
        "RoleArn": found.get("roleArn"),
    })  # fmt: skip


def metric_filter(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read which lines of a log are counted, and as what."""
    answer = client("logs").describe_metric_filters(logGroupName=asked["LogGroupName"])
    name = identity.rsplit("|", 1)[-1]
    found = next((one for one in answer["metricFilters"] if one["filterName"] == name), None)
    if found is None:
        return None
    names = ("metricNamespace", "metricName", "metricValue")
    metrics = [
        {f"M{key[1:]}": one.get(key) for key in names} | {"Unit": one.get("unit", "None")}
        for one in found["metricTransformations"]
    ]
    return Found({
        "FilterPattern": found.get("filterPattern") or None, "MetricTransformations": metrics
    })  # fmt: skip


def topic(client: Client, arn: str, asked: Mapping[str, Any]) -> Found | None:
    """Read who gets what is published."""
    aws = client("sns")
    answer = aws.get_topic_attributes(TopicArn=arn)["Attributes"]
    own = {(one["Protocol"], one["Endpoint"]) for one in asked.get("Subscription", ())}
    beside = {
        ("AWS::SNS::Subscription", one["SubscriptionArn"]): (
            f"subscription of {one['Protocol']} {one['Endpoint']}"
        )
        for page in aws.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
        for one in page["Subscriptions"]
        if (one["Protocol"], one["Endpoint"]) not in own
    }
    listed = aws.list_tags_for_resource(ResourceArn=arn)["Tags"]
    return Found(pick(answer, "KmsMasterKeyId"), beside, tags(listed))


def subscription(client: Client, arn: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read what a subscriber gets."""
    # Protocol and endpoint cannot be changed: another one is another subscription.
    answer = client("sns").get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    return Found(
        {
            "FilterPolicy": document(answer.get("FilterPolicy")),
            "RedrivePolicy": document(answer.get("RedrivePolicy")),
            "RawMessageDelivery": answer.get("RawMessageDelivery"),
        },
        defaults={"RawMessageDelivery": "false"},
    )


def topic_policy(client: Client, _identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read who may publish."""
    answer = client("sns").get_topic_attributes(TopicArn=asked["Topics"][0])["Attributes"]
    return Found({"PolicyDocument": document(answer.get("Policy"))})


def state_machine(client: Client, arn: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read as whom a state machine acts; its definition has marks of its own and is left out."""
    answer = client("stepfunctions").describe_state_machine(stateMachineArn=arn)
    return Found({"RoleArn": answer["roleArn"]})
