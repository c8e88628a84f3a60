"""Environments kept started: of which versions, and that no move of the alias waits for them."""

from pathlib import Path

import pytest
from release_cases import digest, image_uri, proven

from fnmodel.config import FunctionConfig, load
from fnmodel.errors import AwsError, ConfigError, ReleaseError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.provisioned import Provisioned, StartedRouter, wanted
from fnmodel.release.publish import Publisher
from fnmodel.testing import InMemoryLambda

FUNCTION = "fnmodel-churn-started"


@pytest.fixture
def fake() -> InMemoryLambda:
    """Return a function with the versions 1 and 2; 1 is behind `live`."""
    fake = InMemoryLambda(FUNCTION, image_uri("a"), respond=proven)
    fake.update(image_uri("b"))
    Publisher(fake.client, FUNCTION, sleep=lambda _: None).publish(digest("b"))
    fake.mutations.clear()
    return fake


def keeper(fake: InMemoryLambda, count: int = 3) -> Provisioned:
    return Provisioned(fake.client, FUNCTION, count, sleep=lambda _: None, timeout=30)


def kept(fake: InMemoryLambda) -> dict[str, int]:
    pages = fake.client.get_paginator("list_provisioned_concurrency_configs")
    [page] = pages.paginate(FunctionName=FUNCTION)
    return {
        one["FunctionArn"].rpartition(":")[2]: one["RequestedProvisionedConcurrentExecutions"]
        for one in page["ProvisionedConcurrencyConfigs"]
    }


def test_each_version_that_serves_has_as_many() -> None:
    """Any of them may get all requests by one call; without a count none has."""
    assert wanted(["1", "2"], 3) == {"1": 3, "2": 3}
    assert wanted(["1"], 0) == {}


def test_versions_are_kept_started_and_no_others(fake: InMemoryLambda) -> None:
    """What no longer serves is let go, since it is billed by the hour."""
    keeper(fake).keep(["1", "2"])
    assert kept(fake) == {"1": 3, "2": 3}

    keeper(fake, count=5).keep(["2"])
    assert kept(fake) == {"2": 5}

    keeper(fake, count=0).keep(["2"])
    assert kept(fake) == {}


def test_repeated_it_only_reads(fake: InMemoryLambda) -> None:
    """The same command again, after a break or not, changes nothing more."""
    keeper(fake).keep(["1"])
    fake.mutations.clear()

    keeper(fake).keep(["1"])

    assert fake.mutations == []


def test_a_version_is_waited_for_until_it_has_started(fake: InMemoryLambda) -> None:
    """So that its first requests meet started environments."""
    keeper(fake).keep(["2"])

    keeper(fake).started("2")

    assert kept(fake) == {"2": 3}


def test_what_never_starts_is_told(fake: InMemoryLambda) -> None:
    """There is nothing to wait for, or not within the time."""
    with pytest.raises(ReleaseError, match="3 environments cannot be kept started"):
        keeper(fake).started("2")
    slow = InMemoryLambda(FUNCTION, image_uri("a"), pending_reads=1000)
    times = iter(range(100))
    late = Provisioned(
        slow.client, FUNCTION, 1, sleep=lambda _: None, clock=lambda: next(times), timeout=5
    )
    late.keep(["1"])
    with pytest.raises(ReleaseError, match="not started in 5 s"):
        late.started("1")


def router(fake: InMemoryLambda, notes: list[str]) -> StartedRouter:
    return StartedRouter(fake.client, FUNCTION, "live", keeper(fake), notes.append)


def test_the_alias_moves_first_by_one_call(fake: InMemoryLambda) -> None:
    """A canary, its promotion and the way back: environments follow, the alias has none itself."""
    moving = router(fake, [])
    for target, versions in (
        (AliasState("1", {"2": 0.1}), {"1": 3, "2": 3}),
        (AliasState("2"), {"2": 3}),
        (AliasState("1"), {"1": 3}),
    ):
        fake.mutations.clear()
        moving.move(target, moving.read())

        assert fake.mutations[0] == "UpdateAlias"
        assert fake.mutations.count("UpdateAlias") == 1
        assert kept(fake) == versions


def test_want_of_concurrency_does_not_undo_a_move(fake: InMemoryLambda) -> None:
    """The requests are where they should be; that they meet cold starts is said."""
    fake.unreserved = 2
    notes: list[str] = []
    moving = router(fake, notes)

    moved = moving.move(AliasState("2"), moving.read())

    assert moved.version == AliasRouter(fake.client, FUNCTION).read().version == "2"
    assert [note.partition(":")[0] for note in notes] == [
        "provisioned concurrency is as it was before the move"
    ]
    with pytest.raises(AwsError, match="unreserved"):
        keeper(fake).keep(["2"])


def test_an_alias_with_weights_takes_none_of_its_own(fake: InMemoryLambda) -> None:
    """Which is why it is the versions that are kept started."""
    moving = AliasRouter(fake.client, FUNCTION)
    moving.move(AliasState("1", {"2": 0.5}), moving.read())

    with pytest.raises(fake.client.exceptions.InvalidParameterValueException, match="weights"):
        fake.client.put_provisioned_concurrency_config(
            FunctionName=FUNCTION, Qualifier="live", ProvisionedConcurrentExecutions=1
        )


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("{snapstart: true, provisioned_concurrency: 1}", "exclude each other"),
        ("{reserved_concurrency: 2, provisioned_concurrency: 3}", "more than the 2"),
    ],
)
def test_what_lambda_refuses_is_refused_first(tmp_path: Path, function: str, said: str) -> None:
    """SnapStart beside it, and more than is reserved."""
    path = tmp_path / "fnmodel.yaml"
    path.write_text(f"name: churn\nmodel: model.pkl\nfunction: {function}\n", "utf-8")

    with pytest.raises(ConfigError, match=said):
        load(path)
    assert FunctionConfig(provisioned_concurrency=2, reserved_concurrency=2)
