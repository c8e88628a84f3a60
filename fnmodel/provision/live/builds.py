"""Projects of CodeBuild, as they stand."""

from collections.abc import Iterable, Mapping
from typing import Any

from fnmodel.provision.live.found import Client, Found, tags


def project(client: Client, name: str, asked: Mapping[str, Any]) -> Found | None:
    """Read what a project builds, in which image, and as whom."""
    projects = client("codebuild").batch_get_projects(names=[name.rsplit("/", 1)[-1]])["projects"]
    [answer] = projects or [None]
    if answer is None:
        return None
    source, environment = answer.get("source") or {}, answer.get("environment") or {}
    told = (asked.get("Environment") or {}).get("EnvironmentVariables", ())
    return Found(
        {
            "ServiceRole": answer.get("serviceRole"),
            "Source": {
                "Type": source.get("type"),
                "Location": source.get("location"),
                "BuildSpec": source.get("buildspec"),
            },
            "Environment": {
                "Type": environment.get("type"),
                "ComputeType": environment.get("computeType"),
                "Image": environment.get("image"),
                "PrivilegedMode": environment.get("privilegedMode"),
                "EnvironmentVariables": _variables(
                    environment.get("environmentVariables", ()), told
                ),
            },
        },
        tags=tags(answer.get("tags")),
    )


def _variables(
    found: Iterable[Mapping[str, str]], told: Iterable[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Return variables; of a value that the template has not, its length only: it may be secret."""
    known = {one["Name"]: str(one["Value"]) for one in told}
    variables = []
    for one in found:
        value = one["value"]
        shown = value if known.get(one["name"]) == value else f"a value of {len(value)} characters"
        kind = one.get("type", "PLAINTEXT")
        beside = {} if kind == "PLAINTEXT" else {"Type": kind}
        variables.append({"Name": one["name"], "Value": shown, **beside})
    return variables
