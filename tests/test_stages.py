"""Stages in accounts and regions of their own: whose credentials are used, and whose refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from fnmodel.cli.workspace import Workspace
from fnmodel.config import load
from fnmodel.errors import ConfigError, WrongAccountError

OWN, OTHER = "123456789012", "210987654321"
STAGES = f"""
name: churn
model: model.joblib
stages:
  staging: {{account: "{OWN}", region: eu-west-1}}
  production:
    account: "{OTHER}"
    region: us-east-1
    role: arn:aws:iam::{OTHER}:role/deploys
  wrong: {{account: "{OTHER}"}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "model.joblib").touch()
    (tmp_path / "fnmodel.yaml").write_text(STAGES)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield tmp_path


def test_each_stage_works_in_its_own_account_and_region(folder: Path) -> None:
    """One by the environment's own credentials, the other by a role that is assumed with them."""
    staging, production = (Workspace(folder, stage=name) for name in ("staging", "production"))

    for work, account, region in (
        (staging, OWN, "eu-west-1"),
        (production, OTHER, "us-east-1"),
    ):
        identity = work.client("sts").get_caller_identity()
        uri = work.repository_uri()

        assert identity["Account"] == account
        assert work.client("lambda").meta.region_name == region
        assert uri == f"{account}.dkr.ecr.{region}.amazonaws.com/fnmodel/churn"
    assert ":assumed-role/deploys/fnmodel" in production.client("sts").get_caller_identity()["Arn"]


def test_stages_of_two_accounts_see_nothing_of_each_other(folder: Path) -> None:
    """The same names in both: what one makes, the other does not have."""
    staging, production = (Workspace(folder, stage=name) for name in ("staging", "production"))

    staging.repositories.ensure("churn")

    assert staging.repositories.find("fnmodel/churn") is not None
    assert production.repositories.find("fnmodel/churn") is None


def test_another_account_is_refused_before_any_call_to_it(folder: Path) -> None:
    """Exit 6, both accounts are named, and only the question who one is was asked."""
    with pytest.raises(WrongAccountError, match=f"{OTHER}.*{OWN}") as caught:
        _ = Workspace(folder, stage="wrong").stacks

    assert caught.value.exit_code == 6
    assert "profile" in caught.value.hint


def test_the_option_wins_over_the_stage_and_the_stage_over_the_environment(folder: Path) -> None:
    """--region, then the stage's own, then AWS_REGION."""
    asked = Workspace(folder, stage="staging", region="eu-north-1")

    assert asked.cloud.region_name == "eu-north-1"
    assert Workspace(folder, stage="staging").cloud.region_name == "eu-west-1"
    assert Workspace(folder, stage="dev").cloud.region_name == "ap-south-1"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (f'{{cloud: local, account: "{OWN}"}}', "`account` is AWS's"),
        ("{cloud: local, region: eu-west-1}", "`region` is AWS's"),
        (f'{{account: "{OWN}", role: "arn:aws:iam::{OTHER}:role/x"}}', "is not in account"),
        ('{account: "12345"}', "account"),
        ("{role: admin}", "role"),
    ],
)
def test_a_stage_that_contradicts_itself_is_refused(
    folder: Path, settings: str, problem: str
) -> None:
    """With the line of fnmodel.yaml, before anything is asked."""
    (folder / "fnmodel.yaml").write_text(
        f"name: churn\nmodel: model.joblib\nstages:\n  odd: {settings}\n"
    )

    with pytest.raises(ConfigError, match=problem):
        load(folder / "fnmodel.yaml")


def test_a_stage_may_capture_differently(folder: Path) -> None:
    """What a stage says of `capture` is instead of the project's, in its stack's parameters too."""
    (folder / "fnmodel.yaml").write_text(
        "name: churn\nmodel: model.joblib\ncapture: {rate: 0.1, retention: 7}\n"
        "stages: {production: {capture: {rate: 0.5, retention: 90}}, staging: {}}\n"
    )

    production, staging = (Workspace(folder, stage=name) for name in ("production", "staging"))

    assert (production.capture.rate, production.capture.retention) == (0.5, 90)
    assert (staging.capture.rate, staging.capture.retention) == (0.1, 7)
