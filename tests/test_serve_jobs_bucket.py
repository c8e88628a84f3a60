"""What S3 is asked to sign for callers: the signature and the host that a bucket of today takes."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from fnmodel.serve.jobs.bucket import Bucket


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign with keys of nobody, as a function's role has them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


def bucket(monkeypatch: pytest.MonkeyPatch, region: str) -> Bucket:
    """Return a bucket of a region."""
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    return Bucket("rows")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "eu-central-1"])
def test_signatures(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 4 in every region: new buckets and KMS take no other; the host is the region's."""
    store = bucket(monkeypatch, region)
    link, form = store.link("jobs/a/part.csv", 900), store.form("jobs/a/in", "text/csv", 7, 3600)

    for url in (link, form["url"]):
        host = urlsplit(url).hostname or ""
        assert host.startswith("rows.s3.")
        assert region in host or region == "us-east-1"
    asked = parse_qs(urlsplit(link).query)
    assert asked["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert asked["X-Amz-Expires"] == ["900"]
    assert form["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    assert form["fields"]["x-amz-security-token"] == "token"


def test_what_a_form_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key, one type, so many bytes: S3 refuses all else."""
    form = bucket(monkeypatch, "eu-west-1").form("jobs/a/in", "text/csv", 7, 3600)
    conditions = json.loads(base64.b64decode(form["fields"]["policy"]))["conditions"]

    assert {"key": "jobs/a/in"} in conditions
    assert {"Content-Type": "text/csv"} in conditions
    assert {"bucket": "rows"} in conditions
    assert ["content-length-range", 1, 7] in conditions


def test_the_embedded_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a bucket is a path of the one host."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    store = bucket(monkeypatch, "us-east-1")

    assert store.form("k", "text/csv", 7, 60)["url"] == "http://127.0.0.1:4566/rows"
    assert store.link("k", 60).startswith("http://127.0.0.1:4566/rows/k?")
