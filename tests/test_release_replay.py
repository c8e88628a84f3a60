"""Rollouts of a service that nobody calls: what was captured is asked again, of both versions."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from release_cases import Emulator
from replay_cases import BUCKET, LIMITS, Replaying, score

from fnmodel.model import Tolerance
from fnmodel.release.alias import AliasState
from fnmodel.release.analysis import Readings, Requests, look
from fnmodel.release.findings import Verdict, findings
from fnmodel.release.plan import Limits, Replays
from fnmodel.release.replay import is_thin, wanted
from fnmodel.release.tick import Phase, Rollout, approve

pytest_plugins = ["release_emulator"]

THIN = Replays("when-thin", rate=100)
SHADOW = Replays(shadow=100, rate=100)
PREDICTIONS = Limits(samples=60, prediction_shift=0.1, latency_ratio=2.0)


@pytest.fixture(scope="module")
def storage(emulator: Emulator) -> Any:
    client = emulator.cloud.client("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def service(storage: Any) -> Iterator[Replaying]:
    service = Replaying(storage)
    yield service
    service.clear()


def said(rollout: Rollout, check: str) -> tuple[Verdict, str]:
    [found] = [finding for finding in rollout.findings if finding.check == check]
    return found.verdict, found.text


def test_a_good_candidate_goes_up_though_nobody_calls(service: Replaying) -> None:
    """Half a bake passes before it is known that callers are too few; then pairs stand for them."""
    service.capture(200)
    ended = service.run(service.begun(THIN, PREDICTIONS))

    assert ended.phase is Phase.completed, ended.why
    assert service.moves == [AliasState("1", {"2": 0.1}), AliasState("2")]
    assert ended.evidence.replayed is not None
    assert ended.evidence.replayed.pairs == 60
    assert "0 of the 60 that a step needs, 60 replayed for 1.2 billed seconds" in ended.why


def fails(row: Any) -> Any:
    if row["amount"] % 5 == 0:
        raise RuntimeError("it cannot")
    return score(row)


def refuses(row: Any) -> Any:
    return score({"amount": row["income"]})


def says_yes(row: Any) -> Any:
    return {"label": "yes" if row["amount"] > 5 else "no"}


@pytest.mark.parametrize(
    ("candidate", "milliseconds", "check"),
    [(fails, 10, "error"), (refuses, 10, "error"), (says_yes, 10, "predictions"),
     (score, 40, "latency")],
    ids=["crashes", "refuses", "answers otherwise", "slow"],
)  # fmt: skip
def test_a_bad_candidate_is_rolled_back_though_nobody_calls(
    service: Replaying, candidate: Any, milliseconds: float, check: str
) -> None:
    """For the reason that is true, and before all rows are asked."""
    service.candidate, service.milliseconds = candidate, milliseconds
    service.capture(200)
    ended = service.run(service.begun(THIN, PREDICTIONS))

    assert ended.phase is Phase.rolled_back
    assert ended.why.startswith(check)
    assert service.alias == AliasState("1")


def test_a_request_that_the_stable_version_fails_too_is_no_fault(service: Replaying) -> None:
    """Both fail a third of the time, each by itself: that is one and the same version."""
    dice = random.Random(7)

    def unsteady(row: Any) -> Any:
        assert dice.random() > 0.33, "it cannot"
        return score(row)

    service.candidate = service.stable = unsteady
    service.capture(400)
    ended = service.run(service.begun(replace(THIN, requests=200)), looks=15)

    assert ended.phase is not Phase.rolled_back
    assert ended.evidence.replayed is not None
    assert min(ended.evidence.replayed.failed) > 20


def test_one_failure_of_few_callers_does_not_hold_it_up(service: Replaying) -> None:
    """One of three requests failed; with the replayed ones that is one of many."""
    service.capture(200)
    rollout = service.begun(THIN)
    for _ in range(7):
        rollout = service.look(rollout)
        service.now += 60
    seen = Requests(300, 1), Requests(3, 1)
    evidence = look(rollout.evidence, Readings(*seen), LIMITS, random.Random(1))
    found = {f.check: f for f in findings(evidence, LIMITS, 3)}

    assert rollout.evidence.replayed is not None
    assert rollout.evidence.replayed.pairs == 60
    assert found["error rate"].verdict is Verdict.healthy
    assert found["error increase"].verdict is Verdict.inconclusive  # 1 of 63, where 1 of 360 failed


def test_replayed_requests_are_marked_and_go_by_number(service: Replaying) -> None:
    """Neither capture nor the alias's metrics take them for callers'; ids tell what was asked."""
    service.capture(30)
    service.run(service.begun(SHADOW), looks=2)
    versions = [version for version, _ in service.asked]
    events = [event for _, event in service.asked]

    assert versions[:4] == ["1", "2", "2", "1"]  # they take turns in being first
    assert {event["headers"]["x-fnmodel-replay"] for event in events} == {"v2-b"}
    assert {event["rawPath"] for event in events} == {"/models/churn/predict"}
    assert events[0]["requestContext"]["requestId"] == "replay/v2-b/07-29"


def test_rate_and_time_bound_a_look_and_the_next_goes_on(service: Replaying) -> None:
    """A driver has three seconds at five a second; whoever comes next asks the other rows."""
    service.capture(120)
    rollout = service.look(service.begun(replace(SHADOW, rate=5)))
    rollout = service.look(rollout, box=3.0)
    first, slept = len(service.asked), service.slept
    while rollout.shadows:
        rollout = service.look(rollout, box=3.0)
    rows = [event["body"] for version, event in service.asked if version == "1"]
    ids = [e["requestContext"]["requestId"] for v, e in service.asked if v == "1"]

    assert (first, round(slept, 6)) == (32, 3.0)
    assert len(rows) == len(set(ids)) == 100  # no row twice, the newest first
    assert ids[0].endswith("/07-119")


def test_the_newest_object_is_read_first_and_later_ones_after_the_oldest(
    service: Replaying,
) -> None:
    """Where captured rows run out, what callers ask meanwhile is taken when it arrives."""
    service.capture(10)
    rollout = service.look(service.look(service.begun(replace(SHADOW, shadow=200))))
    before = rollout.evidence.replayed
    service.capture(80, hour="08")
    rollout = service.look(rollout)
    after = rollout.evidence.replayed

    assert before is not None
    assert after is not None
    assert (before.pairs, before.exhausted) == (10, True)
    assert (after.pairs, after.unusable) == (90, 0)
    assert len({e["requestContext"]["requestId"] for _, e in service.asked}) == 90


@pytest.mark.parametrize(
    "redacted",
    [{"amount": None}, {"plan": "<email>"}, {"plan": "h:" + "0" * 32}, {"amount": 1}],
    ids=str,
)
def test_redacted_rows_are_never_healthy(service: Replaying, redacted: dict[str, Any]) -> None:
    """The stable version refuses them, or answers otherwise than it did: nothing is known."""
    service.capture(100, **redacted)
    rollout = service.run(service.begun(THIN), looks=20)
    verdict, text = said(rollout, "requests")

    assert rollout.phase is Phase.inconclusive
    assert verdict is Verdict.inconclusive
    assert "captured rows cannot be: redacted" in text
    assert service.alias == AliasState("1", {"2": 0.1})


def test_rows_that_turn_out_to_be_redacted_count_against_the_limit(service: Replaying) -> None:
    """They cost as much as others; those that show what they are cost nothing."""
    service.capture(200, amount=1)
    service.run(service.begun(replace(THIN, requests=30)), looks=20)
    asked = len(service.asked)
    service.clear()
    service.capture(200, plan="<email>")
    service.run(service.begun(replace(THIN, requests=30)), looks=20)

    assert asked == 60
    assert len(service.asked) == asked


def test_without_captured_rows_those_of_the_proof_stand_in(service: Replaying) -> None:
    """And it is said that they do."""
    rollout = service.begun(THIN)
    service.prove(rollout, 80)
    ended = service.run(rollout)

    assert ended.phase is Phase.completed
    assert "60 of them rows of the model's proof" in ended.why


def test_without_any_rows_a_thin_rollout_waits(service: Replaying) -> None:
    """No requests, captured or called, are inconclusive."""
    rollout = service.run(service.begun(THIN), looks=20)

    assert rollout.phase is Phase.inconclusive
    assert "there are no more rows to replay" in said(rollout, "requests")[1]


def test_the_shadow_comes_before_the_first_percent(service: Replaying) -> None:
    """As many requests as were asked for; only then the candidate gets callers."""
    service.capture(150)
    begun = service.look(service.begun(SHADOW))
    after = service.look(begun)

    assert (begun.phase, begun.current, service.moves[:1]) == (
        Phase.shadow, None, [AliasState("1", {"2": 0.1})],
    )  # fmt: skip
    assert (after.phase, after.step) == (Phase.baking, 0)
    assert len(service.asked) == 200


def test_no_step_is_taken_after_a_bad_shadow(service: Replaying) -> None:
    """What differed is named by the ids of requests, not by what stood in them."""
    service.candidate = says_yes
    service.capture(150)
    ended = service.run(service.begun(SHADOW, PREDICTIONS))

    assert ended.phase is Phase.rolled_back
    assert ended.why.startswith("predictions")
    assert "(request 07-147, 07-140" in ended.why
    assert "gold" not in ended.why
    assert service.moves == []


def test_a_shadow_that_sees_too_little_asks_or_waits(service: Replaying) -> None:
    """With `approve` a person says whether the first step is taken all the same."""
    service.capture(20)
    asking = service.run(service.begun(SHADOW, inconclusive="approve"), looks=3)
    agreed = service.look(approve(asking))

    assert (asking.phase, asking.step) == (Phase.approval, -1)
    assert (agreed.phase, agreed.step) == (Phase.baking, 0)


def test_a_replay_that_is_refused_hides_nothing_and_goes_on_later(service: Replaying) -> None:
    """What was asked until then counts, callers' figures are judged, and `status` says why."""
    service.capture(200)
    calls = iter(range(5))

    def refuse(**_: Any) -> None:
        if next(calls, None) is None:
            detail = {"Code": "AccessDeniedException", "Message": "not allowed"}
            raise ClientError({"Error": detail}, "Invoke")

    rollout = service.look(service.begun(SHADOW))
    events = service.function.client.meta.events
    events.register_first("before-call.lambda.Invoke", refuse)
    broken = service.look(rollout)
    events.unregister("before-call.lambda.Invoke", refuse)
    ended = service.run(broken)

    assert broken.phase is Phase.shadow
    assert broken.evidence.replayed is not None
    assert (broken.evidence.replayed.pairs, broken.evidence.replayed.billed_ms) == (2, 40)
    assert said(broken, "requests")[1].endswith(
        "replaying broke off: Invoke: not allowed (AccessDeniedException)"
    )
    assert "broke off" not in said(ended, "requests")[1]


