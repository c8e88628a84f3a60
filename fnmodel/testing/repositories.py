"""ECR's own API in memory; images are noted by digest, and come by `push`."""

from collections.abc import Mapping
from typing import Any

from fnmodel.testing.answering import RefusedError

ACCOUNT, REGION = "000000000000", "us-east-1"
_TAGS = 50


class InMemoryRepositories:
    """Repositories by name, each with the digests of its images, its policy and its tags."""

    def __init__(self) -> None:
        self.images: dict[str, set[str]] = {}
        self.policies: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def push(self, repository: str, digest: str) -> None:
        """Note an image; as a registry does, refuses a repository that does not exist."""
        if repository not in self.images:
            raise RefusedError("RepositoryNotFoundException", f"there is no {repository}")
        self.images[repository].add(digest)

    def answer(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation of the ECR API."""
        if operation == "DescribeRepositories":
            [name] = asked["repositoryNames"]
            return {"repositories": [self._described(name)]}
        if "resourceArn" in asked:
            return self._tagged(operation, asked)
        name = asked["repositoryName"]
        if operation == "CreateRepository":
            if name in self.images:
                raise RefusedError("RepositoryAlreadyExistsException", f"{name} already exists")
            self.images[name] = set()
            self.tags[name] = {tag["Key"]: tag["Value"] for tag in asked.get("tags", ())}
            return {"repository": self._described(name)}
        self._described(name)
        match operation:
            case "DeleteRepository":
                if self.images[name] and not asked.get("force"):
                    raise RefusedError("RepositoryNotEmptyException", f"{name} holds images")
                del self.images[name]
                self.policies.pop(name, None)
                self.tags.pop(name, None)
                return {}
            case "GetRepositoryPolicy":
                if name not in self.policies:
                    raise RefusedError("RepositoryPolicyNotFoundException", f"{name} has none")
                return {"policyText": self.policies[name]}
            case "SetRepositoryPolicy":
                self.policies[name] = asked["policyText"]
                return {}
            case _:
                raise NotImplementedError(f"InMemoryRepositories does not know {operation}")

    def _tagged(self, operation: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        name = asked["resourceArn"].partition(":repository/")[2]
        self._described(name)
        tags = self.tags.setdefault(name, {})
        match operation:
            case "TagResource":
                new = {tag["Key"]: tag["Value"] for tag in asked["tags"]}
                if len({*tags, *new}) > _TAGS:
                    raise RefusedError("TooManyTagsException", f"{name} has {_TAGS} tags already")
                tags.update(new)
                return {}
            case "UntagResource":
                for key in asked["tagKeys"]:
                    tags.pop(key, None)
                return {}
            case "ListTagsForResource":
                return {"tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            case _:
                raise NotImplementedError(f"InMemoryRepositories does not know {operation}")

    def _described(self, name: str) -> dict[str, str]:
        if name not in self.images:
            raise RefusedError("RepositoryNotFoundException", f"{name} does not exist")
        return {
            "repositoryName": name,
            "repositoryUri": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}",
            "repositoryArn": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}",
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        }
