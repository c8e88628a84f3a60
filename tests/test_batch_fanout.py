"""A run spread over many invocations writes what one invocation would have, whatever is killed."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from batch_cases import EVENT, HEADER, MODEL, Killed, holding, results, start
from serve_cases import predictor
from test_batch_formats import written

from fnmodel.batch import fanout
from fnmodel.batch.fanout import Started, Steps
from fnmodel.batch.job import JobRequest
from fnmodel.batch.receipt import receipts
from fnmodel.batch.run import listed
from fnmodel.batch.slices import CHUNKS, Mark, cut, fans_out, grid, items
from fnmodel.batch.work import Host
from fnmodel.errors import BatchError, UnfinishedError
from fnmodel.testing.objects import InMemoryObjects

NOW = datetime(2026, 3, 12, 6, tzinfo=UTC)
FIXED = Host(clock=lambda: NOW)
CHUNK = CHUNKS["csv"]
SMALL = {"objects": 0, "bytes": 0, "slice_bytes": 1000}


def fan_out(
    objects: InMemoryObjects,
    *,
    host: Host = FIXED,
    failing: Callable[[dict[str, Any]], bool] = lambda item: False,  # noqa: ARG005
    **event: Any,
) -> dict[str, Any]:
    """Run a job as the state machine does, one invocation after the other, in an odd order."""
    event = {"error_budget": 1, "fanout": SMALL, "part_rows": CHUNK} | event
    request = JobRequest.from_event(EVENT | event)
    started = fanout.start(request, objects, listed(request, objects), MODEL, host)
    if not isinstance(started, Started):
        return started
    steps = Steps(request, started.run_id, objects, host)
    for todo in stored(objects, started.folder, "to-mark"):
        steps.mark(todo)
    count = steps.plan()["items"]
    plan = stored(objects, started.folder, "plan")
    assert len(plan) == count
    for item in reversed(plan):
        if not failing(item):
            steps.score(item, predictor("mixed"))
    return steps.finish(MODEL)


def stored(objects: InMemoryObjects, folder: str, name: str) -> Any:
    return json.loads(objects.contents[f"{folder}fanout/{name}.json"])


def compared(objects: InMemoryObjects) -> dict[str, bytes]:
    """Return what a run wrote for others to read: all but the event and what only it needs."""
    return {
        key: body
        for key, body in results(objects).items()
        if "/fanout/" not in key and not key.endswith("request.json")
    }


def odd_csv(rows: int) -> bytes:
    """Return a table with all that a record can be: quotes, line breaks, blank lines, junk."""
    draw = random.Random(7)
    lines = ["\ufeff" + HEADER]
    for n in range(rows):
        kind = draw.random()
        if kind < 0.002:
            lines.append(f'{n},"stray,1,gold,{n % 7}\n')
        elif kind < 0.01:
            lines.append("\r\n" if kind < 0.005 else f"{n},1\n")
        elif kind < 0.02:
            lines.append(f'{n},{n % 90},,"go\nld",{n % 7}\r\n')
        elif kind < 0.03:
            lines.append(f"{n},x,,gold,{n % 7}\n")
        else:
            lines.append(f"{n},{n % 90},,gold,{n % 7}\n")
    text = "".join(lines).encode()
    return text[: len(text) // 2] + b"\xff\xfe,1,2,3,4\n" + text[len(text) // 2 :]


def odd_jsonl(rows: int) -> bytes:
    draw = random.Random(7)
    lines = [json.dumps({"id": 0, "age": 1.0, "plan": "gold", "visits": 2})]
    for n in range(1, rows):
        kind = draw.random()
        if kind < 0.01:
            lines.append("" if kind < 0.005 else "{broken")
        elif kind < 0.012:
            lines.append("x" * 1_100_000 if kind < 0.0101 else "[1]")
        else:
            lines.append(json.dumps({"id": n, "age": float(n % 90), "plan": "göld", "visits": n}))
    return "\n".join(lines).encode()


def rows_of(count: int) -> list[dict[str, Any]]:
    return [
        {"id": n, "age": None if n % 97 == 5 else float(n % 90), "plan": "gold", "visits": n % 7}
        for n in range(count)
    ]


def small_groups(count: int) -> bytes:
    """Return a Parquet file whose row groups end where no chunk does."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows_of(count)), file, row_group_size=3_001)
    return file.getvalue()


