"""HTTP APIs with their routes, stages, authorizers and names, as they stand."""

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


def domain(client: Client, name: str, _asked: Mapping[str, Any]) -> Found | None:
    """Read with which certificate a name answers, and whom it lets in."""
    answer = client("apigatewayv2").get_domain_name(DomainName=name)
    settings = [
        pick(one, "CertificateArn", "EndpointType", "SecurityPolicy")
        for one in answer.get("DomainNameConfigurations", ())
    ]
    trust = answer.get("MutualTlsAuthentication") or {}
    return Found(
        {
            "DomainNameConfigurations": settings,
            "MutualTlsAuthentication": pick(trust, "TruststoreUri", "TruststoreVersion"),
        },
        tags=tags(answer.get("Tags")),
    )


def mapping(client: Client, identity: str, asked: Mapping[str, Any]) -> Found | None:
    """Read which API and stage a name leads to."""
    answer = client("apigatewayv2").get_api_mapping(
        DomainName=asked["DomainName"], ApiMappingId=_last(identity)
    )
    return Found(pick(answer, "ApiId", "Stage", "ApiMappingKey"))


def record(client: Client, _name: str, asked: Mapping[str, Any]) -> Found | None:
    """Read where a name of Route 53 points to."""
    answer = client("route53").list_resource_record_sets(
        HostedZoneId=asked["HostedZoneId"], StartRecordName=asked["Name"],
        StartRecordType=asked["Type"], MaxItems="1",
    )["ResourceRecordSets"]  # fmt: skip
    wanted = (asked["Name"].rstrip("."), asked["Type"])
    found = next((o for o in answer if (o["Name"].rstrip("."), o["Type"]) == wanted), None)
    if found is None:
        return None
    target = found.get("AliasTarget") or {}
    return Found({
        "AliasTarget": {
            "DNSName": str(target.get("DNSName", "")).rstrip(".") or None,
            "HostedZoneId": target.get("HostedZoneId"),
        },
    })  # fmt: skip


def _last(identity: str) -> str:
    # Some clouds put the API's id in front.
    return re.split(r"[|/]", identity)[-1]
