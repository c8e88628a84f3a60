"""What a rollout does next: rollouts of hours, decided in milliseconds."""

import json
from dataclasses import replace

import pytest
from rollout_cases import LIMITS, PLAN, STEPS, Service, Version, begun

from fnmodel.release.alias import AliasState
from fnmodel.release.findings import Verdict
from fnmodel.release.plan import Plan, Step, all_at_once, canary, linear
from fnmodel.release.tick import Phase, Rollout, approve, go_back


def test_a_good_candidate_goes_up_step_by_step_to_all_the_requests() -> None:
    """Each step is baked for its time, then the next one is taken; the last makes it stable."""
    service = Service(begun())
    service.run()

    assert service.rollout.phase is Phase.completed
    assert service.moves == [
        (0.0, AliasState("1", {"2": 0.1})),
        (600.0, AliasState("1", {"2": 0.5})),
        (1200.0, AliasState("2")),
    ]


@pytest.mark.parametrize(
    ("candidate", "check"),
    [
        (Version(errors=0.3), "error"),
        (Version(errors=0.08), "error"),
        (Version(slow=0.3), "latency"),
    ],
)
def test_a_bad_candidate_is_rolled_back_by_itself(candidate: Version, check: str) -> None:
    """It loses its requests within the first step, for the reason that is true."""
    plan = Plan(STEPS, replace(LIMITS, latency_ratio=1.5))
    service = Service(begun(plan), candidate, rate=20)
    service.run()

    assert service.rollout.phase is Phase.rolled_back
    assert service.rollout.why.startswith(check)
    assert service.alias == AliasState("1")
    assert service.shares == [10.0, 0.0]
    assert service.now <= 600


def test_a_candidate_that_fails_always_is_gone_within_its_first_requests() -> None:
    """A dozen failures are enough; nobody waits for the bake to end."""
    service = Service(begun(), Version(errors=1.0), rate=0.5)
    service.run()

    assert service.rollout.phase is Phase.rolled_back
    assert service.did[1].count <= 20


def test_quiet_rollouts_are_not_rolled_back() -> None:
    """Of 200 candidates exactly as good as the stable version, at most 1 % are, over all checks."""
    plan = Plan(
        (Step(10, 900), Step(50, 900)), replace(LIMITS, latency_ratio=1.0, error_increase=0.0)
    )
    ended = []
    for seed in range(200):
        same = Version(errors=0.01, slow=0.01)
        service = Service(begun(plan), same, same, rate=2, seed=seed, every=120)
        for _ in range(25):
            service.tick()
            service.serve(service.every)
        ended.append(service.rollout.phase)

    assert ended.count(Phase.rolled_back) <= 2


def test_without_requests_nothing_is_healthy() -> None:
    """It waits as inconclusive, and returns to the stable version at the deadline."""
    service = Service(begun(), rate=0.0)
    service.run(lambda s: s.rollout.phase is Phase.inconclusive)
    waiting = service.rollout
    service.run()

    assert "0 of the 50" in waiting.why
    assert service.rollout.phase is Phase.rolled_back
    assert service.rollout.why.startswith("it has not ended within 24 h")
    assert service.now == pytest.approx(86_400, abs=60)


def test_a_figure_beyond_its_limit_that_may_be_chance_is_not_promoted() -> None:
    """One failure of fifty is over a limit of 1 %: more is needed before it goes on."""
    plan = Plan(STEPS, replace(LIMITS, error_rate=None))
    service = Service(begun(plan), rate=0.0)
    service.tick()
    service.did = (
        replace(service.did[0], count=450),
        replace(service.did[1], count=50, errors=1),
    )
    service.now = 600
    service.tick()
    doubtful = service.rollout.phase
    service.did = (replace(service.did[0], count=2250), replace(service.did[1], count=250))
    service.did = (service.did[0], replace(service.did[1], errors=1))
    service.now = 700
    service.tick()

    assert doubtful is Phase.inconclusive
    assert (service.rollout.phase, service.rollout.step) == (Phase.baking, 1)


@pytest.mark.parametrize(
    ("policy", "phase", "version"),
    [("rollback", Phase.rolled_back, "1"), ("approve", Phase.approval, "1")],
)
def test_an_inconclusive_bake_ends_as_the_plan_says(
    policy: str, phase: Phase, version: str
) -> None:
    """Back, or to a person."""
    service = Service(begun(replace(PLAN, inconclusive=policy)), rate=0.0)  # type: ignore[arg-type]
    service.run(lambda s: s.rollout.phase is Phase.approval)

    assert service.rollout.phase is phase
    assert service.now == 600
    assert "inconclusive" in service.rollout.why