CASES: dict[str, Callable[[], tuple[dict[str, bytes], dict[str, Any]]]] = {
    "csv": lambda: ({"a.csv": odd_csv(23_000), "b.csv": odd_csv(300), "c.csv": b""}, {}),
    "wide parts": lambda: ({"a.csv": odd_csv(23_000)}, {"part_rows": 2 * CHUNK + 1}),
    "jsonl": lambda: ({"a.jsonl": odd_jsonl(17_000)}, {"format": "jsonl"}),
    "parquet": lambda: ({"a.parquet": small_groups(21_000)}, {"format": "parquet"}),
    "parquet to csv": lambda: (
        {"a.parquet": small_groups(21_000), "b.parquet": small_groups(10)},
        {"format": "parquet", "results": "csv"},
    ),
    "one row group": lambda: ({"a.parquet": written(rows_of(9000), "parquet")},
                              {"format": "parquet"}),
    "arrow": lambda: ({"a.arrow": written(rows_of(13_000), "arrow")}, {"format": "arrow"}),
    "gzip": lambda: ({"a.csv.gz": gzip.compress(odd_csv(12_000), mtime=0)}, {}),
    "broken gzip": lambda: ({"a.csv.gz": gzip.compress(odd_csv(12_000), mtime=0)[:-4]}, {}),
    "not Parquet": lambda: ({"a.parquet": b"x" * 2000}, {"format": "parquet"}),
    "killed csv": lambda: ({"a.csv": odd_csv(10_200)}, {}),
    "killed parquet": lambda: ({"a.parquet": small_groups(8_300)}, {"format": "parquet"}),
    "no header": lambda: ({"a.csv": b'"' + b"x" * 5000, "b.csv": odd_csv(20)}, {}),
}  # fmt: skip


def case(name: str) -> tuple[InMemoryObjects, dict[str, Any]]:
    contents, event = CASES[name]()
    return holding(**{f"incoming/{key}": body for key, body in contents.items()}), event


@contextmanager
def failing_alike() -> Iterator[None]:
    """Let a run fail: its manifest says so, and is compared."""
    try:
        yield
    except BatchError as error:
        assert "failed" in error.message  # noqa: PT017


@pytest.mark.parametrize("name", CASES)
def test_many_invocations_write_what_one_does(name: str) -> None:
    """Parts, bad rows, receipts, manifest and page are the same bytes, in whatever order."""
    one, event = case(name)
    many, _ = case(name)
    with failing_alike():
        start(one, host=FIXED, **({"part_rows": CHUNK} | event))
    with failing_alike():
        fan_out(many, **event)

    assert compared(many) == compared(one)
    assert any(key.endswith("manifest.json") for key in compared(one))


def test_a_large_input_is_cut() -> None:
    """The inputs of the test above are read by several invocations, not by one."""
    for name, least in (("csv", 4), ("jsonl", 3), ("parquet", 3), ("one row group", 2)):
        objects, event = case(name)
        fan_out(objects, **event)
        [folder] = {key.partition("fanout/")[0] for key in objects.contents if "/fanout/" in key}
        assert len(stored(objects, folder, "plan")) >= least, name


