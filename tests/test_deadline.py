"""Answers that would come too late: the model is stopped, and the process answers on."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from http_cases import Server, serving
from serve_cases import error_of, event, gateway, model, model_folder

from fnmodel.deadline import Watch, current
from fnmodel.errors import DeadlineError
from fnmodel.serve.endpoint import Call, due_by, respond

QUICK, HOURS = 3, 4e9
SLOW = gateway("slow")


@dataclass(frozen=True)
class Context:
    """What Lambda says of one invocation."""

    milliseconds: int
    aws_request_id: str = "id-1"

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda's."""
        return self.milliseconds


def counting(x: float, rows: int = 1) -> dict[str, Any]:
    return event(body={"records": [{"x": x}] * rows})


@pytest.fixture(params=["lean", "numpy", "framework"])
def way(request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """Return a handler of the slow model: each of the ways that a request can take."""
    handler = SLOW.framework if request.param == "framework" else SLOW.direct
    rows = 8_000 if request.param == "numpy" else 1  # over 32 KiB

    def call(x: float, milliseconds: int) -> dict[str, Any]:
        return handler(counting(x, rows), Context(milliseconds))

    return call


def test_a_slow_model_is_stopped(way: Callable[..., dict[str, Any]]) -> None:
    """Half a second before Lambda would end the process the answer is 504; the next is right."""
    for _ in range(3):
        # From the second time on, runs of one shape take the short way into C.
        assert way(QUICK, 30_000)["statusCode"] == 200
    started = time.monotonic()

    late = way(HOURS, 800)

    assert 0.25 < time.monotonic() - started < 0.8
    assert late["statusCode"] == 504
    assert error_of(late) == (
        "the model needs more time than there is; send fewer rows, or use batch"
    )
    after = way(QUICK, 30_000)
    assert json.loads(after["body"])["predictions"][0] == {"value": float(QUICK)}


def test_a_late_run_is_stopped_and_no_other() -> None:
    """Of runs at once in one session, each has its own moment."""
    lean = model("slow").way(1)
    inputs = {x: lean.encode([{"x": x}]) for x in (QUICK, HOURS)}

    def run(x: float, seconds: float) -> str:
        current.moment = time.monotonic() + seconds
        try:
            lean.run(inputs[x])
        except DeadlineError:
            return "stopped"
        finally:
            current.moment = None
        return "answered"

    with ThreadPoolExecutor(4) as pool:
        late = [pool.submit(run, HOURS, seconds) for seconds in (0.6, 0.3)]
        others = list(pool.map(lambda _: run(QUICK, 30), range(200)))

    assert [future.result() for future in late] == ["stopped"] * 2
    assert others == ["answered"] * 200


def test_nothing_is_left_of_a_moment() -> None:
    """After an answer, and after an error, the thread has no deadline."""

    def fail(_: Call) -> NoReturn:
        assert current.moment == 7
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        respond(fail, Call({}, {}, b"", due=7), limit=1)

    assert current.moment is None


@pytest.mark.parametrize(
    ("milliseconds", "expected"), [(60_000, 29.5), (30_000, 29.5), (3_000, 2.5), (100, -0.4)]
)
def test_what_is_left_of_lambdas_time(milliseconds: int, expected: float) -> None:
    """The model has what Lambda leaves, less half a second, and never more than HTTP APIs wait."""
    due = due_by(Context(milliseconds))

    assert due is not None
    assert due - time.monotonic() == pytest.approx(expected, abs=0.2)
    assert due_by(None) is None


def test_the_watch_stops_what_is_late() -> None:
    """In the order of their moments, also of one that comes later and is due earlier."""
    watch, stopped = Watch(), list[str]()
    last = threading.Event()
    now = time.monotonic()

    def late() -> None:
        stopped.append("late")
        last.set()

    def early() -> None:
        stopped.append("early")

    def ended() -> None:
        stopped.append("ended")

    watch.begin(late, now + 0.2)
    watch.begin(early, now + 0.1)
    watch.begin(ended, now + 0.15)
    assert not watch.end(ended)

    assert last.wait(10)
    assert stopped == ["early", "late"]
    assert watch.end(early)


def test_runs_one_after_another_wake_the_watch_once() -> None:
    """Its thread finds nothing under way when it looks, and is not woken for each run therefore."""
    wakings = 0

    class Counting(Watch):
        def _stop_late(self) -> float:
            nonlocal wakings
            wakings += 1
            return super()._stop_late()

    watch = Counting()
    for _ in range(50):
        due = time.monotonic() + 60
        assert not watch_ends(watch, due)
        time.sleep(0.002)  # time for the thread to look

    assert wakings <= 2


def watch_ends(watch: Watch, due: float) -> bool:
    """Begin and end a run; return whether it was stopped."""

    def stop() -> None:
        raise AssertionError

    watch.begin(stop, due)
    return watch.end(stop)


def test_the_watch_starts_again_after_a_silence() -> None:
    """A run that comes when there has been none for long is watched as the first was."""
    watch = Watch()
    for _ in range(2):
        stopped = threading.Event()
        watch.begin(stopped.set, time.monotonic() + 0.05)
        assert stopped.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve the slow model, which has a second for each answer, with two workers."""
    with serving(
        model_folder("slow"), tmp_path, FNMODEL_TIMEOUT="1", FNMODEL_WORKERS="2"
    ) as started:
        yield started


def test_a_slow_model_is_stopped_over_http(server: Server) -> None:
    """FNMODEL_TIMEOUT bounds each answer; the next ones are right, and the line says 504."""
    server.port  # noqa: B018 - wait until it listens
    started = time.monotonic()

    late = server.ask("POST", "/predict", {"records": [{"x": HOURS}]})
    took = time.monotonic() - started
    after = server.ask("POST", "/predict", {"records": [{"x": QUICK}]})

    assert (late.status, after.status) == (504, 200)
    assert 0.9 < took < 3
    assert b"more time" in late.body
    assert [line["status"] for line in server.lines if "status" in line] == [504, 200]