def test_rows_that_prove_useless_are_billed_too(service: Replaying) -> None:
    """Both versions are invoked before it is known that a row is not what was asked."""
    service.stable = lambda _: {"label": "other"}
    service.capture(30)
    rollout = service.run(service.begun(SHADOW), looks=2)

    replayed = rollout.evidence.replayed
    assert replayed is not None
    assert (replayed.pairs, replayed.asked, replayed.billed_ms) == (0, 30, 600)


def test_the_same_model_is_held_to_its_tolerance(service: Replaying) -> None:
    """Half a point more is within a shift of 10 %, and not what the same model may answer."""

    def other(row: Any) -> Any:
        return {"label": score(row)["label"], "score": 0.905}

    service.candidate = other
    service.stable = lambda row: {**score(row), "score": 0.9}
    rollout = service.begun(SHADOW, tolerance=Tolerance(1e-4, 1e-3))
    service.prove(rollout, 100)
    ended = service.run(rollout)
    service.now, service.moves = 1_800_000_000.0, []
    loose = service.run(service.begun(SHADOW, tolerance=Tolerance(0.01, 0.0)))

    assert ended.phase is Phase.rolled_back
    assert "beyond the tolerance of the model, which is the same" in ended.why
    assert loose.phase is Phase.completed


def test_a_busy_service_replays_nothing(service: Replaying) -> None:
    """`when-thin` asks whether requests come in time; half a bake must have passed."""
    baking = replace(service.begun(THIN), phase=Phase.baking, since=1000.0)

    def with_requests(count: int) -> Rollout:
        seen = Requests(), Requests(count=count)
        evidence = replace(baking.evidence, baseline=(Requests(), Requests()), seen=seen)
        return replace(baking, evidence=evidence)

    assert not is_thin(with_requests(0), 1200.0)
    assert is_thin(with_requests(20), 1300.0)
    assert not is_thin(with_requests(40), 1300.0)
    assert is_thin(with_requests(59), 1700.0)
    assert not is_thin(with_requests(60), 1700.0)
    assert wanted(with_requests(20), 1300.0) == 60
    assert wanted(replace(with_requests(20), paused=True), 1300.0) == 0
    assert wanted(with_requests(40), 1300.0) == 0


def test_the_controller_leaves_it_to_a_command_that_watches(service: Replaying) -> None:
    """Both would ask the same rows, and one would do it for nothing."""
    service.capture(100)
    begun = service.look(service.begun(SHADOW))
    service.now += 10
    left = service.look(begun, yields=True)
    service.now += 60
    taken = service.look(replace(left, looked=left.looked - 10), yields=True)

    assert left.evidence.replayed is not None
    assert left.evidence.replayed.pairs == 0
    assert taken.step == 0


def test_limits_of_the_shadow_are_those_of_the_rollout(service: Replaying) -> None:
    """Alarms that ring before it has callers are not its doing; a short one needs fewer rows."""
    rollout = service.begun(replace(SHADOW, shadow=20))

    assert rollout.limits == replace(LIMITS, samples=18, alarms=False)
    assert replace(rollout, step=0).limits == LIMITS
