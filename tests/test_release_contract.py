"""What publishing and moving rest on, checked on the strict fake and on an emulator alike."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from release_cases import Emulator, digest, image_uri, proven

from fnmodel.errors import ConflictError, ReleaseError
from fnmodel.release.alias import AliasRouter, AliasState
from fnmodel.release.publish import Publisher
from fnmodel.release.reasons import REMEDIES, remedy
from fnmodel.testing import InMemoryLambda

pytest_plugins = ["release_emulator"]

FUNCTION = "fnmodel-churn-contract"


@dataclass(frozen=True)
class Cloud:
    """A deployed function with version 1 behind `live`, and how its stack would change it."""

    client: Any
    update: Callable[[str], object]
    strict: bool

    @property
    def publisher(self) -> Publisher:
        """Publish its versions, looking often."""
        return Publisher(self.client, FUNCTION, interval=0.05)

    @property
    def router(self) -> AliasRouter:
        """Move its alias."""
        return AliasRouter(self.client, FUNCTION)

    def publish(self, letter: str) -> str:
        """Give it another image and publish that."""
        self.update(letter)
        return self.publisher.publish(digest(letter)).number


@pytest.fixture(params=["fake", "emulator"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    if request.param == "fake":
        fake = InMemoryLambda(FUNCTION, image_uri("a"), respond=proven)
        yield Cloud(fake.client, lambda letter: fake.update(image_uri(letter)), strict=True)
        return
    emulator: Emulator = request.getfixturevalue("emulator")
    emulator.deploy("contract", "a")
    yield Cloud(
        emulator.client("lambda"), lambda letter: emulator.deploy("contract", letter), strict=False
    )
    emulator.stacks.delete(FUNCTION)


def test_the_alias_starts_on_version_1(cloud: Cloud) -> None:
    """Version 1 is what the stack was made with, and it gets everything."""
    state = cloud.router.read()

    assert state.serves_as(AliasState("1"))
    assert state.revision_id
    assert [v.number for v in cloud.publisher.versions()] == ["1"]
    assert cloud.publisher.published() == cloud.publisher.versions()[0]


def test_an_unchanged_function_is_not_published_twice(cloud: Cloud) -> None:
    """The same image and settings are the same version, however often it is asked for."""
    assert cloud.publisher.publish(digest("a")).number == "1"

    assert cloud.publish("b") == "2"
    assert cloud.publisher.publish(digest("b")).number == "2"
    assert [v.number for v in cloud.publisher.versions()] == ["1", "2"]


def test_publishing_waits_for_the_update(cloud: Cloud) -> None:
    """Right after its stack was updated the function is not ready yet."""
    cloud.update("b")
    before = cloud.client.get_function(FunctionName=FUNCTION)["Configuration"]
    assert before["LastUpdateStatus"] == "InProgress"

    assert cloud.publisher.publish(digest("b")).digest == digest("b")


def test_a_published_version_never_changes(cloud: Cloud) -> None:
    """Version 1 keeps its image when the function gets another one."""
    cloud.publish("b")

    assert [(v.number, v.digest) for v in cloud.publisher.versions()] == [
        ("1", digest("a")),
        ("2", digest("b")),
    ]


def test_publishing_somebody_else_s_image_is_refused(cloud: Cloud) -> None:
    """A function that was given another image meanwhile is a conflict, not our release."""
    cloud.update("c")

    with pytest.raises(ConflictError, match="another image"):
        cloud.publisher.publish(digest("b"))
    assert [v.number for v in cloud.publisher.versions()] == ["1"]


def test_a_move_shows_in_the_next_read(cloud: Cloud) -> None:
    """Weights go in, and out again when they are empty."""
    cloud.publish("b")
    router = cloud.router

    moved = router.move(AliasState("1", {"2": 0.25}), router.read())
    assert moved == router.read()
    assert dict(moved.weights) == {"2": 0.25}
    assert moved.candidate == "2"

    cleared = router.move(AliasState("2"), moved)
    assert cleared == router.read()
    assert cleared.serves_as(AliasState("2"))


def test_a_stale_state_moves_nothing(cloud: Cloud) -> None:
    """Whoever read the alias before somebody else's move gets a conflict."""
    cloud.publish("b")
    router = cloud.router
    stale = router.read()
    router.move(AliasState("2"), stale)

    with pytest.raises(ConflictError, match="moved by someone else") as caught:
        router.move(AliasState("1", {"2": 0.5}), stale)

    assert caught.value.exit_code == 5
    assert router.read().serves_as(AliasState("2"))


def test_a_version_in_use_cannot_be_deleted(cloud: Cloud) -> None:
    """Neither the stable version nor the candidate."""
    cloud.publish("b")
    cloud.router.move(AliasState("1", {"2": 0.5}), cloud.router.read())

    with pytest.raises(cloud.client.exceptions.ResourceConflictException):
        cloud.client.delete_function(FunctionName=FUNCTION, Qualifier="1")
    if cloud.strict:
        with pytest.raises(cloud.client.exceptions.ResourceConflictException):
            cloud.client.delete_function(FunctionName=FUNCTION, Qualifier="2")


def test_version_numbers_never_come_back(cloud: Cloud) -> None:
    """A deleted version leaves a gap."""
    cloud.publish("b")
    cloud.client.delete_function(FunctionName=FUNCTION, Qualifier="2")

    assert cloud.publish("c") == "3"


def test_what_does_not_exist_is_named(cloud: Cloud) -> None:
    """Function, alias and version are told apart."""
    with pytest.raises(ReleaseError, match="no alias 'blue'"):
        AliasRouter(cloud.client, FUNCTION, "blue").read()
    with pytest.raises(ReleaseError, match="no function nowhere"):
        Publisher(cloud.client, "nowhere").latest()
    with pytest.raises(ReleaseError, match="no function nowhere"):
        Publisher(cloud.client, "nowhere").versions()
    with pytest.raises(ReleaseError, match="no version 7"):
        cloud.publisher.ready("7")


