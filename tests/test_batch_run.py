"""Batch jobs on a bucket in memory: parts, bad rows, counts, repeats, kills, changed inputs."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from batch_cases import EVENT, HEADER, MODEL, Killed, bucket, results, start, table
from serve_cases import predictor, write_model

from fnmodel.batch.job import JobRequest
from fnmodel.batch.lines import CHUNK
from fnmodel.batch.run import run
from fnmodel.batch.work import Host
from fnmodel.errors import BatchError
from fnmodel.inference import Predictor
from fnmodel.model import Feature, Signature, Tensor
from fnmodel.testing.objects import InMemoryObjects


def test_scored_columns_follow_the_inputs_own() -> None:
    """Columns the model does not know pass through; a missing value may be left empty."""
    objects = bucket(a=HEADER + "x1,30,5.5,gold,2\nx2,31,,free,1.0\n")

    manifest = start(objects)

    assert table(objects, manifest["inputs"][0]["parts"][0]) == [
        ["id", "age", "income", "plan", "visits", "value"],
        ["x1", "30", "5.5", "gold", "2", "42.0"],
        ["x2", "31", "", "free", "1.0", "1032.0"],
    ]
    assert manifest["totals"] == {"rows": 2, "scored": 2, "errors": 0}
    assert manifest["errors"] == []


def test_classifier_columns_and_name_clashes() -> None:
    """A class has a probability column; an input column named label keeps its name."""
    objects = bucket(a="label,c,b,a\nyes,-0.5,2,1.5\n")

    manifest = start(objects, "classifier")

    header, row = table(objects, manifest["inputs"][0]["parts"][0])
    expected = predictor("classifier").predict([{"a": 1.5, "b": 2, "c": -0.5}])[0]
    assert header == [
        "label", "c", "b", "a", "predicted_label", "probability_no", "probability_yes"
    ]  # fmt: skip
    assert row[:5] == ["yes", "-0.5", "2", "1.5", "no"]
    assert [float(text) for text in row[5:]] == list(expected["probabilities"].values())


def test_manifest() -> None:
    """The manifest says what was scored, by which model, from which objects."""
    objects = bucket(b=HEADER + "1,1,1,free,1\n", a=HEADER + "1,1,1,free,x\n2,1,1,free,1\n")
    objects.contents["incoming/notes.txt"] = b"not a table"
    listed = {item.key: item.etag for item in objects.list("incoming/")}

    manifest = start(objects)

    folder = f"scored/nightly/20260312T060000Z-{manifest['run_id']}/"
    assert manifest == {
        "job": "nightly",
        "run_id": manifest["run_id"],
        "status": "succeeded",
        "scheduled_time": "2026-03-12T06:00:00Z",
        "started": "2026-03-14T06:00:00+00:00",
        "finished": "2026-03-15T06:00:00+00:00",
        "model": {"name": "churn", "version": "3", "digest": "sha256:0123"},
        "inputs": [
            {
                "key": "incoming/a.csv", "etag": listed["incoming/a.csv"],
                "bytes": len(objects.contents["incoming/a.csv"]),
                "rows": 2, "scored": 1, "errors": 1,
                "parts": [f"{folder}part-00000-000000000000.csv"],
            },
            {
                "key": "incoming/b.csv", "etag": listed["incoming/b.csv"],
                "bytes": len(objects.contents["incoming/b.csv"]),
                "rows": 1, "scored": 1, "errors": 0,
                "parts": [f"{folder}part-00001-000000000000.csv"],
            },
        ],
        "errors": [f"{folder}errors-00000-000000000000.csv"],
        "totals": {"rows": 3, "scored": 2, "errors": 1},
        "error_budget": 1,
    }  # fmt: skip
    assert json.loads(objects.contents[folder + "manifest.json"]) == manifest
    assert len(manifest["run_id"]) == 16


# What stands in the row, the column at fault, the reason.
POISON = {
    "not a number": ("1,x,1,gold,1", "age", "'x' is not a number"),
    "grouped digits": ("1,1_000,1,gold,1", "age", "'1_000' is not a number"),
    "NaN": ("1,nan,1,gold,1", "age", "nan is not a finite number"),
    "infinity": ("1,-Infinity,1,gold,1", "age", "-inf is not a finite number"),
    "overflow": ("1,1e39,1,gold,1", "age", "1e+39 is out of range for FP32"),
    "required": ("1,,1,gold,1", "age", "a value is required, got null"),
    "required text": ("1,1,1,,1", "plan", "a value is required, got null"),
    "fraction": ("1,1,1,gold,1.5", "visits", "expected an integer, got 1.5"),
    "over 64 bits": (
        "1,1,1,gold,9223372036854775808",
        "visits",
        "9223372036854775808 is out of range for INT64",
    ),
    "two signs": ("1,1,1,gold,--1", "visits", "'--1' is not a number"),
    "too few fields": ("1,1,1,gold", "", "has 4 fields, the header has 5"),
    "too many fields": ("1,1,1,gold,1,", "", "has 6 fields, the header has 5"),
    "open text after quotes": ('1,1,1,"gold"x,1', "", "not CSV: ',' expected after '\"'"),
    "not UTF-8": (b"1,1,1,g\xfcld,1", "", "not UTF-8"),
    "not UTF-8 in a foreign column": (b"\xff,1,1,gold,1", "", "not UTF-8"),
    "NUL": ("1,1,1,go\x00ld,1", "plan", "not a valid text"),
    "huge field": ("1,1,1," + "g" * 200_000 + ",1", "", "not CSV: field larger than field limit"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_row(name: str) -> None:
    """A bad row goes to the error file with line, column, reason and its bytes; others score."""
    text, column, reason = POISON[name]
    poison = text if isinstance(text, bytes) else text.encode()
    good = b"7,30,5.5,gold,2\n"
    objects = bucket(a=HEADER.encode() + good + poison + b"\r\n" + good)

    manifest = start(objects)

    part = table(objects, manifest["inputs"][0]["parts"][0])
    assert part[1:] == [["7", "30", "5.5", "gold", "2", "42.0"]] * 2
    assert manifest["totals"] == {"rows": 3, "scored": 2, "errors": 1}
    raw = objects.contents[manifest["errors"][0]].decode("utf-8", "surrogateescape")
    csv.field_size_limit(1 << 20)
    try:
        (entry,) = list(csv.reader(io.StringIO(raw, newline="")))[1:]
    finally:
        csv.field_size_limit(1 << 17)
    assert entry[:3] == ["incoming/a.csv", "3", column]
    assert entry[3].startswith(reason)
    assert entry[4].encode("utf-8", "surrogateescape") == poison


def test_line_without_end() -> None:
    """A line of megabytes is one bad row, kept in its beginning, and does not fill the memory."""
    objects = bucket(a=HEADER + "1," + "9" * 3_000_000 + "\n1,30,5.5,gold,2\n")

    manifest = start(objects)

    assert manifest["totals"] == {"rows": 2, "scored": 1, "errors": 1}
    (entry,) = table(objects, manifest["errors"][0])[1:]
    assert entry[3] == "a line is longer than 1,048,576 bytes"
    assert len(entry[4]) == 1024


def test_an_open_quote_costs_one_row() -> None:
    """A quote that is never closed spoils its own line; the thousands after it are scored."""
    good = "1,30,5.5,gold,2\n"
    objects = bucket(a=HEADER + good + '1,30,5.5,"gold,2\n' + good * 20_000)

    manifest = start(objects)

    assert manifest["totals"] == {"rows": 20_002, "scored": 20_001, "errors": 1}
    (entry,) = table(objects, manifest["errors"][0])[1:]
    assert entry[1] == "3"
    assert entry[4] == '1,30,5.5,"gold,2'


@pytest.mark.parametrize(
    ("content", "counts", "reason"),
    [
        (HEADER.replace("plan", "plam") + "1,1,1,gold,1\n", (1, 0, 1), "the header lacks 'plan'"),
        ("id\n1\n2\n", (2, 0, 2), "the header lacks 'age', 'plan', 'visits'"),
        (HEADER.replace("id", "age") + "1,1,1,gold,1\n", (1, 0, 1), "names column 'age' twice"),
        (HEADER, (0, 0, 0), None),
        (HEADER.rstrip(), (0, 0, 0), None),
        ("", (0, 0, 0), None),
        ("\n\n\r\n", (0, 0, 0), None),
        ("\ufeff" + HEADER + "\n\n1,1,1,gold,1", (1, 1, 0), None),
        (HEADER.replace("\n", "\r\n") + '1,1,1,"go,\r\n""ld",1\r\n', (1, 1, 0), None),
        (HEADER.replace(",income", "") + "1,1,gold,1\n", (1, 1, 0), None),
        (b"\xff" + HEADER.encode() + b"1,1,1,gold,1\n", (2, 0, 2), "not UTF-8"),
    ],
)
def test_whole_objects(
    content: str | bytes, counts: tuple[int, int, int], reason: str | None
) -> None:
    """Headers that do not fit make each row an error; empty objects and odd ends are fine."""
    objects = bucket(a=content)

    manifest = start(objects)

    assert tuple(manifest["totals"].values()) == counts
    if reason is None:
        assert manifest["errors"] == []
        return
    raw = objects.contents[manifest["errors"][0]].decode("utf-8", "surrogateescape")
    assert reason in raw


def many(rows: int, bad: Callable[[int], bool]) -> str:
    return HEADER + "".join(
        f"{n},{'x' if bad(n) else n % 90},,{'gold' if n % 3 else 'free'},{n % 7}\n"
        for n in range(rows)
    )


def test_counts_add_up_over_chunks() -> None:
    """In several chunks with bad rows in some, each row is in exactly one of the two files."""
    rows = 2 * CHUNK + 17
    objects = bucket(a=many(rows, lambda n: n % 997 == 5 or n >= rows - 3))

    manifest = start(objects)

    part = table(objects, manifest["inputs"][0]["parts"][0])[1:]
    errors = table(objects, manifest["errors"][0])[1:]
    ids = [row[0] for row in part]
    assert ids == sorted(ids, key=int)
    assert sorted([*map(int, ids), *(int(e[4].split(",")[0]) for e in errors)]) == list(range(rows))
    assert all(int(entry[1]) == int(entry[4].split(",")[0]) + 2 for entry in errors)
    assert manifest["totals"] == {"rows": rows, "scored": len(part), "errors": len(errors)}
    one = predictor("mixed").predict([{"age": 1, "plan": "gold", "visits": 1}])[0]["value"]
    assert float(part[1][-1]) == one


def test_gzip() -> None:
    """A .csv.gz object is read as its content."""
    plain, packed = bucket(a=many(50, lambda n: n == 7)), InMemoryObjects()
    packed.contents["incoming/a.csv.gz"] = gzip.compress(plain.contents["incoming/a.csv"])

    first, second = start(plain), start(packed)

    assert second["totals"] == first["totals"]
    part = packed.contents[second["inputs"][0]["parts"][0]]
    assert part == plain.contents[first["inputs"][0]["parts"][0]]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"no gzip at all"])
def test_broken_gzip(damage: Callable[[bytes], bytes]) -> None:
    """A gzip stream that breaks off fails the job, whatever its budget, with a manifest."""
    objects = InMemoryObjects()
    whole = gzip.compress(many(5000, lambda _: False).encode())
    objects.contents["incoming/a.csv.gz"] = damage(whole)

    with pytest.raises(BatchError, match="the gzip stream is broken"):
        start(objects)

    (manifest,) = [
        json.loads(v) for k, v in objects.contents.items() if k.endswith("manifest.json")
    ]
    assert manifest["status"] == "failed"
    assert manifest["totals"]["errors"] == 1


def test_no_inputs() -> None:
    """A prefix without tables gives a manifest of zero rows, and nothing else."""
    objects = InMemoryObjects()
    objects.contents["incoming/"] = b""

    manifest = start(objects)

    assert (manifest["status"], manifest["totals"]["rows"]) == ("succeeded", 0)
    assert [key.rpartition("/")[2] for key in results(objects)] == [
        "request.json", "manifest.json", "report.html"
    ]  # fmt: skip


def test_second_delivery_writes_nothing() -> None:
    """The same event again gets the first run's manifest, and no object is written."""
    objects = bucket(a=many(10, lambda n: n == 3))
    first = start(objects)
    before = dict(objects.contents)

    def refuse(operation: str, key: str) -> None:
        assert operation in ("list", "open"), f"{operation} {key}"

    objects.before = refuse
    second = start(objects)

    assert second == {**first, "already_done": True}
    assert objects.contents == before


