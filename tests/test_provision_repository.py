"""The image repository, on an emulator."""

import json

import pytest
from release_cases import Emulator

from fnmodel.errors import ProvisionError
from fnmodel.provision import bucket
from fnmodel.provision.repository import Repositories, ecr_region
from fnmodel.testing.answering import client_answered_by

pytest_plugins = ["release_emulator"]


def test_a_repository_is_made_once_with_tags_that_never_move(emulator: Emulator) -> None:
    """Only those of artifacts may grow. Repeated, `ensure` finds what it made; so does `delete`."""
    ecr = emulator.client("ecr")
    repositories = Repositories(ecr)
    assert repositories.find("fnmodel/churn") is None

    made = repositories.ensure("churn")

    assert made.name == "fnmodel/churn"
    assert made.uri == "000000000000.dkr.ecr.us-east-1.amazonaws.com/fnmodel/churn"
    assert repositories.ensure("churn") == made == repositories.find("fnmodel/churn")
    [seen] = ecr.describe_repositories(repositoryNames=[made.name])["repositories"]
    assert seen["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert seen["imageScanningConfiguration"]["scanOnPush"] is True
    repositories.delete(made.name)
    repositories.delete(made.name)
    assert repositories.find(made.name) is None


def test_lambda_may_pull_for_functions_of_this_account_only(emulator: Emulator) -> None:
    """The repository policy names the service and the account's functions."""
    ecr = emulator.client("ecr")
    repositories = Repositories(ecr)
    made = repositories.ensure("pulled")

    policy = json.loads(ecr.get_repository_policy(repositoryName=made.name)["policyText"])

    [statement] = policy["Statement"]
    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert statement["Condition"] == {
        "StringLike": {"aws:sourceArn": "arn:aws:lambda:us-east-1:000000000000:function:fnmodel-*"}
    }
    repositories.delete(made.name)


def test_ensuring_again_changes_nothing(emulator: Emulator) -> None:
    """An unchanged project makes no mutating call."""
    ecr = emulator.cloud.client("ecr")
    Repositories(ecr).ensure("quiet")
    called: list[str] = []
    ecr.meta.events.register("before-call.ecr", lambda model, **_: called.append(model.name))

    Repositories(ecr).ensure("quiet")

    assert called == ["DescribeRepositories", "GetRepositoryPolicy"]
    Repositories(ecr).delete("fnmodel/quiet")


def test_a_repository_of_an_older_release_is_brought_up_to_date(emulator: Emulator) -> None:
    """One whose tags may not move at all would refuse a second signature; the mend is made once."""
    ecr = emulator.client("ecr")
    ecr.create_repository(repositoryName="fnmodel/older", imageTagMutability="IMMUTABLE")
    asked: list[dict[str, object]] = []
    ecr.meta.events.register(
        "provide-client-params.ecr.PutImageTagMutability", lambda params, **_: asked.append(params)
    )

    for _ in range(2):
        Repositories(ecr).ensure("older")

    [request] = asked
    assert request["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert request["imageTagMutabilityExclusionFilters"] == [
        {"filterType": "WILDCARD", "filter": "sha256-*"}
    ]
    Repositories(ecr).delete("fnmodel/older")


def test_credentials_are_the_registry_s_and_do_not_print(emulator: Emulator) -> None:
    """User, password and host come from GetAuthorizationToken; `repr` hides them."""
    login = Repositories(emulator.client("ecr")).credentials()

    assert (login.username, login.host) == ("AWS", "000000000000.dkr.ecr.us-east-1.amazonaws.com")
    assert login.password
    assert login.password not in repr(login)


def test_an_object_that_cannot_be_deleted_is_named() -> None:
    """Emptying stops with the object and S3's reason instead of trying for ever."""

    def locked(operation: str, asked: object) -> dict[str, object]:
        if operation == "ListObjectVersions":
            return {"Versions": [{"Key": "audit/1", "VersionId": "v"}]}
        return {"Errors": [{"Key": "audit/1", "Code": "AccessDenied", "Message": "Access Denied"}]}

    with pytest.raises(ProvisionError, match=r"s3://kept/audit/1 .*Access Denied"):
        bucket.empty(client_answered_by("s3", locked), "kept")


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "eu-central-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("123456789012.dkr-ecr.us-east-1.on.aws", "us-east-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("registry.example", None),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.example", None),
        ("localhost:5000", None),
    ],
)
def test_a_private_registry_of_ecr_is_known_by_its_host(host: str, region: str | None) -> None:
    """Its region is asked for credentials; nobody else's host gets them."""
    assert ecr_region(host) == region
