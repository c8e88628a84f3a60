"""The ledger's chain and its copies: nothing can be changed, dropped or added unseen."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from release_cases import Emulator, digest, make_table

from fnmodel.errors import AwsError, ConflictError, LockHeldError
from fnmodel.release.chain import Entry, Head, differences, faults
from fnmodel.release.copies import S3Copies
from fnmodel.release.ledger import Ledger, Record

pytest_plugins = ["release_emulator"]

_aliases = itertools.count()
COUNT = 10_000


def chained(count: int) -> tuple[list[Entry], Head]:
    entries, head = [], Head()
    for number in range(count):
        entries.append(Entry.after(head, f"event#{number:010d}", f'{{"version":"{number}"}}'))
        head = entries[-1].head
    return entries, head


ENTRIES, HEAD = chained(COUNT)


def flip(entries: list[Entry], at: int) -> list[Entry]:
    changed = replace(entries[at], text=entries[at].text.replace('"', "'", 1))
    return [*entries[:at], changed, *entries[at + 1 :]]


def forge(entries: list[Entry], at: int) -> list[Entry]:
    """Change an entry, and give it the hash that goes with that."""
    before = entries[at - 1].head if at else Head()
    changed = Entry.after(before, entries[at].order, '{"version":"forged"}')
    return [*entries[:at], changed, *entries[at + 1 :]]


def drop(entries: list[Entry], at: int) -> list[Entry]:
    return [*entries[:at], *entries[at + 1 :]]


def swap(entries: list[Entry], at: int) -> list[Entry]:
    other = (at + 1) % len(entries)
    low, high = min(at, other), max(at, other)
    changed = list(entries)
    changed[low], changed[high] = changed[high], changed[low]
    return changed


def duplicate(entries: list[Entry], at: int) -> list[Entry]:
    return [*entries[: at + 1], *entries[at:]]


def truncate(entries: list[Entry], at: int) -> list[Entry]:
    return entries[:at]


CHANGES = [flip, forge, drop, swap, duplicate, truncate]


def test_a_whole_chain_has_no_faults() -> None:
    """Neither of many entries nor of none."""
    assert list(faults(ENTRIES, HEAD)) == []
    assert list(faults([], Head())) == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("at", [0, 1, COUNT // 2, COUNT - 2, COUNT - 1])
def test_one_change_in_ten_thousand_is_found(
    change: Callable[[list[Entry], int], list[Entry]], at: int
) -> None:
    """Wherever it is, and the faults name the place."""
    found = list(faults(change(ENTRIES, at), HEAD))

    assert found
    assert any(str(number) in fault for fault in found for number in (at, at + 1, at + 2))


@given(st.sampled_from(CHANGES), st.integers(2, 30), st.data())
def test_any_change_is_found(
    change: Callable[[list[Entry], int], list[Entry]], count: int, data: st.DataObject
) -> None:
    """In chains of any length."""
    entries, head = chained(count)
    at = data.draw(st.integers(0, count - 1))

    assert list(faults(change(entries, at), head))


def test_a_new_chain_is_found_by_its_copies() -> None:
    """Whoever rewrites the table from one entry on, hashes and end too, meets the copies."""
    entries, _ = chained(20)
    forged, head = [], Head()
    for entry in entries:
        text = '{"version":"forged"}' if entry.number == 12 else entry.text
        forged.append(Entry.after(head, entry.order, text))
        head = forged[-1].head
    copies = {entry.number: entry.to_bytes() for entry in entries}

    assert list(faults(forged, head)) == []
    assert next(differences(forged, copies)) == "entry 12 differs from its copy"
    assert len(list(differences(forged, copies))) == 9
    assert list(differences(entries, copies)) == []
    assert list(differences(entries[:-1], copies)) == ["entry 20 is there as a copy only"]
    del copies[3]
    assert list(differences(entries, copies)) == ["entry 3 has no copy"]


class Kept:
    """Copies in memory; fails when it is told to."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.broken = False
        self.full = 0

    def put(self, number: int, body: bytes) -> bool:
        """Keep a body."""
        if self.broken:
            raise AwsError("the bucket does not answer")
        if number in self.bodies:
            return False
        self.bodies[number] = body
        if len(self.bodies) == self.full:
            self.broken = True
        return True

    def has(self, number: int) -> bool:
        """Whether there is one."""
        return number in self.bodies


