"""Which images stay, and that none is deleted which a deploy beside it is about to use."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from fnmodel.errors import LockHeldError
from fnmodel.provision.images import Images, Manifest, sweep
from fnmodel.provision.pins import Pins

NAME = "fnmodel/churn"
HOUR = 3600.0


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def judged(manifests: list[Manifest], roots: dict[str, str], now: float = 10 * HOUR) -> Any:
    return sweep(manifests, roots, now, HOUR)


def test_what_is_about_an_image_stays_and_goes_with_it() -> None:
    """Artifacts by their subject, lists and signatures by their tag; an index goes first."""
    manifests = [
        Manifest(digest("a"), blobs={"base": 100, "one": 10}),
        Manifest(digest("b"), blobs={"base": 100, "two": 20}),
        Manifest(digest("1"), subject=digest("a"), blobs={"bill1": 1}),
        Manifest(digest("2"), subject=digest("b"), blobs={"bill2": 2}),
        Manifest(digest("3"), ("sha256-" + "a" * 64,), children=(digest("1"),)),
        Manifest(digest("4"), ("sha256-" + "b" * 64,), children=(digest("2"),)),
        Manifest(digest("5"), ("sha256-" + "b" * 64 + ".sig",), blobs={"payload": 4}),
        Manifest(digest("6"), subject=digest("f"), blobs={"orphan": 5}),
    ]

    found = judged(manifests, {digest("a"): "stack x"})

    assert set(found.kept) == {digest(letter) for letter in "a13"}
    assert found.kept[digest("a")] == "stack x"
    assert found.removed[:2] == (digest("4"), digest("b"))
    assert set(found.removed) == {digest(letter) for letter in "b2456"}
    assert found.freed == 20 + 2 + 4 + 5  # the base is still in use


def test_names_given_by_people_and_what_is_young_stay() -> None:
    """A tag is somebody's; an hour is the time to begin a deploy with an older fnmodel."""
    manifests = [
        Manifest(digest("a"), ("v1",)),
        Manifest(digest("b"), pushed=9.5 * HOUR),
        Manifest(digest("c"), pushed=1 * HOUR),
        Manifest(digest("d"), ("all",), children=(digest("e"),)),
        Manifest(digest("e")),
    ]

    found = judged(manifests, {})

    assert found.removed == (digest("c"),)
    assert found.kept[digest("a")] == "tagged v1"


def test_roots_that_are_not_in_the_repository_are_no_error() -> None:
    """A stage may run an image of another place."""
    assert judged([], {digest("a"): "stack x"}).removed == ()


@pytest.fixture
def ecr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("ecr")
        client.create_repository(repositoryName=NAME)
        yield client
        client.close()


class WaitsError(BaseException):
    """Whoever deploys waits, and will go on when the other is done."""


class Two:
    """One that deploys an image which is there already, and one that deletes what is unreachable.

    `calls` counts the calls to ECR of the one that runs; at the one that is named, before or after
    it, the other runs from its beginning to its end.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        [found] = client.describe_repositories()["repositories"]
        self.arn = found["repositoryArn"]
        self.there = {digest("a")}
        self.between: Callable[[], None] = lambda: None
        self.log: list[str] = []

    def pins(self) -> Pins:
        """Return what one of them has."""

        def sleep(_: float) -> None:
            raise WaitsError

        return Pins(self.client, self.arn, sleep=sleep)

    def deploy(self) -> None:
        """Use the image: it must be there until the end, whatever happens beside."""
        try:
            with self.pins().held(digest("a")):
                self.there.add(digest("a"))  # pushed if it was missing
                self.between()
                assert digest("a") in self.there, "deleted while it was being deployed"
                self.log.append("deployed")
        except WaitsError:
            self.log.append("waits")

    def collect(self) -> None:
        """Delete the image unless somebody deploys it."""
        with self.pins().sweeping() as turn:
            self.between()
            if digest("a") not in turn.pinned:
                self.there.discard(digest("a"))
                self.log.append("deleted")
            else:
                self.log.append("kept")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("first", ["deploy", "collect"])
@pytest.mark.parametrize("count", range(1, 5))
def test_at_no_moment_is_an_image_deleted_that_is_being_deployed(
    ecr: Any, first: str, when: str, count: int
) -> None:
    """Whichever of the two comes in at whichever call of the other: it is kept, or waited for."""
    two = Two(ecr)
    other = {"deploy": two.collect, "collect": two.deploy}[first]
    seen, inside = [0], [False]

    def maybe(**_: Any) -> None:
        if inside[0]:
            return
        seen[0] += 1
        if seen[0] == count:
            inside[0] = True
            other()
            inside[0] = False

    event = f"{when}-call.ecr"
    ecr.meta.events.register_first(event, maybe)
    try:
        getattr(two, first)()
    finally:
        ecr.meta.events.unregister(event, maybe)

    assert seen[0] >= count or two.log
    assert ecr.list_tags_for_resource(resourceArn=two.arn)["tags"] == []


@pytest.mark.parametrize("first", ["deploy", "collect"])
def test_nor_is_it_between_two_calls(ecr: Any, first: str) -> None:
    """In the middle of a deploy it is kept; in the middle of a deletion the deploy waits."""
    two = Two(ecr)
    outer, inner = {
        "deploy": (two.deploy, two.collect), "collect": (two.collect, two.deploy),
    }[first]  # fmt: skip

    def once() -> None:
        two.between = lambda: None
        inner()

    two.between = once
    outer()

    assert two.log == {"deploy": ["kept", "deployed"], "collect": ["waits", "deleted"]}[first]


def test_one_that_was_killed_is_not_waited_for_for_ever(ecr: Any) -> None:
    """Its word ends by itself, and is cleaned up by the next; a digest's holds for hours."""
    [found] = ecr.describe_repositories()["repositories"]
    now = [1_000_000.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pins = Pins(ecr, found["repositoryArn"], clock=lambda: now[0], sleep=sleep)
    killed = pins.sweeping()
    killed.__enter__()
    held = pins.held(digest("a"))
    held.__enter__()

    assert 500 < sum(slept) < 700
    with pytest.raises(LockHeldError), pins.sweeping(), pins.sweeping():
        raise AssertionError("two of them delete at once")
    now[0] += 3 * HOUR
    with pins.sweeping() as turn:
        assert turn.pinned == {digest("a")}
    now[0] += 4 * HOUR
    with pins.sweeping() as turn:
        assert turn.pinned == set()
    pins.forget()
    assert ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"] == []


def test_it_stops_long_before_its_word_ends(ecr: Any) -> None:
    """A laptop that slept in the middle of deleting deletes nothing more when it wakes."""
    [found] = ecr.describe_repositories()["repositories"]
    now = [1_000_000.0]
    pins = Pins(ecr, found["repositoryArn"], clock=lambda: now[0])
    with pins.sweeping() as turn:
        assert turn.may_go_on()
        now[0] += 250
        assert not turn.may_go_on()
        assert Images(ecr, NAME).delete([digest("a")], turn.may_go_on) == ()


def test_words_of_those_that_were_killed_do_not_fill_a_repository(ecr: Any) -> None:
    """A repository takes 50 tags; a deploy makes room for its own word first."""
    [found] = ecr.describe_repositories()["repositories"]
    now = [1_000_000.0]
    pins = Pins(ecr, found["repositoryArn"], clock=lambda: now[0])
    killed = [pins.held(digest("a")) for _ in range(3)]
    for one in killed:
        one.__enter__()
    now[0] += 7 * HOUR

    with pins.held(digest("b")):
        tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]

    assert [tag["Value"].split()[0] for tag in tags] == [digest("b")]