@pytest.mark.parametrize(
    "change",
    [
        {"scheduled_time": "2026-03-13T06:00:00Z"},
        {"schedule_arn": "arn:aws:scheduler:eu-central-1:123456789012:schedule/default/other"},
    ],
)
def test_another_event_is_another_run(change: dict[str, str]) -> None:
    """Another time or schedule has an id and a folder of its own."""
    objects = bucket(a=many(3, lambda _: False))

    first, second = start(objects), start(objects, **change)

    assert "already_done" not in second
    assert first["run_id"] != second["run_id"]


def test_new_content_or_model_is_another_run() -> None:
    """The id covers keys, ETags and the model's digest."""
    request = JobRequest.from_event(EVENT)

    ids = {
        request.run_id(inputs, digest)
        for inputs in ([("a", "1")], [("a", "2")], [("b", "1")], [("a", "1"), ("b", "1")], [])
        for digest in ("sha256:1", "sha256:2")
    }

    assert len(ids) == 10


def test_the_same_time_in_another_offset_is_the_same_run() -> None:
    """Times are compared in UTC."""
    objects = bucket(a=many(3, lambda _: False))
    start(objects)

    assert start(objects, scheduled_time="2026-03-12T07:00:00+01:00")["already_done"]


def test_error_budget() -> None:
    """A share of bad rows over the budget fails the job, after everything was written."""
    objects = bucket(a=many(8, lambda n: n < 3))

    with pytest.raises(BatchError, match=r"3 of 8 rows are bad, the error budget is 25.00%"):
        start(objects, error_budget=0.25)

    names = [key.rpartition("/")[2] for key in results(objects)]
    assert names == [
        "request.json", "errors-00000-000000000000.csv", "part-00000-000000000000.csv",
        "00000-000000000000.json", "manifest.json", "report.html",
    ]  # fmt: skip
    before = dict(objects.contents)
    with pytest.raises(BatchError, match="3 of 8 rows are bad"):
        start(objects, error_budget=0.25)
    assert objects.contents == before


