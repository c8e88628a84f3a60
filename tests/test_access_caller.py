"""How `invoke` says who is calling, and what `keys add` takes."""

import re
from datetime import UTC, datetime

import pytest

from fnmodel.aws import Cloud
from fnmodel.cli import endpoint
from fnmodel.cli.caller import caller
from fnmodel.cli.keys import moment
from fnmodel.errors import CredentialsError, UsageError

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t",
    "AWS_SESSION_TOKEN": "t0k3n", "AWS_REGION": "eu-west-1", "FNMODEL_API_KEY": "fnm_k3y",
    "FNMODEL_TOKEN": "j.w.t",
}  # fmt: skip


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set every secret that a caller may have."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    ("access", "sent", "shown"),
    [
        ("iam", "t0k3n", '--aws-sigv4 "aws:amz:eu-west-1:execute-api" --user "$AWS_ACCESS_KEY_ID:'),
        ("api_key", "fnm_k3y", '-H "x-api-key: $FNMODEL_API_KEY"'),
        ("jwt", "Bearer j.w.t", '-H "authorization: Bearer $FNMODEL_TOKEN"'),
        ("public", "application/json", "curl -s https://x.example/predict -H 'content-type"),
        (None, "application/json", "curl -s https://x.example/predict -H 'content-type"),
    ],
)
def test_the_curl_line_names_variables_and_no_secret(
    access: str | None, sent: str, shown: str
) -> None:
    """The request carries what the endpoint asks for; the line has the variable's name instead."""
    who = caller(access, Cloud())
    headers = who.headers("POST", "https://x.example/predict", b"{}")
    line = endpoint.curl("https://x.example/predict", {}, who)

    assert sent in headers.values()
    assert shown in line
    values = [value for name, value in SECRETS.items() if name != "AWS_REGION"]
    assert [value for value in values if value in line] == []


@pytest.mark.parametrize("value", ["", "  ", "…", "two\nlines", "a\tb", "\x7f"])
def test_a_variable_that_holds_no_key_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Empty, or what was printed in the place of a key: a usage error that does not repeat it."""
    monkeypatch.setenv("FNMODEL_API_KEY", value)
    with pytest.raises(UsageError, match="FNMODEL_API_KEY") as caught:
        caller("api_key", Cloud()).headers("POST", "https://x.example/", b"")

    assert "fnmodel keys add" in caught.value.hint
    assert not value.strip() or value not in caught.value.message


def test_a_signer_without_credentials_says_where_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 6, as every command without credentials."""
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(CredentialsError) as caught:
        caller("iam", Cloud(region="eu-west-1")).headers("POST", "https://x.example/", b"")
    assert caught.value.exit_code == 6


NOW = datetime(2027, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12h", 43_200), ("30d", 2_592_000), ("1w", 604_800), ("1y", 31_536_000),
     ("2027-01-02", 86_400), ("2027-01-01T06:00", 21_600), ("2027-01-01T06:00+02:00", 14_400)],
)  # fmt: skip
def test_an_expiry_is_a_span_or_a_date(text: str, seconds: int) -> None:
    """A date is its first moment, UTC."""
    assert moment(text, NOW) == NOW + seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "0d", "-1d", "1m", "2026-12-31", "99999y", "2027-13-01"]
)
def test_an_expiry_that_is_none_is_refused(text: str) -> None:
    """Also one that has passed."""
    with pytest.raises(UsageError, match=re.escape(f"--expires {text!r}")):
        moment(text, NOW)
