"""Anything that people, alarms, traffic and crashes do to a rollout, in any order."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from rollout_cases import LIMITS, Service, Version, begun

from fnmodel.release.alias import AliasState
from fnmodel.release.plan import Plan, Step
from fnmodel.release.tick import Phase, approve, go_back

PLAN = Plan((Step(10, 120), Step(50, 120, approve=True), Step(100, 120)), LIMITS, deadline=7200)
SHARES = {0.0, 10.0, 50.0, 100.0}


class Anything(RuleBasedStateMachine):
    """Drives the pure rollout over a service that is good or bad, and over hands on its alias."""

    def __init__(self) -> None:
        super().__init__()
        self.service = Service(begun(PLAN), rate=1.0)
        self.by_hand = False
        self.ended: AliasState | None = None
        self.highest = 0.0

    @rule(minutes=st.integers(1, 5), errors=st.sampled_from([0.0, 0.0, 0.02, 0.5]))
    def serve(self, minutes: int, errors: float) -> None:
        """Send requests, which the candidate answers so or so."""
        self.service.candidate = Version(errors=errors)
        self.service.serve(60.0 * minutes)

    @rule(die=st.booleans())
    def look(self, die: bool) -> None:
        """Somebody drives, and may be killed between writing a move down and making it."""
        moved = len(self.service.moves)
        self.service.tick(die=die)
        if self.ended is not None:
            assert self.service.moves[moved:] == [], "an ended rollout moved the alias"
        if not self.service.rollout.active and self.ended is None:
            self.ended = self.service.alias

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        """Somebody pauses or resumes."""
        if self.service.rollout.active:
            self.service.rollout = replace(self.service.rollout, paused=paused)

    @rule()
    def approve(self) -> None:
        """Somebody agrees, where that is asked."""
        if self.service.rollout.phase in {Phase.approval, Phase.inconclusive}:
            self.service.rollout = approve(self.service.rollout)

    @rule()
    def abort(self) -> None:
        """Somebody aborts."""
        if self.service.rollout.active:
            self.service.rollout = go_back(self.service.rollout, "aborted by eve")

    @rule(rings=st.booleans())
    def alarm(self, rings: bool) -> None:
        """Let an alarm begin to ring, or stop."""
        self.service.alarms = ("fnmodel-x-errors",) if rings else ()

    @rule(to=st.sampled_from([AliasState("1"), AliasState("3"), AliasState("1", {"2": 0.33})]))
    def hand(self, to: AliasState) -> None:
        """Somebody moves the alias in the console."""
        self.service.alias = to
        self.by_hand = True

    @invariant()
    def shares_are_those_of_the_plan(self) -> None:
        """No move gives the candidate a share that nobody asked for."""
        assert set(self.service.shares) <= SHARES

    @invariant()
    def it_goes_up_by_single_steps(self) -> None:
        """Each move is one step up, or all the way back."""
        before = 0.0
        for share in self.service.shares:
            ladder = [0.0, 10.0, 50.0, 100.0]
            assert share == 0.0 or ladder.index(share) - ladder.index(before) in {0, 1}
            before = share

    @invariant()
    def what_it_ended_as_is_where_the_alias_was(self) -> None:
        """Completed is the candidate alone, rolled back the stable version alone."""
        if self.ended is None:
            return
        if self.service.rollout.phase is Phase.completed:
            assert self.ended == AliasState("2")
        if self.service.rollout.phase is Phase.rolled_back:
            assert self.ended == AliasState("1")
        if self.service.rollout.phase is Phase.superseded:
            assert self.by_hand

    def teardown(self) -> None:
        """Left to a driver, it ends at its deadline at the latest."""
        self.service.rate = 0.1
        for _ in range(200):
            self.service.tick()
            if not self.service.rollout.active:
                break
            self.service.serve(60)
        assert not self.service.rollout.active


Anything.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
test_anything_in_any_order = Anything.TestCase
