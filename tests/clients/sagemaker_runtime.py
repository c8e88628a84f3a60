"""What boto3's sagemaker-runtime sees of a model of age, income, plan and visits called churn.

Runs in an environment with boto3, as `sagemaker_runtime.py http://127.0.0.1:8080`. Prints a line
for each check.
"""

import json
import sys

import boto3

CLIENT = boto3.client(
    "sagemaker-runtime", endpoint_url=sys.argv[1], region_name="eu-central-1",
    aws_access_key_id="any", aws_secret_access_key="any",
)  # fmt: skip
ROWS = [[30, 1.5, "gold", 2], [31.5, None, "free", 3]]
TABLE = b"30,1.5,gold,2\n31.5,,free,3\n"


def invoked(body, **more):
    """Return the answer's type and body."""
    answer = CLIENT.invoke_endpoint(EndpointName="churn", Body=body, **more)
    return answer["ContentType"], answer["Body"].read()


def table():
    """Send CSV without a header, and read CSV."""
    for kind in ("text/csv", "text/csv; label_size=0"):
        found = invoked(TABLE, ContentType=kind, Accept="text/csv")
        assert found == ("text/csv; charset=utf-8", b"42.0\n1034.5\n"), found


def lines():
    """Send JSON Lines, and read them."""
    body = "\n".join(map(json.dumps, ROWS))
    kind = "application/jsonlines"
    assert invoked(body, ContentType=kind, Accept=kind) == (kind, b"42.0\n1034.5\n")


def objects():
    """Send JSON, with and without a type, as SageMaker's own algorithms take it."""
    expected = "application/json", b'{"predictions":[42.0,1034.5]}'
    body = json.dumps({"instances": [{"features": row} for row in ROWS]})
    assert invoked(body) == expected
    assert invoked(body, ContentType="application/json", Accept="application/json") == expected
    assert invoked(TABLE, ContentType="text/csv") == expected


def errors():
    """Get a ModelError with the model's status, and a ValidationError for another endpoint."""
    try:
        invoked(b"30,1.5,gold\n", ContentType="text/csv")
    except CLIENT.exceptions.ModelError as error:
        assert error.response["OriginalStatusCode"] == 400
        assert "row 0 has 3 fields" in error.response["OriginalMessage"]
    else:
        raise AssertionError("a short row")
    try:
        CLIENT.invoke_endpoint(EndpointName="other", Body=b"{}")
    except CLIENT.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "ValidationError"
    else:
        raise AssertionError("another endpoint")


for check in (table, lines, objects, errors):
    check()
    print(check.__name__, flush=True)