@pytest.fixture(scope="module")
def table(emulator: Emulator) -> Iterator[tuple[Any, str]]:
    client = emulator.client("dynamodb")
    yield client, make_table(client, "audit-tests")
    client.delete_table(TableName="audit-tests")


@pytest.fixture
def alias() -> str:
    return f"alias-{next(_aliases)}"


def record(version: str) -> Record:
    return Record(f"v{version}", "shift", version, digest("a"), "done", stable="1")


def test_records_make_a_chain_over_leases(table: tuple[Any, str], alias: str) -> None:
    """Each lease goes on where the last one ended; texts are those of the records."""
    ledger = Ledger(*table, alias)
    for name in ("ada", "bob", "eve"):
        with ledger.lease(name) as lease:
            for version in "12":
                lease.append(record(version))

    entries, head = ledger.chain()

    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert list(faults(entries, head)) == []
    assert [json.loads(entry.text)["who"] for entry in entries[::2]] == ["ada", "bob", "eve"]
    assert [record.order for record in ledger.records()] == [e.order for e in entries[::-1]]


def test_two_writers_never_fork_the_chain(table: tuple[Any, str], alias: str) -> None:
    """A holder whose lease was taken over writes nothing, even in the moment of taking."""
    gone = Ledger(*table, alias, gone=lambda _name: True)
    with gone.lease("slow") as slow:
        slow.append(record("1"))
        with gone.lease("next") as lease:
            lease.append(record("2"))
            with pytest.raises(ConflictError):
                slow.append(record("3"))
            lease.append(record("4"))

    entries, head = gone.chain()

    assert [json.loads(entry.text)["version"] for entry in entries] == ["1", "2", "4"]
    assert list(faults(entries, head)) == []


def test_a_change_of_the_table_is_found(table: tuple[Any, str], alias: str) -> None:
    """One record written over by hand, and one deleted."""
    client, name = table
    ledger = Ledger(client, name, alias)
    with ledger.lease("ada") as lease:
        orders = [lease.append(record(version)).order for version in "123"]
    key = {"pk": {"S": alias}, "sk": {"S": orders[1]}}
    item = client.get_item(TableName=name, Key=key)["Item"]
    text = item["record"]["S"].replace('"version":"2"', '"version":"9"')
    client.put_item(TableName=name, Item={**item, "record": {"S": text}})
    changed = list(faults(*ledger.chain()))
    client.delete_item(TableName=name, Key=key)
    deleted = list(faults(*ledger.chain()))

    assert changed == ["entry 2 was changed"]
    assert deleted == ["after entry 1 comes entry 3"]


def test_what_a_killed_run_has_not_copied_the_next_one_does(
    table: tuple[Any, str], alias: str
) -> None:
    """The record stands, the run fails before it moves anything; the next record's copies it."""
    kept = Kept()
    ledger = Ledger(*table, alias, copies=kept)
    with ledger.lease("ada") as lease:
        lease.append(record("1"))
        kept.broken = True
        for version in "23":
            with pytest.raises(AwsError):
                lease.append(record(version))
    kept.broken = False
    before = set(kept.bodies)
    with ledger.lease("bob") as lease:
        lease.append(record("4"))

    assert before == {1}
    assert list(differences(ledger.chain()[0], kept.bodies)) == []
    assert len(kept.bodies) == 4


def test_going_back_waits_for_no_bucket(table: tuple[Any, str], alias: str) -> None:
    """A roll-back goes on without its copy, which the next record's writer makes."""
    kept = Kept()
    ledger = Ledger(*table, alias, copies=kept)
    kept.broken = True
    with ledger.lease("ada") as lease:
        lease.append(replace(record("1"), action="rollback", result="started"))
        lease.append(replace(record("1"), action="rollback"))
    kept.broken = False
    with ledger.lease("bob") as lease:
        lease.append(record("2"))

    assert list(differences(ledger.chain()[0], kept.bodies)) == []