def test_error_budget_is_the_last_share_that_is_allowed() -> None:
    """Exactly the budget is no failure."""
    assert start(bucket(a=many(8, lambda n: n < 2)), error_budget=0.25)["status"] == "succeeded"


def writes(objects: InMemoryObjects) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    objects.before = lambda operation, key: seen.append((operation, key))
    start(objects)
    return [step for step in seen if step[0].startswith("put")]


def test_killed_at_each_write() -> None:
    """A run that ends before or after any write is repeated to the same bytes, one manifest."""
    contents = {"a": many(40, lambda n: n == 3), "b": many(7, lambda n: n == 6)}
    unbroken = bucket(**contents)
    steps = writes(unbroken)
    expected = results(unbroken)
    # The lease twice, the request, of each input a part, its errors and receipt; manifest, report.
    assert len(steps) == 2 * (2 + 1 + 3 + 3 + 2)

    for broken_step in steps:
        objects = bucket(**contents)

        def kill(operation: str, key: str, at: tuple[str, str] = broken_step) -> None:
            if (operation, key) == at:
                raise Killed

        objects.before = kill
        with pytest.raises(Killed):
            start(objects)
        complete = steps.index(broken_step) >= steps.index(
            next(step for step in steps if step[0] == "put done" and "manifest" in step[1])
        )
        assert complete == any(key.endswith("manifest.json") for key in objects.contents)
        objects.before = lambda *_: None
        start(objects)

        assert results(objects) == expected


