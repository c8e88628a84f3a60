"""Samples of what is deployed, and a stub that answers in place of the data plane."""

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fnmodel.aws import Cloud
from fnmodel.config import Access, BatchJob, Project
from fnmodel.provision import template
from fnmodel.provision.bodies import Bodies
from fnmodel.provision.stack import ChangeSet, Stack, Stacks
from fnmodel.shipped import shipped

STAGES = ("contract", "flow")
"""Stages whose functions the stub answers for."""

Respond = Callable[[str, Any], Any]

JOBS = (
    BatchJob(
        name="daily",
        input="incoming/",
        output="scored/",
        schedule="cron(0 6 * * ? *)",
        timezone="Europe/Berlin",
        error_budget=0.05,
    ),
    BatchJob(name="by-hand", input="other/", output="done/"),
)
PUBLIC = Access(public=True)
PROJECT = Project(name="churn", model="model.pkl", batch=JOBS)

PROBE: dict[str, Any] = {
    "request": {
        "inputs": [
            {"name": "age", "datatype": "FP32", "shape": [2, 1], "data": [41.0, 23.0]},
            {"name": "plan", "datatype": "BYTES", "shape": [2, 1], "data": ["basic", "gold"]},
        ]
    },
    "expected": [
        {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]},
        {"name": "probabilities", "datatype": "FP32", "shape": [2, 2],
         "data": [[0.25, 0.75], [0.9, 0.1]]},
    ],
    "tolerance": {"absolute": 1e-4, "relative": 1e-3},
}  # fmt: skip


def digest(letter: str) -> str:
    """Return an image digest made of one hexadecimal digit."""
    return "sha256:" + letter * 64


def image_uri(letter: str) -> str:
    """Return an image reference as ECR gives them."""
    host = "000000000000.dkr.ecr.us-east-1.amazonaws.com"
    return f"{host}/fnmodel/churn@{digest(letter)}"


def http_answer(data: Any, status: int = 200) -> dict[str, Any]:
    """Return what a function behind an HTTP API returns."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(data),
        "isBase64Encoded": False,
    }


def proven(_version: str, _event: Any) -> dict[str, Any]:
    """Answer as the probe expects."""
    return http_answer({"model_name": "churn", "outputs": PROBE["expected"]})


def encoded(version: str, event: Any) -> dict[str, Any]:
    """Answer as the probe expects, in base64 as API Gateway takes binary bodies."""
    answer = proven(version, event)
    answer["body"] = base64.b64encode(answer["body"].encode()).decode()
    return {**answer, "isBase64Encoded": True}


class Stub:
    """Answers invocations over HTTP in place of the data plane; `respond` may be replaced."""

    def __init__(self) -> None:
        self.respond: Respond = proven
        self.asked: list[tuple[str, Any]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                version = self.headers["X-Amzn-Lambda-Function-Version"]
                stub.asked.append((version, event))
                try:
                    status, body = 200, json.dumps(stub.respond(version, event)).encode()
                except ZeroDivisionError as error:
                    status, body = 500, str(error).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Emulator:
    """A running emulator; `stub` answers for every function of `PROJECT`."""

    def __init__(self, url: str, stub: Stub) -> None:
        self.cloud = Cloud(endpoint_url=url)
        self.stub = stub
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return a client of a service, the same each time."""
        if service not in self._clients:
            self._clients[service] = self.cloud.client(service)
        return self._clients[service]

    @property
    def stacks(self) -> Stacks:
        """Return CloudFormation, asked often."""
        bodies = Bodies(self.client("s3"))
        return Stacks(self.client("cloudformation"), bodies=bodies, interval=0.02, timeout=60)

    def plan(self, stage: str, letter: str, **changes: Any) -> ChangeSet:
        """Plan the shipped template with an image."""
        name, body, parameters, tags = inputs(stage, letter, **changes)
        return self.stacks.plan(name, body, parameters, tags)

    def deploy(self, stage: str, letter: str, **changes: Any) -> Stack:
        """Apply the shipped template with an image; the stack is there afterwards."""
        return self.stacks.apply(self.plan(stage, letter, **changes))


def inputs(
    stage: str,
    letter: str,
    *,
    jobs: tuple[BatchJob, ...] = JOBS,
    access: Access = PUBLIC,
    **changes: str,
) -> tuple[str, str, dict[str, str], dict[str, str]]:
    """Return name, body, parameters and tags of a stage's stack."""
    body = template.render(shipped("template.yaml").read_text("utf-8"), jobs, access=access)
    authorizer = image_uri(letter) if access.mode == "api_key" else None
    given = template.parameters(PROJECT, stage, image_uri(letter), authorizer_uri=authorizer)
    parameters = {**given, **changes}
    return (
        template.stack_name("churn", stage), body, parameters, template.tags("churn", stage)
    )  # fmt: skip


def make_table(client: Any, name: str) -> str:
    """Make a ledger table as the template has it; return its name."""
    resources = json.loads(inputs("flow", "a")[1])["Resources"]
    properties = resources["Ledger"]["Properties"]
    client.create_table(
        TableName=name,
        **{key: properties[key] for key in ("BillingMode", "AttributeDefinitions", "KeySchema")},
    )
    return name