def test_a_step_that_needs_approval_waits_for_it() -> None:
    """It stays where it is until somebody agrees, and then goes on."""
    plan = Plan((Step(10, 600), Step(50, 600, approve=True)), LIMITS)
    service = Service(begun(plan))
    service.run(lambda s: s.rollout.phase is Phase.approval)
    service.serve(3600)
    service.tick()
    waiting = service.rollout
    service.rollout = approve(service.rollout)
    service.run()

    assert (waiting.phase, service.shares[:1]) == (Phase.approval, [10.0])
    assert "needs approval" in waiting.why
    assert service.rollout.phase is Phase.completed
    assert service.shares == [10.0, 50.0, 100.0]


def test_a_failed_check_is_not_waited_out_by_a_pause_or_an_approval() -> None:
    """Whoever paused it may be asleep: a bad candidate goes back all the same."""
    for rollout in (begun(paused=True), begun(phase=Phase.approval, step=0)):
        alias = AliasState("1", {"2": 0.1})
        service = Service(rollout, Version(errors=0.5), rate=5, alias=alias)
        service.run()

        assert service.rollout.phase is Phase.rolled_back
        assert service.alias == AliasState("1")


def test_a_paused_rollout_takes_no_step_until_its_deadline() -> None:
    """Paused and forgotten, it returns to the stable version."""
    service = Service(begun(paused=True))
    service.run()

    assert service.shares == [10.0, 0.0]
    assert service.rollout.phase is Phase.rolled_back
    assert "24 h" in service.rollout.why


def test_an_alarm_that_begins_to_ring_rolls_back_and_one_that_rang_before_does_not() -> None:
    """A fix may be rolled out while the stage rings; a new alarm is the candidate's."""
    service = Service(begun(), alarms=("fnmodel-x-errors",))
    service.run(lambda s: s.rollout.step == 1)
    service.alarms = ("fnmodel-x-crashes", "fnmodel-x-errors")
    service.tick()

    assert service.rollout.phase is Phase.rolled_back
    assert service.rollout.why == "alarms: fnmodel-x-crashes rings"


def test_an_alias_that_somebody_moved_is_left_alone() -> None:
    """The hand wins: the rollout ends and touches nothing."""
    for moved in (AliasState("1"), AliasState("2"), AliasState("1", {"2": 0.3}), AliasState("3")):
        service = Service(begun())
        service.tick()
        service.alias = moved
        service.tick()

        assert service.rollout.phase is Phase.superseded
        assert service.alias == moved


def test_a_rollback_that_somebody_overtook_is_left_alone() -> None:
    """A third version on the alias is not the rollout's to move."""
    service = Service(begun(), alias=AliasState("3"))
    service.rollout = go_back(service.rollout, "aborted by ada")
    service.tick()

    assert service.rollout.phase is Phase.superseded
    assert service.alias == AliasState("3")


@pytest.mark.parametrize("bad", [False, True])
def test_killed_after_any_decision_it_goes_on(bad: bool) -> None:
    """A driver may die between writing its decision down and moving the alias, each time."""
    service = Service(begun(), Version(errors=0.4 if bad else 0.0))
    for number in range(400):
        service.tick(die=number % 3 != 2)
        if not service.rollout.active:
            break
        service.serve(60)

    assert service.rollout.phase is (Phase.rolled_back if bad else Phase.completed)
    assert service.alias == AliasState("1" if bad else "2")


def test_all_at_once_is_watched_with_the_way_back_open() -> None:
    """The candidate gets everything, and loses everything when it fails."""
    good = Service(begun(Plan(all_at_once(600), LIMITS)))
    bad = Service(begun(Plan(all_at_once(600), LIMITS)), Version(errors=0.5))
    good.run()
    bad.run()

    assert (good.rollout.phase, good.shares, good.now) == (Phase.completed, [100.0], 600.0)
    assert (bad.rollout.phase, bad.shares) == (Phase.rolled_back, [100.0, 0.0])


def test_strategies_are_steps() -> None:
    """Linear stops below 100 %, where the promotion follows."""
    assert [step.percent for step in linear(25, 60)] == [25, 50, 75]
    assert [step.percent for step in linear(33, 60)] == [33, 66, 99]
    assert [step.percent for step in linear(33.333, 60)] == [33.333, 66.666]
    assert canary(5, 60) == (Step(5, 60),)
    assert all_at_once(0) == (Step(100, 0),)
    for steps in ((), (Step(50, 1), Step(10, 1)), (Step(10, 1), Step(10, 1))):
        with pytest.raises(ValueError, match="step by step"):
            Plan(steps)


def test_a_rollout_survives_json_at_every_tick() -> None:
    """What is written down is what is read."""
    service = Service(begun(Plan(STEPS, replace(LIMITS, latency_ratio=2.0))))

    def kept(one: Service) -> bool:
        again = Rollout.from_json(json.loads(json.dumps(one.rollout.to_json())))
        assert again == one.rollout
        return False

    service.run(kept)


def test_an_ended_rollout_does_nothing_more() -> None:
    """Whatever is measured later."""
    service = Service(begun())
    service.run()
    ended = service.rollout
    service.serve(60)
    service.tick()

    assert service.rollout is ended
    assert all(finding.verdict is not Verdict.failed for finding in ended.findings)
