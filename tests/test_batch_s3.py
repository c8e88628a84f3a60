"""The S3 adapter and the batch handler against moto, and one contract for every object store."""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws
from serve_cases import EVENTS, model_folder

from fnmodel.batch.objects import ObjectStore, S3Objects
from fnmodel.errors import AwsError, BatchError
from fnmodel.testing.objects import InMemoryObjects

BUCKET = "fnmodel-churn-dev"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()


STORES: dict[str, Callable[[Any], ObjectStore]] = {
    "memory": lambda _: InMemoryObjects(),
    "s3": lambda client: S3Objects(client, BUCKET),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, s3: Any) -> ObjectStore:
    return STORES[request.param](s3)


def test_lists_in_order_of_keys(store: ObjectStore) -> None:
    """Keys below the prefix come in the order of their bytes, with sizes."""
    for key in ("in/é.csv", "in/b c+.csv", "in/Z.csv", "other/a.csv", "in/a.csv"):
        store.put(key, key.encode())

    listed = store.list("in/")

    assert [item.key for item in listed] == ["in/Z.csv", "in/a.csv", "in/b c+.csv", "in/é.csv"]
    assert [item.size for item in listed] == [len(item.key.encode()) for item in listed]
    assert store.list("nothing/") == []


def test_reads_what_was_listed(store: ObjectStore) -> None:
    """Content is read in pieces, then as the rest, then as nothing."""
    store.put("in/a.csv", io.BytesIO(b"0123456789"))
    (item,) = store.list("in/")

    stream = store.open(item.key, item.etag)

    assert [stream.read(4), stream.read(), stream.read(4)] == [b"0123", b"456789", b""]


def test_replaced_and_deleted_objects(store: ObjectStore) -> None:
    """An ETag that is no longer the object's, or an object that is gone, is a named error."""
    store.put("in/a.csv", b"old")
    (item,) = store.list("in/")
    store.put("in/a.csv", b"new")

    with pytest.raises(BatchError, match=r"in/a\.csv was replaced while the job ran"):
        store.open(item.key, item.etag)
    with pytest.raises(BatchError, match=r"in/b\.csv was deleted while the job ran"):
        store.open("in/b.csv", item.etag)


def test_writes_once(store: ObjectStore) -> None:
    """A conditional write succeeds once; what stands there stays."""
    outcomes = [store.put("m.json", body, if_none_match=True) for body in (b"first", b"second")]

    (item,) = store.list("m.json")
    assert outcomes == [True, False]
    assert store.open(item.key, item.etag).read() == b"first"


def test_missing_and_impossible_buckets(s3: Any) -> None:
    """Errors of S3 become errors of ours."""
    with pytest.raises(BatchError, match="there is no bucket 'nowhere'"):
        S3Objects(s3, "nowhere").list("in/")
    with pytest.raises(AwsError):
        S3Objects(s3, "not a bucket!").put("key", b"")


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch, s3: Any) -> Callable[..., dict[str, Any]]:
    """Return the function's batch side, for the bucket of moto."""
    monkeypatch.setenv("FNMODEL_MODEL_DIR", str(model_folder("mixed")))
    monkeypatch.setenv("FNMODEL_MODEL_NAME", "churn")
    from fnmodel.serve.boot import open_models
    from handlers.batch import run_batch

    return lambda event, context=None: run_batch(event, context, open_models(os.environ, "1"))


EVENT = json.loads((EVENTS / "batch.json").read_bytes())
GOOD = "id,age,income,plan,visits\nx,30,5.5,gold,2\ny,bad,5.5,gold,2\nz,1,,free,1\nw,1,1,free,1\n"


