"""A trend of a stage is made of the windows that its watch has stored, and of rows for the rest."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
import watch_cases as cases
from moto import mock_aws

from fnmodel.capture.line import PREFIX
from fnmodel.cli.console import Console, Output
from fnmodel.cli.gathered import Sources, gathered
from fnmodel.model import SIGNATURE
from fnmodel.profile import REFERENCE, reference_digest
from fnmodel.watch import records
from fnmodel.watch.bucket import S3Store
from fnmodel.watch.records import Record
from fnmodel.watch.rows import read
from fnmodel.watch.windows import windows

BUCKET, ENDPOINT = "bucket", "fnmodel-churn-prod"
OLD, BOTH, FRESH, OTHER = (f"2026-11-27T{hour:02}" for hour in (5, 6, 7, 8))
PROFILE = cases.trained(cases.world(np.random.default_rng(0), 1000))


def rows(hour: str, count: int, version: str = "3") -> list[bytes]:
    columns = cases.world(np.random.default_rng(2), count)
    # Requests of two versions have ids of their own.
    return cases.lines(columns, hour=hour, version=version, start=1000 * int(version))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    (tmp_path / REFERENCE).write_text(json.dumps(PROFILE.to_json()))
    (tmp_path / SIGNATURE).write_text(json.dumps(cases.SIGNATURE.to_json()))
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield SimpleNamespace(
            console=Console(Output.json),
            project=SimpleNamespace(models={}, model_name=lambda _name: "churn"),
            capture=SimpleNamespace(fields={}, subject=None),
            stack=SimpleNamespace(outputs={"Bucket": BUCKET}),
            name=ENDPOINT,
            folder=tmp_path,
            client=lambda _service: client,
        )


def capture(work: Any, hour: str, lines: list[bytes]) -> None:
    folder = hour.replace("-", "/").replace("T", "/")
    key = f"{PREFIX}{ENDPOINT}/live/{folder}/part-1"
    work.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"".join(lines))


def store(work: Any, hour: str, lines: list[bytes], digest: str) -> None:
    kept = S3Store(work.client("s3"), BUCKET)
    found = windows(read(lines).rows, PROFILE, cases.SIGNATURE)
    key, small = records.keep_windows(kept, "churn", hour, found)
    made = Record("churn", hour, digest, "2026-11-27T09:16:00+00:00", small=small, profile=key)
    kept.put_once(records.record_key("churn", hour), made.to_bytes())


def test_stored_windows_come_first_and_rows_fill_what_is_missing(work: Any) -> None:
    """Windows outlive their rows, are not counted twice, and those of other bins are not used."""
    digest = reference_digest(work.folder)
    store(work, OLD, rows(OLD, 40), digest)
    store(work, BOTH, rows(BOTH, 50) + rows(BOTH, 3, "4"), digest)
    capture(work, BOTH, rows(BOTH, 50) + rows(BOTH, 3, "4"))
    capture(work, FRESH, rows(FRESH, 60))
    store(work, OTHER, rows(OTHER, 99), "other bins")
    capture(work, OTHER, rows(OTHER, 70))
    asked = Sources(
        since="2026-11-27T05:00", until="2026-11-27T09:00", baseline="1d", folder=work.folder
    )

    found = gathered(work, asked)

    assert {(key.hour, key.version): one.profile.rows for key, one in found.windows.items()} == {
        (OLD, "3"): 40, (BOTH, "3"): 50, (BOTH, "4"): 3, (FRESH, "3"): 60, (OTHER, "3"): 70,
    }  # fmt: skip
    assert found.evidence is not None
