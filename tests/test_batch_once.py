"""The effect of a run is there exactly once: kills, duplicates, overlaps, too little time."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from batch_cases import HEADER, Killed, bucket, holding, results, start
from test_batch_formats import written

from fnmodel.batch.job import JobRequest
from fnmodel.batch.lines import CHUNK
from fnmodel.batch.work import Host
from fnmodel.errors import BatchError, UnfinishedError
from fnmodel.testing.objects import InMemoryObjects

NOW = datetime(2026, 3, 12, 6, tzinfo=UTC)
FIXED = Host(clock=lambda: NOW)


def many(rows: int) -> str:
    """Return a table in which each 997th row is bad."""
    return HEADER + "".join(
        f"{n},{'x' if n % 997 == 5 else n % 90},,gold,{n % 7}\n" for n in range(rows)
    )


def two() -> InMemoryObjects:
    """Return a bucket whose first input has three parts and whose second has one."""
    return bucket(a=many(3 * CHUNK - 100), b=many(40))


def seen(objects: InMemoryObjects, **event: Any) -> list[tuple[str, str]]:
    """Run the job and return the calls that it made, each with its number among its equals."""
    steps: list[tuple[str, str]] = []
    objects.before = lambda operation, key: steps.append((operation, key))
    start(objects, host=FIXED, part_rows=CHUNK, **event)
    objects.before = lambda *_: None
    return steps


def test_killed_at_every_call() -> None:
    """A run that ends at any call to storage goes on to the same bytes; no part is scored twice."""
    unbroken = two()
    steps = seen(unbroken)
    expected = results(unbroken)
    assert sum("part-" in key for key in expected) == 4

    for number in range(len(steps)):
        objects = two()
        left = [number]

        def kill(operation: str, key: str, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1

        objects.before = kill
        with pytest.raises(Killed):
            start(objects, host=FIXED, part_rows=CHUNK)
        receipts = [key for key in objects.contents if "/receipts/" in key]
        again = seen(objects)

        assert results(objects) == expected, steps[number]
        scored_again = [key for operation, key in again if operation == "put" and "/part-" in key]
        assert len(scored_again) <= 4 - len(receipts)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_killed_at_every_chunk(format: str) -> None:
    """The same, when the process ends while a chunk is on its way into a part."""
    rows = [{"id": n, "age": float(n % 90), "plan": "gold", "visits": n % 7} for n in range(13_000)]
    content = written(rows, format)
    key = f"incoming/a.{format}"
    unbroken = holding(**{key: content})
    start(unbroken, host=FIXED, format=format, part_rows=CHUNK)
    chunks = 0

    def count(at: int) -> Callable[[], float]:
        def remaining() -> float:
            nonlocal chunks
            chunks += 1
            if chunks == at:
                raise Killed
            return 99.0

        return remaining

    for at in range(2, 99):
        objects = holding(**{key: content})
        chunks = 0
        host = Host(clock=lambda: NOW, remaining=count(at))
        try:
            start(objects, host=host, format=format, part_rows=CHUNK)
        except Killed:
            start(objects, host=FIXED, format=format, part_rows=CHUNK)
            assert results(objects) == results(unbroken)
        else:
            assert at > 3
            return
    raise AssertionError("the run asked for the time too often")


def test_a_thousand_deliveries_at_once() -> None:
    """Of 1,000 deliveries by eight threads one writes the manifest; no object is written twice."""
    objects = bucket(a=many(200), b=many(3))
    written_keys: list[str] = []
    lock = threading.Lock()

    class Counting(InMemoryObjects):
        def put(self, key: str, body: Any, **conditions: Any) -> bool:
            done = super().put(key, body, **conditions)
            if done:
                with lock:
                    written_keys.append(key)
            return done

    counting = Counting()
    counting.contents = objects.contents

    def deliver(_: int) -> dict[str, Any]:
        return start(counting, host=FIXED, concurrency=1)

    with ThreadPoolExecutor(8) as pool:
        manifests = [*pool.map(deliver, range(1000))]

    assert sum("already_done" not in manifest for manifest in manifests) == 1
    assert len({manifest["run_id"] for manifest in manifests}) == 1
    own = [key for key in written_keys if not key.endswith("lease.json")]
    assert sorted(own) == sorted(set(own)) == sorted(results(counting))


def test_a_lost_reply_to_the_manifest() -> None:
    """Where the manifest was written and the answer got lost, the next attempt finds it."""
    objects = two()

    def lose(operation: str, key: str) -> None:
        if operation == "put done" and key.endswith("manifest.json"):
            raise Killed

    objects.before = lose
    with pytest.raises(Killed):
        start(objects, host=FIXED)
    objects.before = lambda *_: None

    assert start(objects, host=FIXED)["already_done"]


@pytest.mark.parametrize("change", ["replaced", "deleted", "added"])
def test_inputs_are_those_of_the_listing(change: str) -> None:
    """An input that changes ends the run with an error; one that comes later is not in it."""
    objects = two()

    def meddle(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("part-00000-000000000000.csv"):
            objects.before = lambda *_: None
            if change == "deleted":
                del objects.contents["incoming/b.csv"]
            else:
                objects.contents[f"incoming/{'b' if change == 'replaced' else 'c'}.csv"] = b"id\n"

    objects.before = meddle
    if change == "added":
        assert len(start(objects, host=FIXED)["inputs"]) == 2
        return
    with pytest.raises(BatchError, match=rf"incoming/b\.csv was {change}"):
        start(objects, host=FIXED)

    assert not any(key.endswith("manifest.json") for key in objects.contents)


OTHER = {"scheduled_time": "2026-03-12T07:00:00Z"}


def held(until: datetime) -> InMemoryObjects:
    """Return a bucket in which another run of the job is under way until some time."""
    objects = two()
    lease = {"owner": "arn 2026-03-12T05:00:00Z", "until": until.isoformat()}
    objects.contents["scored/nightly/lease.json"] = json.dumps(lease).encode()
    return objects


def test_skip() -> None:
    """With `overlap: skip`, a time that meets another run is left out, and says so each time."""
    objects = held(NOW + timedelta(minutes=5))

    first = start(objects, host=FIXED, overlap="skip")
    second = start(objects, host=Host(clock=lambda: NOW + timedelta(hours=1)), overlap="skip")

    assert (first["status"], first["because"]) == ("skipped", "2026-03-12T05:00:00Z")
    assert second == {**first, "already_done": True}
    assert not any("part-" in key for key in objects.contents)
    assert (
        start(objects, host=Host(clock=lambda: NOW + timedelta(hours=1)))["status"] == "succeeded"
    )


def test_queue() -> None:
    """With `overlap: queue`, a run waits until the other one is over."""
    objects = held(NOW + timedelta(seconds=60))
    moment = [NOW]

    def sleep(seconds: float) -> None:
        assert not any("part-" in key for key in objects.contents)
        moment[0] += timedelta(seconds=seconds)

    manifest = start(objects, host=Host(clock=lambda: moment[0], sleep=sleep))

    assert manifest["status"] == "succeeded"
    assert NOW + timedelta(seconds=60) <= moment[0] <= NOW + timedelta(seconds=65)


def test_queue_without_time() -> None:
    """A run that cannot wait any longer ends as unfinished, so that it is tried again."""
    objects = held(NOW + timedelta(minutes=5))

    with pytest.raises(UnfinishedError, match="waits for its run of 2026-03-12T05:00:00Z"):
        start(objects, host=Host(clock=lambda: NOW, remaining=lambda: 10))

    assert not any("part-" in key for key in objects.contents)


def test_a_killed_run_does_not_keep_itself_out() -> None:
    """An attempt takes over the lease of the one before, however long that would have held."""
    objects = two()

    def kill(operation: str, key: str) -> None:
        if "receipts" in key and operation == "put":
            raise Killed

    objects.before = kill
    with pytest.raises(Killed):
        start(objects, host=FIXED)
    objects.contents["scored/nightly/lease.json"] = objects.contents[
        "scored/nightly/lease.json"
    ].replace(b"1970-01-01T00:00:00+00:00", (NOW + timedelta(days=1)).isoformat().encode())
    objects.before = lambda *_: None

    assert start(objects, host=FIXED)["status"] == "succeeded"


@pytest.mark.parametrize("when", [timedelta(0), -timedelta(minutes=10)])
def test_a_lease_that_is_over(when: timedelta) -> None:
    """A lease whose time is over keeps nobody out."""
    assert start(held(NOW + when), host=FIXED, overlap="skip")["status"] == "succeeded"


def test_never_two_at_a_time() -> None:
    """Of many runs with times of their own, none starts while another one has the lease."""
    objects = bucket(a=many(30))
    running: list[str] = []
    worst: list[int] = []

    def watch(operation: str, key: str) -> None:
        run = key.split("/")[2] if key.startswith("scored/nightly/2") else ""
        if operation == "put" and "part-" in key:
            running.append(run)
            worst.append(len(set(running)))
        if operation == "put" and key.endswith("manifest.json"):
            running.remove(run)

    objects.before = watch
    host = Host(clock=lambda: NOW, sleep=lambda _: threading.Event().wait(0.005) and None)

    def at(minute: int) -> dict[str, Any]:
        return start(objects, host=host, scheduled_time=f"2026-03-12T06:{minute:02d}:00Z")

    with ThreadPoolExecutor(6) as pool:
        manifests = [*pool.map(at, range(24))]

    assert {manifest["status"] for manifest in manifests} == {"succeeded"}
    assert len(worst) == 24
    assert max(worst) == 1


def test_out_of_time() -> None:
    """A run that Lambda would end stops between two chunks, and the next attempt goes on."""
    objects, unbroken = two(), two()
    start(unbroken, host=FIXED, part_rows=CHUNK)

    def attempt() -> bool:
        calls = iter(range(99))
        host = Host(clock=lambda: NOW, remaining=lambda: 9.0 if next(calls) < 3 else 1.0)
        try:
            start(objects, host=host, part_rows=CHUNK)
        except UnfinishedError:
            return False
        return True

    attempts = [attempt()]
    while not attempts[-1]:
        assert len(attempts) < 9
        attempts.append(attempt())

    assert len(attempts) > 1
    assert results(objects) == results(unbroken)


def test_parts_have_a_bound() -> None:
    """An input of more rows than `part_rows` has several parts, whose rows follow each other."""
    objects = bucket(a=many(2 * CHUNK + 1))

    manifest = start(objects, host=FIXED, part_rows=CHUNK)

    (one,) = manifest["inputs"]
    assert len(one["parts"]) == 3
    ids = [
        int(line.split(",")[0])
        for key in one["parts"]
        for line in objects.contents[key].decode().splitlines()[1:]
    ]
    assert ids == [n for n in range(2 * CHUNK + 1) if n % 997 != 5]


def test_another_shape_is_another_run() -> None:
    """What results look like is part of a run's id: parts of two shapes are never mixed."""
    from batch_cases import EVENT

    shapes: list[dict[str, Any]] = [
        {}, {"format": "jsonl"}, {"results": "jsonl"}, {"keep": []}, {"keep": ["id"]},
        {"probabilities": False}, {"part_rows": 5}, {"results_compression": "gzip"},
        {"compression": "gzip"},
    ]  # fmt: skip

    ids = {JobRequest.from_event(EVENT | shape).run_id([], "sha256:1") for shape in shapes}

    assert len(ids) == len(shapes)
    alike = JobRequest.from_event(EVENT | {"concurrency": 3, "overlap": "skip"})
    assert alike.run_id([], "sha256:1") in ids
