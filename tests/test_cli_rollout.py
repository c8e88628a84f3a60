"""What a person sees of a rollout: a line, a view, when it may end, what it waits for."""

from dataclasses import replace
from random import Random

import pytest
from rollout_cases import Service, Version, begun

from fnmodel.cli.rollout_view import brief, earliest, lines, waits_for
from fnmodel.release.analysis import none_yet
from fnmodel.release.plan import Limits, Plan, Replays, Step
from fnmodel.release.replayed import Asked, Batch, Pair, add
from fnmodel.release.tick import SHADOW, Phase, Rollout

LIMITS = Limits(samples=50)
PLAN = Plan((Step(10, 600), Step(50, 600)), LIMITS, replays=Replays("when-thin", shadow=40))


@pytest.fixture
def shadowed() -> Rollout:
    evidence = none_yet(LIMITS, None, PLAN.replays)
    assert evidence.replayed is not None
    pair = Pair("r-1", Asked(ms=10.0, billed=10), Asked(failed=True))
    replayed = add(
        evidence.replayed, Batch((pair,) * 20, asked=20, billed_ms=200), LIMITS, Random(1)
    )
    evidence = replace(evidence, replayed=replayed)
    return begun(PLAN, evidence=evidence, step=SHADOW, phase=Phase.shadow)


def test_the_view_shows_steps_weights_evidence_and_what_it_waits_for() -> None:
    """As it stands after half a bake; the e-value stands beside the one at which it fails."""
    service = Service(begun(Plan(PLAN.steps, LIMITS), started=60.0), Version(), now=60.0)
    service.run(lambda s: s.now >= 360)
    text = list(lines(service.rollout, service.now))

    assert text[0] == "version 2 baking at 10 % (step 1 of 2), 300 s to bake"
    assert text[1] == "  steps     [10 %] → 50 % → 100 %"
    assert text[2] == "  weights   ██░░░░░░░░░░░░░░░░░░ 0.1 of the requests to version 2"
    assert text[-2] == "  waits for the bake to end"
    assert text[-1] == "  ends      in 15 min at the earliest; it goes back in 24 h if it has not"
    [rate] = [line for line in text if "error rate" in line]
    assert rate.startswith("  ok error rate")
    assert "/ 200 " in rate  # two checks share a rate of 1 %


def test_the_shadow_counts_what_is_replayed(shadowed: Rollout) -> None:
    """It has no share of the requests; and which requests differ stands with the check."""
    text = list(lines(shadowed, 60.0))

    assert text[0] == "version 2 shadow, 20 of 40 requests replayed"
    assert text[1].startswith("  steps     [shadow] → 10 %")
    assert "░" * 20 in text[2]
    assert any("XX error" in line and "(request r-1" in line for line in text)
    assert earliest(shadowed, 60.0) == 1204.0


def test_what_it_waits_for_is_said() -> None:
    """A person, requests, or nothing any more."""
    rollout = begun(PLAN, phase=Phase.baking)

    assert waits_for(replace(rollout, paused=True)) == "`fnmodel rollout resume`"
    assert waits_for(replace(rollout, phase=Phase.approval, why="step 2")).endswith("step 2")
    assert waits_for(replace(rollout, phase=Phase.inconclusive, why="few")) == "few"
    assert waits_for(replace(rollout, phase=Phase.completed)) == ""
    assert earliest(replace(rollout, phase=Phase.approval), 0.0) is None


def test_a_line_is_never_long() -> None:
    """A status has room for a line; `rollout status` has every word."""
    rollout = begun(PLAN, phase=Phase.rolled_back, why="predictions: " + "x" * 500)

    assert len(brief(rollout, 0.0)) == 120
    assert brief(replace(rollout, phase=Phase.completed), 0.0) == "version 2 completed"
