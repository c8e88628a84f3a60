"""The ledger: one holder at a time, and records that only the holder can write."""

import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from release_cases import Emulator, digest, make_table

from fnmodel.errors import ConflictError, LockHeldError
from fnmodel.release.holder import is_gone, this_process
from fnmodel.release.ledger import Ledger, Record

pytest_plugins = ["release_emulator"]

_aliases = itertools.count()


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> Iterator[tuple[Any, str]]:
    client = emulator.client("dynamodb")
    yield client, make_table(client, "ledger-tests")
    client.delete_table(TableName="ledger-tests")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(table: tuple[Any, str], clock: Clock) -> Ledger:
    return Ledger(*table, f"alias-{next(_aliases)}", clock=clock, gone=lambda _name: False)


def record(version: str, **changes: Any) -> Record:
    values = {"action": "shift", "result": "done", "stable": "1", **changes}
    return Record(release=f"v{version}", version=version, digest=digest("a"), **values)


def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    """Nobody holds it and nothing was done."""
    assert ledger.holder() is None
    assert ledger.history() == ()
    assert ledger.latest() is None


def test_records_come_back_as_they_were_written(ledger: Ledger) -> None:
    """Every field survives; who, time and order are filled in."""
    with ledger.lease("ada") as lease:
        written = lease.append(record("2", weights={"2": 0.125}, previous="1", reason="ü \"' \\"))

    assert ledger.history() == (written,)
    assert (written.who, written.time) == ("ada", "2027-01-15T08:00:00.000+00:00")
    assert written.fence == 1
    assert dict(written.weights) == {"2": 0.125}


def test_history_is_newest_first_whatever_the_clocks_say(ledger: Ledger, clock: Clock) -> None:
    """A later holder's records are later, though its clock is an hour behind."""
    with ledger.lease("ada") as lease:
        for version in "12":
            lease.append(record(version))
    clock.now -= 3600
    with ledger.lease("bob") as lease:
        lease.append(record("3", action="gate", result="passed"))

    assert [r.version for r in ledger.history()] == ["3", "2", "1"]
    assert [r.version for r in ledger.history(2)] == ["3", "2"]
    newest = ledger.latest("shift")
    assert newest is not None
    assert newest.version == "2"
    assert ledger.latest("rollback") is None


def test_long_histories_are_read_page_by_page(ledger: Ledger) -> None:
    """More records than a page holds come in order, each once."""
    with ledger.lease("ada") as lease:
        for number in range(120):
            lease.append(record(str(number)))

    assert [int(r.version) for r in ledger.records()] == list(range(119, -1, -1))


def test_a_held_lease_names_its_holder_and_its_end(ledger: Ledger) -> None:
    """The loser is told who and until when, with exit code 5."""
    with ledger.lease("ada@laptop", 60):
        assert ledger.holder() is not None
        with (
            pytest.raises(LockHeldError, match=r"ada@laptop .*2027-01-15T08:01:00") as caught,
            ledger.lease("bob"),
        ):
            raise AssertionError("two holders at once")
    assert caught.value.exit_code == 5
    assert ledger.holder() is None
    with ledger.lease("bob"):
        holder = ledger.holder()
    assert holder is not None
    assert (holder.name, holder.fence) == ("bob", 2)


def test_a_lease_is_given_back_after_an_error(ledger: Ledger) -> None:
    """A failed release does not block the next one."""
    with pytest.raises(RuntimeError), ledger.lease("ada"):
        raise RuntimeError

    assert ledger.holder() is None


def test_a_lease_that_ran_out_can_be_taken_and_its_holder_writes_no_more(
    ledger: Ledger, clock: Clock
) -> None:
    """The old holder is fenced off, and does not end the new holder's lease."""
    with ledger.lease("slow", 60) as slow:
        slow.append(record("1"))
        clock.now += 61
        with ledger.lease("next", 60) as lease:
            assert lease.interrupted
            lease.append(record("2"))
            with pytest.raises(ConflictError, match="slow was taken over"):
                slow.append(record("3"))
            slow.end()
            holder = ledger.holder()
            assert holder is not None
            assert holder.name == "next"
            lease.append(record("4"))

    assert [r.version for r in ledger.history()] == ["4", "2", "1"]


def test_each_record_extends_the_lease(ledger: Ledger, clock: Clock) -> None:
    """A release that makes progress is not taken over."""
    with ledger.lease("ada", 60) as lease:
        for _ in range(3):
            clock.now += 50
            lease.append(record("1"))
        assert ledger.holder() is not None


def test_the_lease_of_a_dead_process_need_not_be_waited_for(
    table: tuple[Any, str], clock: Clock
) -> None:
    """The same command can be run at once after a kill."""
    alias = f"alias-{next(_aliases)}"
    Ledger(*table, alias, clock=clock)._take("dead", 900)
    with pytest.raises(LockHeldError), Ledger(*table, alias, clock=clock).lease("me"):
        raise AssertionError("taken from a holder who may be alive")

    with Ledger(*table, alias, clock=clock, gone=lambda name: name == "dead").lease("me") as lease:
        assert lease.interrupted
    with Ledger(*table, alias, clock=clock).lease("me") as lease:
        assert not lease.interrupted


def test_of_two_who_take_it_at_once_one_gets_it(emulator: Emulator, table: tuple[Any, str]) -> None:
    """Both have read that it is free; the second write is refused."""
    alias = f"alias-{next(_aliases)}"
    client = emulator.cloud.client("dynamodb")
    rival = Ledger(*table, alias, gone=lambda _name: False)
    taken = []

    def be_faster(**_: object) -> None:
        if not taken:
            taken.append(rival._take("rival", 60))

    client.meta.events.register("before-call.dynamodb.PutItem", be_faster)
    with pytest.raises(LockHeldError, match="rival"), Ledger(client, table[1], alias).lease("me"):
        raise AssertionError("two holders at once")
    assert taken[0].fence == 1


def test_many_takers_have_one_winner(table: tuple[Any, str], clock: Clock) -> None:
    """Eight threads, one lease."""
    alias = f"alias-{next(_aliases)}"
    start = threading.Barrier(8)
    won, lost = [], []

    def take(number: int) -> None:
        ledger = Ledger(*table, alias, clock=clock, gone=lambda _name: False)
        start.wait()
        try:
            won.append(ledger._take(f"taker {number}", 60))
        except LockHeldError:
            lost.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


def test_a_process_knows_itself_alive_and_an_ended_one_gone() -> None:
    """Only a process of this host that has ended counts as gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()

    assert not is_gone(this_process())
    assert str(os.getpid()) in this_process()
    assert is_gone(f"ada@{host}, process {ended.pid}")
    assert not is_gone(f"ada@{host}.elsewhere, process {ended.pid}")
    assert not is_gone(f"ada@{host}, process 1")
    assert not is_gone(f"ada@{host}, process {2**70}")
    assert not is_gone("somebody")


def test_a_saved_plan_is_noted_once_it_was_applied(ledger: Ledger) -> None:
    """By its id, with version, name and time; the chain of records does not notice."""
    with ledger.lease("ada") as lease:
        lease.append(record("2"))
        before = lease.head
        lease.keep_applied("a1b2", "2")

    found = ledger.applied("a1b2")
    assert found is not None
    assert (found.version, found.who, found.time) == ("2", "ada", "2027-01-15T08:00:00+00:00")
    assert ledger.applied("c3d4") is None
    assert ledger.head() == before == ledger.chain()[1]
    assert len(ledger.history()) == 1
