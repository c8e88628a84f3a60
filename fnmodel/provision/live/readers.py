"""The reader of each resource type."""

from collections.abc import Mapping

from fnmodel.provision.live import api, builds, compute, signals, storage
from fnmodel.provision.live.found import Reader

READERS: Mapping[str, Reader] = {
    "AWS::ApiGatewayV2::Api": api.api,
    "AWS::ApiGatewayV2::ApiMapping": api.mapping,
    "AWS::ApiGatewayV2::Authorizer": api.authorizer,
    "AWS::ApiGatewayV2::DomainName": api.domain,
    "AWS::ApiGatewayV2::Integration": api.integration,
    "AWS::ApiGatewayV2::Route": api.route,
    "AWS::ApiGatewayV2::Stage": api.stage,
    "AWS::CloudWatch::Alarm": signals.alarm,
    "AWS::CloudWatch::CompositeAlarm": signals.alarm,
    "AWS::CloudWatch::Dashboard": signals.dashboard,
    "AWS::CodeBuild::Project": builds.project,
    "AWS::DynamoDB::Table": storage.table,
    "AWS::Events::Rule": signals.rule,
    "AWS::IAM::Role": compute.role,
    "AWS::KMS::Key": storage.key,
    "AWS::KinesisFirehose::DeliveryStream": storage.stream,
    "AWS::Lambda::Alias": compute.alias,
    "AWS::Lambda::EventInvokeConfig": compute.invocations,
    "AWS::Lambda::Function": compute.function,
    "AWS::Lambda::Permission": compute.permission,
    "AWS::Logs::LogGroup": signals.log_group,
    "AWS::Logs::MetricFilter": signals.metric_filter,
    "AWS::Logs::SubscriptionFilter": signals.subscription_filter,
    "AWS::Route53::RecordSet": api.record,
    "AWS::S3::Bucket": storage.bucket,
    "AWS::S3::BucketPolicy": storage.bucket_policy,
    "AWS::SNS::Subscription": signals.subscription,
    "AWS::SNS::Topic": signals.topic,
    "AWS::SNS::TopicPolicy": signals.topic_policy,
    "AWS::SQS::Queue": storage.queue,
    "AWS::SQS::QueuePolicy": storage.queue_policy,
    "AWS::Scheduler::Schedule": compute.schedule,
    "AWS::Scheduler::ScheduleGroup": compute.schedule_group,
    "AWS::StepFunctions::StateMachine": signals.state_machine,
}