def test_batch_event(
    handle: Any,
    s3: Any,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The schedule's event scores the bucket once; the log has a line an object, and metrics."""
    s3.put_object(Bucket=BUCKET, Key="incoming/a b+é.csv", Body=GOOD.encode())

    manifest = handle(EVENT)
    again = handle(EVENT)

    assert manifest["totals"] == {"rows": 4, "scored": 3, "errors": 1}
    assert manifest["model"]["digest"].startswith("sha256:")
    assert again == {**manifest, "already_done": True}
    part = s3.get_object(Bucket=BUCKET, Key=manifest["inputs"][0]["parts"][0])["Body"].read()
    assert part.decode().splitlines()[1:] == [
        "x,30,5.5,gold,2,42.0", "z,1,,free,1,1002.0", "w,1,1,free,1,2.0"
    ]  # fmt: skip
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    folder = f"scored/nightly/20260312T060000Z-{manifest['run_id']}/"
    assert [key.removeprefix(folder) for key in keys] == [
        "incoming/a b+é.csv", "errors-00000-000000000000.csv", "manifest.json",
        "part-00000-000000000000.csv", "receipts/00000-000000000000.json", "report.html",
        "request.json", "scored/nightly/lease.json",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    metrics = [json.loads(line) for line in lines if '"_aws"' in line]
    assert [(line["job"], line["rows"], line["errors"]) for line in metrics] == [
        ("nightly", [4.0], [1.0])
    ]
    assert caplog.messages == ["scored", "finished", "finished"]


def test_batch_event_over_its_budget(handle: Any, s3: Any) -> None:
    """A failed job fails the invocation, each time it is delivered, with its manifest written."""
    s3.put_object(Bucket=BUCKET, Key="incoming/a.csv", Body=GOOD.encode())

    for _ in range(2):
        with pytest.raises(BatchError, match="1 of 4 rows are bad"):
            handle(EVENT | {"error_budget": 0.1})

    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="scored/")["Contents"]
    (key,) = [item["Key"] for item in listed if item["Key"].endswith("manifest.json")]
    manifest = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert manifest["status"] == "failed"


def test_a_job_names_its_model(
    handle: Any, s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of several models the one that the event names scores, else the first one."""
    for name in ("mixed", "regressor"):
        shutil.copytree(model_folder(name), tmp_path / name)
    monkeypatch.setenv("FNMODEL_MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("FNMODEL_MODELS", "regressor,mixed")
    s3.put_object(Bucket=BUCKET, Key="incoming/a.csv", Body=GOOD.encode())

    named = handle(EVENT | {"model": "mixed"})
    first = handle(EVENT | {"error_budget": 1})

    assert named["model"]["name"] == "mixed"
    assert named["totals"]["scored"] == 3
    assert first["model"]["name"] == "regressor"
    assert first["model"]["digest"] != named["model"]["digest"]
    for model, words in (("nobody", "there is no such model"), ("", "must not be empty")):
        with pytest.raises(BatchError, match=words):
            handle(EVENT | {"model": model})


def test_large_part_goes_through_a_file(handle: Any, s3: Any) -> None:
    """An input of 20,000 rows (10 MB scored) arrives whole."""
    rows = 20_000
    body = "age,plan,visits,note\n" + f"1,gold,1,{'a' * 500}\n" * rows
    s3.put_object(Bucket=BUCKET, Key="incoming/a.csv", Body=body.encode())

    manifest = handle(EVENT)

    assert manifest["totals"] == {"rows": rows, "scored": rows, "errors": 0}
    answer = s3.get_object(Bucket=BUCKET, Key=manifest["inputs"][0]["parts"][0])
    part = answer["Body"].read()
    assert len(part) > 8 << 20
    assert part.count(b",1012.0\n") == rows


def test_ranges(store: ObjectStore) -> None:
    """A range is read of the content that was listed, and shorter at its end."""
    store.put("in/a", b"0123456789")
    (item,) = store.list("in/")

    assert store.range(item.key, item.etag, 2, 3) == b"234"
    assert store.range(item.key, item.etag, 8, 5) == b"89"
    store.put("in/a", b"other")
    with pytest.raises(BatchError, match="in/a was replaced"):
        store.range(item.key, item.etag, 0, 3)


def test_writes_over_what_was_read(store: ObjectStore) -> None:
    """With `if_match`, only the content that the writer knows is replaced."""
    store.put("a", b"1")
    (first,) = store.list("a")

    assert store.put("a", b"2", if_match=first.etag)
    assert not store.put("a", b"3", if_match=first.etag)
    (second,) = store.list("a")
    assert store.open("a", second.etag).read() == b"2"
    assert not store.put("b", b"3", if_match=first.etag)
    assert store.list("b") == []


WIDE = {"fanout": {"objects": 0, "bytes": 0, "slice_bytes": 1000}}
CONTEXT = SimpleNamespace(
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:fnmodel-churn-dev:live",
    function_version="7",
    function_name="fnmodel-churn-dev",
    get_remaining_time_in_millis=lambda: 12_000,  # too few to wait for another run
)


def test_a_machine_that_cannot_be_started(handle: Any, s3: Any) -> None:
    """A run that does not begin keeps no other from beginning; with its machine, both do."""
    s3.put_object(Bucket=BUCKET, Key="incoming/a.csv", Body=GOOD.encode())
    later = EVENT | WIDE | {"scheduled_time": "2031-01-01T03:00:00Z"}
    for event in (EVENT | WIDE, later):
        with pytest.raises(AwsError, match="StateMachineDoesNotExist"):
            handle(event, CONTEXT)

    machine = boto3.client("stepfunctions").create_state_machine(
        name="fnmodel-churn-dev", definition=json.dumps(PASSES), roleArn=ROLE
    )["stateMachineArn"]
    started = handle(later, CONTEXT)
    assert started["execution"].startswith(machine.replace(":stateMachine:", ":execution:"))
    assert started["status"] == "running"


PASSES = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
ROLE = "arn:aws:iam::123456789012:role/fanout"
