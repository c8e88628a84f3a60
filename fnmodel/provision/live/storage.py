"""Buckets, tables, queues, keys and streams, as they stand."""

from collections.abc import Callable, Mapping
from typing import Any

from fnmodel.provision.live.found import Client, Found, absent, document, pick, tags

_UNSET = (
    "ServerSideEncryptionConfigurationNotFoundError", "NoSuchPublicAccessBlockConfiguration",
    "NoSuchLifecycleConfiguration", "OwnershipControlsNotFoundError", "NoSuchTagSet",
    "ObjectLockConfigurationNotFoundError", "NoSuchBucketPolicy",
)  # fmt: skip


def bucket(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read how a bucket keeps its objects, and for how long."""
    aws = client("s3")
    aws.head_bucket(Bucket=name)

    def ask(operation: Callable[..., Any], part: str) -> Any:
        return (_set(operation, Bucket=name) or {}).get(part)

    encryption = ask(aws.get_bucket_encryption, "ServerSideEncryptionConfiguration") or {}
    lifecycle = [_rule(one) for one in ask(aws.get_bucket_lifecycle_configuration, "Rules") or ()]
    versioning = aws.get_bucket_versioning(Bucket=name).get("Status")
    owners = ask(aws.get_bucket_ownership_controls, "OwnershipControls")
    lock = ask(aws.get_object_lock_configuration, "ObjectLockConfiguration")
    defaults = [
        {
            "ServerSideEncryptionByDefault": one.get("ApplyServerSideEncryptionByDefault"),
            "BucketKeyEnabled": one.get("BucketKeyEnabled"),
        }
        for one in encryption.get("Rules", ())
    ]
    return Found(
        {
            "BucketEncryption": {"ServerSideEncryptionConfiguration": defaults}
            if defaults
            else None,
            "PublicAccessBlockConfiguration": ask(
                aws.get_public_access_block, "PublicAccessBlockConfiguration"
            ),
            "VersioningConfiguration": {"Status": versioning} if versioning else None,
            "LifecycleConfiguration": {"Rules": lifecycle} if lifecycle else None,
            "OwnershipControls": owners,
            "ObjectLockConfiguration": lock,
        },
        tags=tags(ask(aws.get_bucket_tagging, "TagSet")),
    )


def bucket_policy(client: Client, _identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read who may use a bucket."""
    answer = _set(client("s3").get_bucket_policy, Bucket=asked["Bucket"])
    return Found({"PolicyDocument": document(answer["Policy"])}) if answer else None


def table(client: Client, name: str, asked: Mapping[str, Any]) -> Found | None:
    """Read how a table keeps its items."""
    aws = client("dynamodb")
    answer = aws.describe_table(TableName=name)["Table"]
    billing = answer.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    backups = aws.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    kept = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
    forgotten = aws.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    alive = forgotten.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    sealed = answer.get("SSEDescription", {})
    keyed = sealed.get("Status") in {"ENABLED", "ENABLING", "UPDATING"}
    own = {"SSEType": sealed.get("SSEType"), "KMSMasterKeyId": sealed.get("KMSMasterKeyArn")}
    if "KMSMasterKeyId" not in asked.get("SSESpecification", {}):
        own = {}  # AWS's own key has an ARN, too
    listed = aws.list_tags_of_resource(ResourceArn=answer["TableArn"])["Tags"]
    return Found(
        {
            "BillingMode": billing,
            "KeySchema": answer["KeySchema"],
            "AttributeDefinitions": answer["AttributeDefinitions"],
            "DeletionProtectionEnabled": answer.get("DeletionProtectionEnabled"),
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}
            if kept
            else None,
            "TimeToLiveSpecification": {
                "AttributeName": forgotten["AttributeName"], "Enabled": True,
            } if alive else None,
            "SSESpecification": {"SSEEnabled": True, **own} if keyed else None,
        },
        tags=tags(listed),
    )  # fmt: skip


def queue(client: Client, url: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read how long a queue keeps messages, and where failed ones go."""
    aws = client("sqs")
    answer = aws.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return Found(
        {
            **pick(answer, "KmsMasterKeyId", "SqsManagedSseEnabled", *_QUEUE),
            "RedrivePolicy": document(answer.get("RedrivePolicy")),
        },
        tags=tags(aws.list_queue_tags(QueueUrl=url).get("Tags")),
        # AWS encrypts a queue with a key of its own, unless there is another.
        defaults={**_QUEUE, "SqsManagedSseEnabled": not answer.get("KmsMasterKeyId")},
    )


# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-sqs-queue.html
_QUEUE = {
    "MessageRetentionPeriod": 345_600,
    "VisibilityTimeout": 30,
    "DelaySeconds": 0,
    "ReceiveMessageWaitTimeSeconds": 0,
}


def queue_policy(client: Client, _identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read who may use a queue."""
    answer = client("sqs").get_queue_attributes(
        QueueUrl=asked["Queues"][0], AttributeNames=["Policy"]
    )
    policy = document(answer.get("Attributes", {}).get("Policy"))
    return Found({"PolicyDocument": policy}) if policy else None


def key(client: Client, identity: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read who may use a key, and whether it works."""
    aws = client("kms")
    answer = aws.describe_key(KeyId=identity)["KeyMetadata"]
    policy = aws.get_key_policy(KeyId=identity, PolicyName="default")["Policy"]
    rotates = aws.get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"]
    return Found(
        {
            "Enabled": answer["KeyState"] == "Enabled",
            "EnableKeyRotation": rotates,
            "KeyPolicy": document(policy),
        },
        defaults={"Enabled": True},
    )


def stream(client: Client, name: str, asked: Mapping[str, Any]) -> Found | None:
    """Read where a delivery stream delivers to, and in which form."""
    answer = client("firehose").describe_delivery_stream(DeliveryStreamName=name)
    [place] = answer["DeliveryStreamDescription"]["Destinations"]
    given = place.get("ExtendedS3DestinationDescription") or place["S3DestinationDescription"]
    # What is not looked at is taken to be as it was asked for.
    rest = asked.get("ExtendedS3DestinationConfiguration", {})
    return Found({"ExtendedS3DestinationConfiguration": {**rest, **pick(given, *_DELIVERY)}})


_DELIVERY = (
    "BucketARN", "RoleARN", "Prefix", "ErrorOutputPrefix", "CompressionFormat", "BufferingHints",
)  # fmt: skip


def _set(operation: Callable[..., Any], **arguments: Any) -> Any:
    """Return what S3 answers; None where it says that nothing is set."""
    try:
        return operation(**arguments)
    except Exception as error:
        if absent(error, *_UNSET):
            return None
        raise


def _rule(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a lifecycle rule as CloudFormation writes it."""
    expiration = given.get("Expiration", {})
    found = {
        "Id": given.get("ID"),
        "Status": given["Status"],
        "Prefix": given.get("Filter", {}).get("Prefix", given.get("Prefix")) or None,
        "ExpirationInDays": expiration.get("Days"),
        "ExpiredObjectDeleteMarker": expiration.get("ExpiredObjectDeleteMarker") or None,
        "NoncurrentVersionExpiration": given.get("NoncurrentVersionExpiration"),
        "AbortIncompleteMultipartUpload": given.get("AbortIncompleteMultipartUpload"),
        "Transitions": given.get("Transitions"),
    }
    return {name: value for name, value in found.items() if value is not None}
