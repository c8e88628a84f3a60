"""HTTP APIs with their routes, stages and authorizers, as they stand."""

import re
from collections.abc import Mapping
from typing import Any

from fnmodel.provision.live.found import Client, Found, pick, tags

_PARTS = (
    ("AWS::ApiGatewayV2::Route", "get_routes", "RouteId", "route {RouteKey}"),
    ("AWS::ApiGatewayV2::Stage", "get_stages", "StageName", "stage {StageName}"),
    ("AWS::ApiGatewayV2::Integration", "get_integrations", "IntegrationId",
     "integration with {IntegrationUri}"),
    ("AWS::ApiGatewayV2::Authorizer", "get_authorizers", "AuthorizerId", "authorizer {Name}"),
)  # fmt: skip


def api(client: Client, identity: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read an API, and what it consists of."""
    aws = client("apigatewayv2")
    answer = aws.get_api(ApiId=identity)
    properties = pick(
        answer, "Name", "Description", "ProtocolType", "DisableExecuteApiEndpoint",
        "CorsConfiguration",
    )  # fmt: skip
    beside = {
        (kind, one[key]): words.format_map({"IntegrationUri": "nothing", **one})
        for kind, operation, key, words in _PARTS
        for page in aws.get_paginator(operation).paginate(ApiId=identity)
        for one in page["Items"]
    }
    return Found(properties, beside, tags(answer.get("Tags")))


def route(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read where a route leads, and who may take it."""
    answer = client("apigatewayv2").get_route(ApiId=asked["ApiId"], RouteId=_last(identity))
    names = ("RouteKey", "Target", "AuthorizerId", "AuthorizationScopes", "AuthorizationType")
    return Found(pick(answer, *names), defaults={"AuthorizationType": "NONE"})


def stage(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read a stage: throttling, access log, deployment."""
    answer = client("apigatewayv2").get_stage(ApiId=asked["ApiId"], StageName=_last(identity))
    log = answer.get("AccessLogSettings") or {}
    return Found(
        pick(answer, "AutoDeploy", "DefaultRouteSettings", "RouteSettings", "StageVariables")
        | {"AccessLogSettings": pick(log, "DestinationArn", "Format")},
        tags=tags(answer.get("Tags")),
    )


def integration(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read what answers for an API."""
    answer = client("apigatewayv2").get_integration(
        ApiId=asked["ApiId"], IntegrationId=_last(identity)
    )
    names = ("IntegrationType", "IntegrationUri", "PayloadFormatVersion", "TimeoutInMillis")
    return Found(pick(answer, *names), defaults={"TimeoutInMillis": 30_000})


def authorizer(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read who decides on callers."""
    answer = client("apigatewayv2").get_authorizer(
        ApiId=asked["ApiId"], AuthorizerId=_last(identity)
    )
    found = pick(
        answer, "Name", "AuthorizerType", "AuthorizerUri", "AuthorizerPayloadFormatVersion",
        "AuthorizerResultTtlInSeconds", "EnableSimpleResponses", "IdentitySource",
    )  # fmt: skip
    # Where nothing is kept, the service may say 0 or nothing.
    found["AuthorizerResultTtlInSeconds"] = found["AuthorizerResultTtlInSeconds"] or None
    token = answer.get("JwtConfiguration") or {}
    return Found(found | {"JwtConfiguration": pick(token, "Issuer", "Audience")})


def _last(identity: str) -> str:
    # Some clouds put the API's id in front.
    return re.split(r"[|/]", identity)[-1]