@pytest.mark.parametrize("name", ["killed csv", "killed parquet"])
def test_killed_at_every_call(name: str) -> None:
    """A run that ends at any call goes on to the same bytes, and scores no part again."""
    unbroken, event = case(name)
    fan_out(unbroken, **event)
    expected = compared(unbroken)
    calls: list[str] = []
    counted, _ = case(name)
    counted.before = lambda operation, key: calls.append(f"{operation} {key}")
    fan_out(counted, **event)

    for number in range(len(calls)):
        objects, _ = case(name)
        left = [number]

        def kill(operation: str, key: str, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1

        objects.before = kill
        with pytest.raises(Killed):
            fan_out(objects, **event)
        receipts = [key for key in objects.contents if "/receipts/" in key]
        again: list[str] = []
        objects.before = lambda operation, key, again=again: again.append(f"{operation} {key}")
        fan_out(objects, **event)

        assert compared(objects) == expected, calls[number]
        scored = [one for one in again if one.startswith("put scored/") and "/part-" in one]
        parts = [key for key in expected if "/part-" in key]
        assert len(scored) <= len(parts) - len(receipts)


def test_one_invocation_goes_on_with_a_run_that_fanned_out() -> None:
    """Receipts of both ways are the same, so that each goes on where the other stopped."""
    expected, _ = case("csv")
    start(expected, host=FIXED, part_rows=CHUNK)
    objects, _ = case("csv")
    with pytest.raises(BatchError):
        fan_out(
            objects,
            failing=lambda item: item["slices"][0]["start"]["row"] == CHUNK,
            error_budget=0.0,
        )
    start(objects, host=FIXED, part_rows=CHUNK, error_budget=0.9)

    parts = {key: body for key, body in compared(expected).items() if "/part-" in key}
    assert parts == {key: body for key, body in compared(objects).items() if "/part-" in key}


def test_a_slice_that_fails_stops_no_other() -> None:
    """Over the budget there is no manifest; a retry does what is missing, and nothing else."""
    objects, _ = case("csv")
    poison = lambda item: item["slices"][0]["start"]["row"] == CHUNK  # noqa: E731

    with pytest.raises(BatchError, match=r"1 slices could not be scored: incoming/a.csv from row"):
        fan_out(objects, failing=poison, error_budget=0.2)
    assert not any(key.endswith("manifest.json") for key in objects.contents)
    before = {key for key in objects.contents if "/part-" in key}
    puts: list[str] = []
    objects.before = lambda operation, key: puts.append(key) if operation == "put" else None
    manifest = fan_out(objects, error_budget=0.2)

    assert manifest["status"] == "succeeded"
    assert len([key for key in puts if "/part-" in key]) == 1
    assert not before & set(puts)


def test_what_is_lost_counts_as_bad_rows() -> None:
    """Within the budget the run succeeds; no row is lost from its counts, and a file names them."""
    objects, _ = case("csv")
    whole, _ = case("csv")
    rows = fan_out(whole)["totals"]["rows"]

    manifest = fan_out(
        objects, failing=lambda item: item["slices"][0]["start"]["row"] == CHUNK, error_budget=0.5
    )

    assert manifest["totals"]["rows"] == rows
    assert manifest["totals"]["errors"] > CHUNK
    [key] = [key for key in manifest["errors"] if key.endswith(f"{CHUNK:012d}.csv")]
    assert b"5000 rows from here on could not be scored" in objects.contents[key]


def test_marks_go_on_where_time_ran_out() -> None:
    """An input too large to be read in one invocation is marked in several."""
    objects, _ = case("csv")
    looks = 0

    def remaining() -> float:
        nonlocal looks
        looks += 1
        return 0.0 if looks in (3, 6) else 99.0

    host = Host(clock=lambda: NOW, remaining=remaining)
    expected, _ = case("csv")
    fan_out(expected)
    for _ in range(2):
        with pytest.raises(UnfinishedError):
            fan_out(objects, host=host)
    fan_out(objects, host=host)

    assert compared(objects) == compared(expected)
    assert len([key for key in objects.contents if "/marks/00000-" in key]) == 3


def test_a_changed_input_fails_the_run() -> None:
    """What was listed when the run began is read, or nothing is."""
    objects, _ = case("csv")
    request = JobRequest.from_event(EVENT | {"fanout": SMALL, "part_rows": CHUNK})
    started = fanout.start(request, objects, listed(request, objects), MODEL, FIXED)
    assert isinstance(started, Started)
    objects.contents["incoming/a.csv"] += b"1,2,3,gold,4\n"
    steps = Steps(request, started.run_id, objects, FIXED)

    with pytest.raises(BatchError, match=r"incoming/a.csv was replaced"):
        steps.mark(stored(objects, started.folder, "to-mark")[0])


def test_a_run_that_is_done_does_not_start() -> None:
    """A second delivery of the event gets the manifest, and no state machine."""
    objects, _ = case("csv")
    fan_out(objects)

    assert fan_out(objects)["already_done"]


def test_the_threshold() -> None:
    """More objects or more bytes than it says fan out; as many do not."""
    request = JobRequest.from_event(
        EVENT | {"fanout": {"objects": 2, "bytes": 100, "slice_bytes": 50}}
    )
    sizes = {"few": [10, 10], "many": [1, 1, 1], "full": [60, 40], "large": [60, 41]}
    objects = {
        name: holding(**{f"incoming/{n}.csv": b"x" * size for n, size in enumerate(found)})
        for name, found in sizes.items()
    }

    assert {
        name: fans_out(listed(request, found), request.fanout) for name, found in objects.items()
    } == {"few": False, "many": True, "full": False, "large": True}
    assert not fans_out(listed(request, objects["large"]), None)


def test_small_inputs_share_an_invocation() -> None:
    """Neighbours are put together up to a size; a slice of a large one stays alone."""
    request = JobRequest.from_event(EVENT | {"part_rows": 7000})
    objects = holding(**{f"incoming/{n}.csv": b"x" * 40 for n in range(5)})
    inputs = listed(request, objects)
    marks = [Mark(grid(request), 9, 99), Mark(12_000, end=True)]
    slices = [one for n, item in enumerate(inputs) for one in cut(n, item, marks if n == 2 else ())]

    found = items(slices, done=[(0, 0)], size=100)

    assert [[(one.input, one.start.row) for one in item] for item in found] == [
        [(1, 0)], [(2, 0)], [(2, 10_000)], [(3, 0), (4, 0)],
    ]  # fmt: skip
    assert [(one.rows, one.last) for one in slices[2:4]] == [(10_000, False), (2_000, True)]


def test_receipts_that_were_numbered_by_their_order_are_read() -> None:
    """A run that an older version began goes on: its receipts say where each part begins."""
    objects = InMemoryObjects()
    for number, rows in enumerate((5000, 300)):
        old = {"input": 0, "number": number, "part": f"p{number}", "errors": None, "rows": rows,
               "scored": rows, "bad": 0, "last": number == 1, "problem": ""}  # fmt: skip
        objects.contents[f"run/receipts/00000-{number:04d}.json"] = json.dumps(old).encode()

    assert [one.first for one in receipts(objects, "run/")[0]] == [0, 5000]


def test_equal_models_of_one_image_have_runs_of_their_own() -> None:
    """A run's id has the model's name where the job gives one, and is as before where not."""
    plain, one, other = (
        JobRequest.from_event(EVENT | ({"model": name} if name else {}))
        for name in ("", "red", "white")
    )
    ids = {request.run_id([("a", "b")], "sha256:0") for request in (plain, one, other)}

    assert len(ids) == 3
