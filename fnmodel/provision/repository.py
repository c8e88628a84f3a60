"""The ECR repository of a model's images; all stages share it, the stack does not own it."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import ProvisionError

# FIPS endpoints and the dual-stack ones of newer domains included; Lambda takes the plain form.
_ECR = re.compile(
    r"\d{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)"
)
# A tag that moves would make a version's image a matter of time. Those of signatures and of lists
# of artifacts (`sha256-HEX…`) name an image by digest, and grow when a key is added.
_TAGS = {
    "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "sha256-*"}],
}


def repository_name(project: str) -> str:
    """Return the name of the repository of a project's images, in any registry."""
    return f"fnmodel/{project}"


@dataclass(frozen=True)
class Repository:
    """A repository; an image in it is `{uri}@sha256:…`."""

    name: str
    uri: str
    arn: str
    mutability: str


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a registry client logs in with; good for some hours, and never printed."""

    username: str
    password: str
    host: str


class Repositories:
    """The border to ECR's own API; images themselves travel by the registry protocol."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def find(self, name: str) -> Repository | None:
        """Return the repository, or None."""
        with translated():
            try:
                answer = self._client.describe_repositories(repositoryNames=[name])
            except self._client.exceptions.RepositoryNotFoundException:
                return None
        return _repository(answer["repositories"][0])

    def ensure(self, project: str) -> Repository:
        """Return a project's, made when it does not exist; repeated, it only reads."""
        name = repository_name(project)
        repository = self.find(name)
        if repository is None:
            with translated():
                try:
                    answer = self._client.create_repository(
                        repositoryName=name,
                        **_TAGS,
                        imageScanningConfiguration={"scanOnPush": True},
                        encryptionConfiguration={"encryptionType": "AES256"},
                        tags=[{"Key": "fnmodel:project", "Value": project}],
                    )
                    repository = _repository(answer["repository"])
                except self._client.exceptions.RepositoryAlreadyExistsException:
                    repository = self.find(name)
        if repository is None:
            raise ProvisionError(f"repository {name} vanished", hint="run the same command again")
        self._keep_tags(repository)
        self._let_lambda_pull(repository)
        return repository

    def delete(self, name: str) -> None:
        """Delete the repository with all its images; without one this does nothing."""
        with translated():
            try:
                self._client.delete_repository(repositoryName=name, force=True)
            except self._client.exceptions.RepositoryNotFoundException:
                return

    def credentials(self) -> Credentials:
        """Return fresh credentials for the account's registry."""
        with translated():
            data = self._client.get_authorization_token()["authorizationData"][0]
        token = base64.b64decode(data["authorizationToken"]).decode()
        username, _, password = token.partition(":")
        return Credentials(username, password, data["proxyEndpoint"].split("://", 1)[-1])

    def _keep_tags(self, repository: Repository) -> None:
        """Let the tags of artifacts move in a repository that an older fnmodel made."""
        if repository.mutability == "IMMUTABLE":
            with translated():
                self._client.put_image_tag_mutability(repositoryName=repository.name, **_TAGS)

    def _let_lambda_pull(self, repository: Repository) -> None:
        """Grant Lambda the pull.

        Lambda adds this itself only when whoever deploys may change repository policies; a role of
        CloudFormation's often may not.
        """
        statement = pull_statement(repository)
        policy: dict[str, Any] = {"Version": "2012-10-17", "Statement": []}
        with translated():
            try:
                answer = self._client.get_repository_policy(repositoryName=repository.name)
                policy = json.loads(answer["policyText"])
            except self._client.exceptions.RepositoryPolicyNotFoundException:
                pass  # a new repository has none
            if statement in policy["Statement"]:
                return
            # Statements of others, such as another account's pull, stay.
            others = [s for s in policy["Statement"] if s.get("Sid") != statement["Sid"]]
            self._client.set_repository_policy(
                repositoryName=repository.name,
                policyText=json.dumps({**policy, "Statement": [*others, statement]}),
            )


def ecr_region(host: str) -> str | None:
    """Return the region of a private ECR registry by its host; None when it is another registry.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
    """
    found = _ECR.fullmatch(host)
    return found[1] if found else None


def pull_statement(repository: Repository) -> dict[str, Any]:
    """Return the statement that lets Lambda pull, for functions of fnmodel in this account."""
    _, partition, _, region, account, _ = repository.arn.split(":", 5)
    functions = f"arn:{partition}:lambda:{region}:{account}:function:fnmodel-*"
    return {
        "Sid": "LambdaPulls",
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        "Condition": {"StringLike": {"aws:sourceArn": functions}},
    }


def _repository(data: Mapping[str, Any]) -> Repository:
    return Repository(
        data["repositoryName"],
        data["repositoryUri"],
        data["repositoryArn"],
        data.get("imageTagMutability", ""),
    )
