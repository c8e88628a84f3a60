"""Where the embedded cloud is known to differ from AWS: the one list, for `doctor` and the docs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One topic, what is so here, and what is so in AWS."""

    topic: str
    here: str
    aws: str


DIFFERENCES = (
    Difference(
        "accounts and regions",
        "one of each: stages share the image repository, and `account`, `region`, `role` are "
        "refused for a local stage",
        "a stage may have its own; `promote --from` copies the image",
    ),
    Difference(
        "idle versions",
        "stay ready for ever",
        "sleep after weeks without a request; the first one is refused while they wake",
    ),
    Difference(
        "IAM",
        "only signatures are checked, with `test` as key and secret; calls of AWS's own APIs not "
        "even for that",
        "policies decide; a missing permission shows only there",
    ),
    Difference(
        "tokens",
        "RS256 alone, with an `exp`; need `pip install 'fnmodel[signing]'`; an issuer may be "
        "`http://127.0.0.1`",
        "RSA of any size of hash; issuers over https only",
    ),
    Difference(
        "preflight of a page that is not named",
        "403",
        "an answer without the headers, which is the same for a browser",
    ),
    Difference(
        "throttling of the API",
        "a bucket in one process, exact",
        "spread over many machines, so that some more or fewer get through",
    ),
    Difference(
        "concurrency",
        "ten requests of one function at once; the eleventh is 503",
        "the account's limit, 1,000 at first; more is 503",
    ),
    Difference(
        "a body between Lambda's 6 MB and the API's 10 MB",
        "413 with `Request Entity Too Large`",
        "refused, too; with which words was never seen",
    ),
    Difference(
        "processor and kernel",
        "this machine's; with a base image and bubblewrap the image's own files, Python and C "
        "library, else this machine's",
        "Lambda's, in the image's own files",
    ),
    Difference(
        "SnapStart",
        "hooks run in Lambda's order; no snapshot is taken, each sandbox runs its own init",
        "copies start from a snapshot",
    ),
    Difference(
        "times",
        "this machine's: a cold start here says nothing of one there",
        "Lambda's",
    ),
    Difference(
        "sandbox",
        "a process; the host's network; `/tmp` is a folder of its own; without bubblewrap the file "
        "system is writable",
        "a micro virtual machine; only `/tmp` is writable",
    ),
    Difference(
        "memory and CPU",
        "the limit is looked at every 50 ms; CPU does not grow with memory",
        "the limit is hard; CPU grows with memory",
    ),
    Difference(
        "life of a process",
        "idle ones end after five minutes",
        "as Lambda likes",
    ),
    Difference(
        "initialisation",
        "at least 10 s, else the function's timeout",
        "starts over after 10 s",
    ),
    Difference(
        "CloudFormation",
        "seconds; most property values, and names of time zones, are not checked",
        "minutes; all are",
    ),
    Difference(
        "properties that are accepted and forgotten",
        "lifecycle rules, locks and tags of buckets; recovery and encryption of tables; throttling "
        "of an API's stage, CORS, time zones of schedules, dead-letter queues of functions, "
        "reserved concurrency: `plan` takes none of them for a hand edit where they are not set",
        "they hold, and `plan` sees them go",
    ),
    Difference(
        "metrics",
        "those of log lines (EMF), to three digits and without units; Lambda's Invocations and "
        "Errors by alias and version, but by function only for calls of the Invoke API",
        "as they were written, with units; all of Lambda's own",
    ),
    Difference(
        "alarms",
        "looked at when they are made or changed, and when PutMetricData is called; the metric's "
        "dimensions do not matter",
        "looked at all the time, by dimensions",
    ),
    Difference(
        "alarms that calculate",
        "left out: shares of failed and of throttled invocations",
        "they ring",
    ),
    Difference(
        "domains, keys of KMS, e-mail, provisioned concurrency",
        "left out; `deploy` says so",
        "as `domain`, `stack.kms_key`, `alarms.email` and `function` say",
    ),
    Difference(
        "events that fail in every attempt",
        "not in the alias's queue: destinations are looked for at the function only",
        "in the queue, which an alarm watches",
    ),
    Difference(
        "metrics of the API, of queues and of memory",
        "none; their alarms never ring",
        "all of them",
    ),
    Difference(
        "CodeBuild",
        "a project that an event starts is `fnmodel run --local` in the project's own folder, with "
        "this machine's Python and packages",
        "a container that installs fnmodel and fetches the project's source",
    ),
    Difference(
        "scans",
        "ECR does not scan",
        "it does",
    ),
    Difference(
        "schedules",
        "a failed one is not tried again; the attempt's number is always 1",
        "tried again, and counted",
    ),
    Difference(
        "batch runs that fan out",
        "`fanout.concurrency` above ten meets the limit of concurrency, and waits; nothing is "
        "redriven; results of items are not written to the bucket",
        "as many at once as the account has; a failed execution can be redriven",
    ),
    Difference(
        "asynchronous requests",
        "an event that fails is not tried again; jobs are never deleted",
        "tried twice more; a lifecycle rule deletes jobs after `jobs.days`",
    ),
    Difference(
        "transport and storage",
        "no TLS, no encryption at rest, no quotas",
        "all of them",
    ),
    Difference(
        "place",
        "one region, `us-east-1`, and one account; the API's URL has a path of its own",
        "yours; a host of its own",
    ),
)

FORGOTTEN = frozenset({
    ("AWS::ApiGatewayV2::Api", "CorsConfiguration"),
    ("AWS::ApiGatewayV2::Stage", "DefaultRouteSettings"),
    ("AWS::DynamoDB::Table", "PointInTimeRecoverySpecification"),
    ("AWS::DynamoDB::Table", "SSESpecification"),
    ("AWS::DynamoDB::Table", "TimeToLiveSpecification"),
    ("AWS::Lambda::Function", "DeadLetterConfig"),
    ("AWS::S3::Bucket", "LifecycleConfiguration"),
    ("AWS::S3::Bucket", "ObjectLockConfiguration"),
    ("AWS::S3::Bucket", "Tags"),
    ("AWS::SNS::Topic", "KmsMasterKeyId"),
    ("AWS::Scheduler::Schedule", "ScheduleExpressionTimezone"),
})  # fmt: skip
"""Properties, by type and name, that CloudFormation takes here and does not keep."""
