"""The watch looks at each hour once, says what is wrong once, and is quiet where nothing is."""

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import watch_cases as cases

from fnmodel.errors import AlertError
from fnmodel.profile import Profile, answer_columns
from fnmodel.testing.windows import InMemoryStore, KeptEvents
from fnmodel.watch import records
from fnmodel.watch.channels import Outbox
from fnmodel.watch.columns import Counted
from fnmodel.watch.drift import Rules
from fnmodel.watch.hour import tally
from fnmodel.watch.incident import Rhythm, advance
from fnmodel.watch.judge import Evidence, judge
from fnmodel.watch.records import Record, listed, shifted, stored_windows
from fnmodel.watch.run import Desk, Settings, Watched, look
from fnmodel.watch.windows import Key, merged

HOUR = "2026-11-27T08"
SETTINGS = Settings("prod", "fnmodel-churn-prod")
REFERENCE = cases.trained(cases.world(np.random.default_rng(0), 3000))
WATCHED = Watched("churn", REFERENCE, cases.SIGNATURE, "bins-1")


class World:
    """A bucket with captured rows, a clock, and everybody who is told."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.people, self.bus = KeptEvents(), KeptEvents()
        self.now = at(HOUR)
        self.rng = np.random.default_rng(1)
        ways = {"eventbridge": self.bus, "sns": self.people}
        self.desk = Desk(self.store, Outbox(self.store, ways), clock=lambda: self.now)

    def ask(self, hour: str, rows: int, *, arrived: datetime | None = None, **moved: float) -> None:
        """Have rows captured, in which some columns are moved by so many deviations."""
        columns = cases.world(self.rng, rows)
        for name, shift in moved.items():
            columns[name] = columns[name] + shift * REFERENCE.features[name].variance ** 0.5
        have = self.store.lines.setdefault(hour, [])
        lines = cases.lines(columns, hour=hour, start=len(have))
        have += [(arrived or at(hour), line) for line in lines]

    def look(self, hour: str, settings: Settings = SETTINGS, watched: Watched = WATCHED) -> Any:
        """Look when this hour has just become due."""
        self.now = at(hour) + timedelta(hours=1, minutes=16)
        return list(look(watched, settings, self.desk, self.now, lambda: False))

    @property
    def said(self) -> list[str]:
        """What was said to people, by the ends of the types."""
        return [event["type"].rpartition(".")[2] for event in self.people.events]


def at(hour: str) -> datetime:
    return datetime.fromisoformat(hour + ":00").replace(tzinfo=UTC)


@pytest.fixture
def world() -> World:
    return World()


def windows_of(columns: Any, hour: str = HOUR) -> dict[Key, Counted]:
    """Return the window of columns, without the way through JSON."""
    answers = answer_columns(cases.SIGNATURE, cases.outputs(columns))
    profile = Profile.empty_like(REFERENCE).count(columns, answers)
    return {Key(hour, "churn", "3", "live", 1.0): Counted(profile, {})}


@pytest.mark.parametrize(("alpha", "most"), [(0.001, 5), (0.01, 20)])
def test_a_thousand_quiet_windows_raise_no_more_alarms_than_the_rate_says(
    alpha: float, most: int
) -> None:
    """`most` would be exceeded by a watch of exactly that rate once in a thousand such tests."""
    rng = np.random.default_rng(7)
    rules = Rules(alpha=alpha, draws=0)
    alarmed = 0
    for _ in range(1000):
        rows = int(rng.integers(200, 1200))
        evidence = Evidence(HOUR, windows_of(cases.world(rng, rows)), rows, 0, rows)
        found = judge(evidence, REFERENCE, rules, frozenset())
        assert found.judged
        alarmed += bool(found.alarms)

    assert alarmed <= most


def test_drift_is_told_once_within_its_first_window(world: World) -> None:
    """A week of it is one alert, a reminder a day, and one word when it is over."""
    for at_hour in range(4):
        world.ask(shifted(HOUR, at_hour), 300)
    world.look(shifted(HOUR, 3))
    assert world.said == []

    world.ask(shifted(HOUR, 4), 600, normal=0.8)
    [found] = world.look(shifted(HOUR, 4))
    assert world.said == ["opened"]
    assert {alarm.key for alarm in found.alarms} >= {"drift:feature:normal"}

    incident, said = found.incident, []
    for number in range(5, 5 + 7 * 24):
        incident, change = advance(incident, found.alarms, shifted(HOUR, number), Rhythm())
        said += [change] if change else []
    assert said == ["still"] * 7
    for number in range(3):
        incident, change = advance(incident, (), shifted(HOUR, 200 + number), Rhythm())
    assert (incident, change) == (None, "closed")


def test_what_flaps_is_named_once(world: World) -> None:
    """A second column opens nothing new, but is told; one that comes and goes is not told again."""
    world.ask(HOUR, 600, normal=1)
    [first] = world.look(HOUR)
    both = (*first.alarms, replace(first.alarms[0], key="drift:feature:pay"))
    incident, change = advance(first.incident, both, shifted(HOUR, 1), Rhythm())
    assert change == "grown"
    for number, alarms in enumerate([first.alarms, both, (), both]):
        incident, change = advance(incident, alarms, shifted(HOUR, 2 + number), Rhythm())
        assert change is None


def test_looking_again_changes_nothing(world: World) -> None:
    """The record and its windows are written once, and nobody is told twice."""
    world.ask(HOUR, 600, normal=1)
    world.look(HOUR)
    kept = dict(world.store.contents)

    world.ask(HOUR, 600)  # too late
    for _ in range(3):
        assert world.look(HOUR) == []

    assert world.store.contents == kept
    assert world.said == ["opened"]
    [record] = listed(world.store, "churn", HOUR)
    assert record.rows == 600


def test_two_at_once_tell_once(world: World) -> None:
    """Who loses the race for the record leaves the message to the winner."""
    world.ask(HOUR, 600, normal=1)
    world.look(HOUR)
    rival = World()
    rival.store, rival.now = world.store, world.now
    # It looked for records before the winner had written one.
    rival.desk = Desk(_Blind(world.store), rival.desk.outbox, clock=lambda: rival.now)
    rival.look(HOUR)

    assert rival.said == []


class _Blind:
    """A store in which no record is listed yet."""

    def __init__(self, store: InMemoryStore) -> None:
        self.get, self.put_once, self.captured = store.get, store.put_once, store.captured

    def keys(self, prefix: str, after: str = "") -> Iterable[str]:  # noqa: ARG002
        return ()


def test_a_message_that_did_not_arrive_is_sent_again_and_only_there(world: World) -> None:
    """With the same id; the hours after it are watched none the less."""
    world.ask(HOUR, 600, normal=1)
    world.people.down = True
    with pytest.raises(AlertError, match="sns"):
        world.look(HOUR)
    assert [len(world.bus.events), world.said] == [1, []]

    world.people.down = False
    world.look(shifted(HOUR, 1))

    assert world.said == ["opened"]
    assert world.people.events[0]["id"] == world.bus.events[0]["id"]
    assert len(world.bus.events) == 1


def test_a_receiver_that_is_down_for_hours_hears_of_all_of_them(world: World) -> None:
    """Each later look tries again what any earlier one could not send."""
    world.people.down = True
    for later, moved in enumerate(({"normal": 1.0}, {"pay": 1.0}, {}, {})):
        world.ask(shifted(HOUR, later), 600, **moved)
        with pytest.raises(AlertError, match="sns"):
            world.look(shifted(HOUR, later))
    world.people.down = False
    world.ask(shifted(HOUR, 4), 600)
    world.look(shifted(HOUR, 4))
    world.look(shifted(HOUR, 5))

    assert world.said == ["opened", "grown", "closed"]
    found = records.find(world.store, "churn", shifted(HOUR, 4))
    assert found is not None
    assert found.owed == ()


def test_stored_windows_are_those_of_one_reference(world: World) -> None:
    """Hours that were counted on other bins are left out, as are those outside of the span."""
    for later in range(4):
        world.ask(shifted(HOUR, later), 300)
        world.look(
            shifted(HOUR, later),
            watched=WATCHED if later < 3 else replace(WATCHED, digest="bins-2"),
        )

    found = records.windows_between(
        world.store, "churn", "bins-1", shifted(HOUR, 1), shifted(HOUR, 9)
    )

    assert sorted({key.hour for key in found}) == [shifted(HOUR, 1), shifted(HOUR, 2)]
    assert [one.profile.rows for one in found.values()] == [300, 300]


def test_the_same_look_tries_again_at_once(world: World) -> None:
    """Lambda repeats a failed event with its id; another look keeps away from a fresh record."""
    world.desk = replace(world.desk, who="request-1")
    world.ask(HOUR, 600, normal=1)
    world.people.down = True
    with pytest.raises(AlertError):
        world.look(HOUR)
    world.people.down = False
    mine, world.desk = world.desk, replace(world.desk, who="request-2")
    world.look(HOUR)
    assert world.said == []
    world.desk = mine
    world.look(HOUR)

    assert world.said == ["opened"]


def test_one_that_died_before_it_told_is_made_up_for(world: World) -> None:
    """The record says what is to be told, so that a crash in between loses nothing."""
    world.ask(HOUR, 600, normal=1)

    def die(operation: str, key: str) -> None:
        if operation == "get" and key.startswith("watch/sent/"):
            raise KeyboardInterrupt

    world.store.before = die
    with pytest.raises(KeyboardInterrupt):
        world.look(HOUR)
    world.store.before = lambda _operation, _key: None
    world.look(shifted(HOUR, 1))

    assert world.said == ["opened"]


def test_late_rows_are_taken_until_the_grace_is_over(world: World) -> None:
    """An hour is not due before its grace has passed."""
    world.ask(HOUR, 100, arrived=at(HOUR) + timedelta(hours=1, minutes=14))
    world.ask(HOUR, 50, arrived=at(HOUR) + timedelta(hours=3))
    early = at(HOUR) + timedelta(hours=1, minutes=14)
    assert [one.hour for one in look(WATCHED, SETTINGS, world.desk, early, lambda: True)] == [
        shifted(HOUR, -1)
    ]
    [found] = world.look(HOUR)

    assert (found.hour, found.rows) == (HOUR, 100)


def test_hours_with_few_rows_are_judged_together(world: World) -> None:
    """No window is judged below 200 rows, and no row is judged twice."""
    found = []
    for number in range(6):
        world.ask(shifted(HOUR, number), 80, normal=1)
        found += world.look(shifted(HOUR, number))

    assert [len(one.pooled) for one in found] == [0, 0, 3, 0, 0, 3]
    assert world.said == ["opened"]


def test_hours_add_up(world: World) -> None:
    """The stored windows of some hours are the count of all their rows."""
    for number in range(3):
        world.ask(shifted(HOUR, number), 300)
        world.look(shifted(HOUR, number))
    total: Any = {}
    for record in listed(world.store, "churn", HOUR, shifted(HOUR, 2)):
        total = merged(total, stored_windows(world.store, record))
    lines = [line for number in range(2) for _, line in world.store.lines[shifted(HOUR, number)]]
    whole: Any = {}
    for number in range(2):
        counted = tally(lines, shifted(HOUR, number), "churn", REFERENCE, cases.SIGNATURE)
        whole = merged(whole, counted.windows)

    assert total == whole
    assert sum(window.profile.rows for window in total.values()) == 600


def test_hours_that_nobody_watched_are_made_up_for(world: World) -> None:
    """After a pause each hour has its record, up to two days back."""
    for number in range(60):
        world.ask(shifted(HOUR, number), 6)
    world.look(HOUR)
    found = world.look(shifted(HOUR, 59))

    assert [one.hour for one in found] == [shifted(HOUR, number) for number in range(12, 60)]


def test_a_new_reference_begins_anew(world: World) -> None:
    """Counts on other bins are neither added nor compared with."""
    world.ask(HOUR, 80)
    world.ask(shifted(HOUR, 1), 150)
    [first] = world.look(HOUR)
    [second] = world.look(shifted(HOUR, 1), watched=replace(WATCHED, digest="bins-2"))

    assert first.pending == (HOUR,)
    assert second.pending == (shifted(HOUR, 1),)


def test_rows_that_come_twice_count_once_in_whichever_part() -> None:
    """Parts of the reading know each other's rows by eight bytes each."""
    lines = cases.lines(cases.world(np.random.default_rng(3), 300))
    given = [*lines, *lines[:50], b"no line\n", *lines * 14]

    found = tally(given, HOUR, "churn", REFERENCE, cases.SIGNATURE)

    assert (found.rows, found.repeated, found.unreadable) == (300, 50 + 14 * 300, 1)