def test_copying_for_longer_than_a_lease_keeps_it(table: tuple[Any, str], alias: str) -> None:
    """Each copy takes half a minute, the lease a minute; nobody else gets it meanwhile."""
    plain = Ledger(*table, alias)
    with plain.lease("ada") as lease:
        for version in "12345":
            lease.append(record(version))
    now = [1_800_000_000.0]
    refused = []

    class Slow(Kept):
        def put(self, number: int, body: bytes) -> bool:
            """Take long, and let somebody else try."""
            now[0] += 30
            with pytest.raises(LockHeldError) as caught, other.lease("eve", 60):
                pass
            refused.append(caught.value)
            return super().put(number, body)

    kept = Slow()
    other = Ledger(*table, alias, clock=lambda: now[0], gone=lambda _name: False)
    ledger = Ledger(*table, alias, clock=lambda: now[0], copies=kept)
    with ledger.lease("bob", 60) as lease:
        lease.append(record("6"))
        lease.append(record("7"))

    assert set(kept.bodies) == set(range(1, 8))
    assert len(refused) == 7


def test_copying_that_is_killed_leaves_no_hole(table: tuple[Any, str], alias: str) -> None:
    """They fail after the second one; the lease is given back, and the next adds the rest."""
    plain = Ledger(*table, alias)
    with plain.lease("ada") as lease:
        for version in "12345":
            lease.append(record(version))
    kept = Kept()
    kept.full = 2
    ledger = Ledger(*table, alias, copies=kept)
    with pytest.raises(AwsError, match="does not answer"), ledger.lease("bob") as lease:
        lease.append(record("6"))
    free, begun = ledger.holder() is None, set(kept.bodies)
    kept.broken = False
    with ledger.lease("eve") as lease:
        lease.append(record("7"))

    assert (free, begun) == (True, {1, 2})
    assert list(differences(ledger.chain()[0], kept.bodies)) == []


def test_a_chain_that_grows_while_it_is_read_is_whole(table: tuple[Any, str], alias: str) -> None:
    """A record that comes between the chain's end and its entries is no fault."""
    with Ledger(*table, alias).lease("ada") as lease:
        lease.append(record("1"))
        more = iter("2")

        class Busy(Ledger):
            def _items(self) -> Iterator[dict[str, Any]]:
                for version in more:
                    lease.append(record(version))
                return super()._items()

        entries, head = Busy(*table, alias).chain()

    assert (len(entries), head.count, list(faults(entries, head))) == (2, 2, [])


def test_a_ledger_from_before_goes_on_with_a_chain(table: tuple[Any, str], alias: str) -> None:
    """Its old records are in the history, and are no part of the chain."""
    client, name = table
    old = json.dumps({"release": "r", "action": "deploy", "version": "1", "digest": digest("a"),
                      "result": "done"})  # fmt: skip
    client.put_item(
        TableName=name,
        Item={"pk": {"S": alias}, "sk": {"S": "event#0000000001#000000"}, "record": {"S": old}},
    )
    lock = {"holder": {"S": "ada"}, "expires": {"N": "0"}, "fence": {"N": "1"}}
    client.put_item(TableName=name, Item={"pk": {"S": alias}, "sk": {"S": "lock"}, **lock})
    kept = Kept()
    ledger = Ledger(client, name, alias, copies=kept)
    with ledger.lease("bob") as lease:
        lease.append(record("2"))

    entries, head = ledger.chain()

    assert [r.version for r in ledger.records()] == ["2", "1"]
    assert (len(entries), list(faults(entries, head)), set(kept.bodies)) == (1, [], {1})


def test_copies_in_a_bucket_are_written_once(emulator: Emulator) -> None:
    """A second copy of a number is refused, and what lies on top of the first does not count."""
    client = emulator.client("s3")
    client.create_bucket(Bucket="audit-copies", ObjectLockEnabledForBucket=True)
    copies = S3Copies(client, "audit-copies", "live/")
    entries, _ = chained(30)
    first = [copies.put(entry.number, entry.to_bytes()) for entry in entries]
    again = copies.put(7, b"forged")
    there = [copies.has(number) for number in (1, 30, 31, 3)]
    client.put_object(Bucket="audit-copies", Key="live/0000000008.json", Body=b"forged")
    client.delete_object(Bucket="audit-copies", Key="live/0000000009.json")

    assert (set(first), again) == ({True}, False)
    assert there == [True, True, False, True]
    assert list(differences(entries, copies.all())) == []