def test_two_deliveries_at_once() -> None:
    """The slower of two runs of one event finds the faster one's manifest and returns it."""
    objects = bucket(a=many(5, lambda _: False))
    faster: list[dict[str, Any]] = []

    def race(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("manifest.json") and not faster:
            objects.before = lambda *_: None
            faster.append(start(objects))

    objects.before = race
    slower = start(objects)

    assert "already_done" not in faster[0]
    assert slower == {**faster[0], "already_done": True}


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_input_that_changes_meanwhile(how: str) -> None:
    """A run never mixes versions of an input: it ends with an error and without a manifest."""
    objects = bucket(a=many(3, lambda _: False), b=many(3, lambda _: False))

    def meddle(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("part-00000-000000000000.csv"):
            if how == "deleted":
                objects.contents.pop("incoming/b.csv", None)
            else:
                objects.contents["incoming/b.csv"] = b"other"

    objects.before = meddle
    with pytest.raises(BatchError, match=rf"incoming/b\.csv was {how} while the job ran"):
        start(objects)

    assert not any(key.endswith("manifest.json") for key in objects.contents)


def test_rows_that_the_graph_refuses(tmp_path: Any) -> None:
    """When the graph fails on some rows of a chunk, those are found and the others score."""
    from onnx import helper

    signature = Signature(
        task="regression",
        inputs=(Tensor("i", "INT64", (-1, 1)),),
        outputs=(Tensor("value", "FP32", (-1, 1)),),
        features=(Feature("i", "INT64", integral=True),),
    )
    nodes = [helper.make_node("Gather", ["steps", "i"], ["value"], axis=0)]
    folder = write_model(tmp_path / "m", signature, nodes, {"steps": _floats(10.0, 20.0, 30.0)})
    objects = bucket(a="i\n" + "".join(f"{n % 5}\n" for n in range(20)))

    manifest = run(
        JobRequest.from_event(EVENT | {"error_budget": 1}),
        objects,
        Predictor(folder, threads=1),
        model=MODEL,
        host=Host(clock=lambda: datetime.now(UTC)),
    )

    part = table(objects, manifest["inputs"][0]["parts"][0])[1:]
    errors = table(objects, manifest["errors"][0])[1:]
    assert part == [["0", "10.0"], ["1", "20.0"], ["2", "30.0"]] * 4
    assert [entry[4] for entry in errors] == ["3", "4"] * 4
    assert "the model refuses this input" in errors[0][3]
    assert ".cc" not in errors[0][3]


def _floats(*values: float) -> Any:
    import numpy as np

    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduled_time": "<aws.scheduler.scheduled-time>"}, "'scheduled_time' still holds"),
        ({"schedule_arn": "<aws.scheduler.schedule-arn>"}, "'schedule_arn' still holds"),
        ({"scheduled_time": "yesterday"}, "'scheduled_time' must be a time in ISO 8601"),
        ({"scheduled_time": "2026-03-12T06:00:00"}, "'scheduled_time' must name its offset"),
        ({"scheduled_time": 5}, "'scheduled_time' must be a string"),
        ({"error_budget": 1.5}, "'error_budget' must be a number from 0 to 1"),
        ({"error_budget": True}, "'error_budget' must be a number"),
        ({"error_budget": "0.1"}, "'error_budget' must be a number"),
        ({"job": "Nightly/../x"}, "'job' must be"),
        ({"input": "/incoming/"}, "'input' must be a prefix"),
        ({"input": "incoming"}, "'input' must be a prefix"),
        ({"output": "a/../b/"}, "'output' must be a prefix"),
        ({"output": "incoming/scored/"}, "lie inside each other"),
        ({"bucket": ""}, "'bucket' must not be empty"),
        ({"bucket": None}, "'bucket' must be a string"),
        ({"jobs": "x"}, "unknown key 'jobs'"),
        (
            {"job": 1, "input": 2, "extra": 3},
            "unknown key 'extra'; 'input' must be a string; 'job'",
        ),
    ],
)
def test_event_that_cannot_be_run(change: dict[str, Any], message: str) -> None:
    """An event is refused with all its problems before anything is read."""
    with pytest.raises(BatchError) as caught:
        JobRequest.from_event(EVENT | change)

    assert message in caught.value.message


def test_event_without_keys() -> None:
    """Each missing key is named."""
    with pytest.raises(BatchError) as caught:
        JobRequest.from_event({"fnmodel": "batch"})

    for name in EVENT.keys() - {"fnmodel"}:
        assert f"'{name}' is missing" in caught.value.message