def test_memory_hardly_grows_with_the_rows() -> None:
    """Four times the rows need less than a tenth more: some parts, and eight bytes a row."""
    lines = cases.lines(cases.world(np.random.default_rng(4), 2048))

    def peak(times: int) -> int:
        given = (line.replace(b'"r2026', b'"r%d-2026' % n) for n in range(times) for line in lines)
        tracemalloc.start()
        found = tally(given, HOUR, "churn", REFERENCE, cases.SIGNATURE)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.rows == times * len(lines)
        return top

    peak(1)
    assert peak(8) < 1.1 * peak(2)


def traffic(weeks: int, rows: float = 500) -> dict[str, float]:
    """Return volumes of weeks before HOUR: none at night."""
    hours = [shifted(HOUR, -number) for number in range(1, weeks * 7 * 24 + 1)]
    return {hour: rows if 6 <= int(hour[11:]) < 22 else 0.0 for hour in hours}


def judged(represents: float, volumes: dict[str, float], hour: str = HOUR) -> list[str]:
    evidence = Evidence(hour, {}, represents, 0, 0, volumes=volumes)
    return [alarm.kind for alarm in judge(evidence, REFERENCE, Rules(), frozenset()).alarms]


def test_volume_is_that_of_the_same_hour_of_earlier_weeks() -> None:
    """A quiet night is as it should be, a quiet morning is not, and neither is a flood."""
    assert judged(0.0, traffic(2), shifted(HOUR, -6)) == []
    assert judged(0.0, traffic(2)) == ["freshness"]
    assert judged(60.0, traffic(2)) == ["volume"]
    assert judged(3000.0, traffic(2)) == ["volume"]
    assert judged(400.0, traffic(2)) == []
    assert judged(0.0, traffic(2, rows=10)) == []