# ---------------------------------------------------------------- where emulators are too lax


@pytest.fixture
def fake() -> InMemoryLambda:
    return InMemoryLambda(FUNCTION, image_uri("a"))


@pytest.mark.parametrize(
    ("version", "weights"),
    [
        ("1", {"2": 1.5}), ("1", {"2": 0.1, "3": 0.1}), ("1", {"1": 0.5}),
        ("$LATEST", {"1": 0.5}), ("1", {"$LATEST": 0.5}), ("9", {}), ("1", {"9": 0.5}),
    ],
)  # fmt: skip
def test_the_fake_refuses_what_lambda_refuses(
    fake: InMemoryLambda, version: str, weights: dict[str, float]
) -> None:
    """Weights, `$LATEST` in routing, and versions that do not exist."""
    for letter in "bc":
        fake.update(image_uri(letter))
        Publisher(fake.client, FUNCTION, interval=0).publish(digest(letter))
    errors = fake.client.exceptions

    with pytest.raises((errors.InvalidParameterValueException, errors.ResourceNotFoundException)):
        fake.client.update_alias(
            FunctionName=FUNCTION,
            Name="live",
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": weights},
        )
    assert AliasRouter(fake.client, FUNCTION).read().serves_as(AliasState("1"))


def test_a_move_to_a_version_that_is_gone_is_a_release_error(fake: InMemoryLambda) -> None:
    """Lambda's own words reach the user."""
    router = AliasRouter(fake.client, FUNCTION)

    with pytest.raises(ReleaseError, match="cannot be moved to version 9: no version 9"):
        router.move(AliasState("9"), router.read())


def test_a_move_needs_a_state_that_was_read(fake: InMemoryLambda) -> None:
    """Without a revision a move would overwrite whatever is there."""
    with pytest.raises(ValueError, match="was read"):
        AliasRouter(fake.client, FUNCTION).move(AliasState("1"), AliasState("1"))


@pytest.mark.parametrize(("weight", "serves"), [(0.0, AliasState("1")), (1.0, AliasState("2"))])
def test_weights_set_by_hand_are_read_for_what_they_do(
    fake: InMemoryLambda, weight: float, serves: AliasState
) -> None:
    """A weight of 0 is no candidate, one of 1 is the stable version."""
    fake.update(image_uri("b"))
    Publisher(fake.client, FUNCTION, interval=0).publish(digest("b"))
    fake.client.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        RoutingConfig={"AdditionalVersionWeights": {"2": weight}},
    )

    assert AliasRouter(fake.client, FUNCTION).read().serves_as(serves)


def test_a_change_while_publishing_is_a_conflict(fake: InMemoryLambda) -> None:
    """The revision that was looked at is the one that is published."""
    fake.update(image_uri("b"))
    once = [1]

    def meddle(**_: object) -> None:
        if once and once.pop():
            fake.update(image_uri("b"), memory=512)
            fake._in_progress = 0

    fake.client.meta.events.register_first("before-call.lambda.PublishVersion", meddle)
    with pytest.raises(ConflictError):
        Publisher(fake.client, FUNCTION, interval=0).publish(digest("b"))


def test_every_reason_of_lambda_has_a_remedy(fake: InMemoryLambda) -> None:
    """Each code of the Lambda API is explained; a new one fails here first."""
    model = fake.client.meta.service_model
    for shape in ("StateReasonCode", "LastUpdateStatusReasonCode"):
        assert set(model.shape_for(shape).enum) <= set(REMEDIES)
    assert remedy("SomethingNew")


@pytest.mark.parametrize("code", ["ImageDeleted", "FunctionError.InitTimeout", "KMSKeyNotFound"])
def test_a_failed_update_is_told_with_its_reason(fake: InMemoryLambda, code: str) -> None:
    """The message carries Lambda's reason, the hint its remedy; nothing is published."""
    fake.update(image_uri("b"))
    fake.fail(code, "no such image")

    with pytest.raises(ReleaseError, match=rf"no such image \({code}\)") as caught:
        Publisher(fake.client, FUNCTION, interval=0).publish(digest("b"))

    assert caught.value.hint == REMEDIES[code]
    assert fake.mutations == []


def test_waiting_for_lambda_is_bounded() -> None:
    """An update that never ends is given up, with the advice to wait on."""
    fake = InMemoryLambda(FUNCTION, image_uri("a"), pending_reads=10**6)
    fake.update(image_uri("b"))
    now = iter(range(0, 10**6, 200))

    publisher = Publisher(
        fake.client, FUNCTION, sleep=lambda _: None, clock=lambda: float(next(now))
    )
    with pytest.raises(ReleaseError, match="after 600 s") as caught:
        publisher.publish(digest("b"))
    assert "waits on" in caught.value.hint


def test_a_changed_setting_is_another_version(fake: InMemoryLambda) -> None:
    """The same image with other memory is published anew."""
    fake.update(image_uri("a"), memory=512)

    assert Publisher(fake.client, FUNCTION, interval=0).published() is None
    assert Publisher(fake.client, FUNCTION, interval=0).publish(digest("a")).number == "2"


def test_switching_snapshots_on_is_another_version(fake: InMemoryLambda) -> None:
    """What was asked for counts: the function never has a snapshot, a version of it may."""
    fake.update(image_uri("a"), snapstart="PublishedVersions")
    publisher = Publisher(fake.client, FUNCTION, interval=0)

    assert publisher.published() is None
    assert [publisher.publish(digest("a")).number for _ in range(2)] == ["2", "2"]
