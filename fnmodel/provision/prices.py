"""What AWS asks for a stack and its work: one region's prices, with where and when they were read.

The only table of prices: the cost of a plan, of a batch run and of a week are all by it.
"""

REGION = "us-east-1"
CURRENCY = "USD"
AS_OF = "2024-07"
"""Month of the oldest figure below."""
SOURCES = (
    "Lambda: AWS's price list for AWSLambda, in force from 2025-10-01",
    "API Gateway, CloudWatch, KMS: AWS's price list as infracost's tests quote it, 2024-07",
    "S3, Step Functions: aws.amazon.com/s3/pricing, aws.amazon.com/step-functions/pricing",
)

# Of Lambda, by architecture: a GB-second of running, and of concurrency that is held ready.
GB_SECOND = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
READY_GB_SECOND = {"x86_64": 0.0000041667, "arm64": 0.0000033334}
INVOCATION = 0.20 / 1e6
SNAPSHOT_GB_SECOND = 0.0000015046
HTTP_REQUEST = 1.00 / 1e6  # of up to 512 KB
LOG_GB = 0.50  # taken in

# Requests to S3's standard storage, and a transition of a standard workflow of Step Functions.
WRITE = 0.005 / 1000  # PUT and LIST
READ = 0.0004 / 1000  # GET
TRANSITION = 0.025 / 1000

# A month, whether it is used or not.
ALARM = 0.10  # one metric, of 60 s or more
FAST_ALARM = 0.30
DASHBOARD = 3.00
KEY = 1.00

# Types that cost nothing while nothing happens; what they cost by use is not estimated, but for
# functions, the API and its logs. A filter of logs makes a custom metric, which counts as use.
FREE_AT_REST = frozenset({
    "AWS::ApiGatewayV2::ApiMapping", "AWS::ApiGatewayV2::DomainName", "AWS::CodeBuild::Project",
    "AWS::Logs::MetricFilter", "AWS::Route53::RecordSet",
    "AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Authorizer", "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route", "AWS::ApiGatewayV2::Stage", "AWS::Events::Rule", "AWS::IAM::Role",
    "AWS::Lambda::Alias", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Permission",
    "AWS::Lambda::Version", "AWS::Lambda::Function", "AWS::Logs::LogGroup",
    "AWS::Logs::SubscriptionFilter", "AWS::S3::Bucket", "AWS::S3::BucketPolicy",
    "AWS::DynamoDB::Table", "AWS::SNS::Subscription", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "AWS::Scheduler::Schedule",
    "AWS::Scheduler::ScheduleGroup", "AWS::StepFunctions::StateMachine",
    "AWS::KinesisFirehose::DeliveryStream", "AWS::KMS::Alias",
})  # fmt: skip