def test_broken_lines_and_types_are_told_once_they_are_more_than_a_slip() -> None:
    """Two of a hundred values of another type, or twenty lines that nobody can read."""
    kinds = []
    for invalid, unreadable in ((15, 19), (16, 20)):
        [(key, window)] = windows_of(cases.world(np.random.default_rng(8), 800)).items()
        now = {key: Counted(window.profile, {"age": invalid})}
        evidence = Evidence(HOUR, now, 800, unreadable, 800)
        found = judge(evidence, REFERENCE, Rules(alpha=0.001), frozenset()).alarms
        kinds.append([alarm.kind for alarm in found])

    assert kinds == [[], ["schema", "unreadable"]]


def test_silence_is_noticed_before_there_is_a_season() -> None:
    """Six hours without a row, after there were some."""
    some = {shifted(HOUR, -number): 0.0 for number in range(1, 6)}
    assert judged(0.0, some) == []
    assert judged(0.0, {shifted(HOUR, -5): 10.0}) == []
    assert judged(0.0, {shifted(HOUR, -6): 10.0}) == ["freshness"]


def test_missing_values_are_broken_data_and_no_drift(world: World) -> None:
    """So are values of another type; a moved column is drift, whatever lies out of range."""
    columns = cases.world(np.random.default_rng(5), 800)
    columns["normal"] = np.where(np.arange(800) % 10 == 0, np.nan, columns["normal"])
    columns["pay"] = columns["pay"] * 20
    found = judge(Evidence(HOUR, windows_of(columns), 800, 0, 800), REFERENCE, Rules(), frozenset())
    kinds = {alarm.key: alarm.kind for alarm in found.alarms}

    assert kinds["nulls:feature:normal"] == "nulls"
    assert kinds["drift:feature:pay"] == "drift"


def test_a_record_comes_back_as_it_was(world: World) -> None:
    """Nothing of it is lost, and what is no record is told by name."""
    world.ask(HOUR, 600, normal=1)
    [made] = world.look(HOUR)

    assert Record.from_bytes(made.to_bytes()) == made
    assert records.find(world.store, "churn", HOUR) == made
