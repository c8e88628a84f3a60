"""Anything that people and crashes do to a stage, against a small oracle."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from crash_cases import (
    ABORT,
    DESTROY,
    PROMOTE,
    ROLLBACK,
    WAYS,
    Command,
    World,
    deploy,
    hit,
    shift,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

RUNS = int(os.environ.get("FNMODEL_CRASH_RUNS", "20"))
"""`make crash` asks for 2,000."""

# Killed after its last call, a roll-back is done: the same command again is another one.
HEARD = tuple(way for way in WAYS if way != "killed after")

_BEFORE_DESTROYED = 3

_kept: dict[str, Any] = {}


def world(letters: str) -> World:
    """Return an account with these deployed; one for all runs, since its clients cost most."""
    if not _kept:
        _kept["world"] = World(Path(tempfile.mkdtemp(prefix="fnmodel-crash-")))
        _kept[""] = _kept["world"].save()
    made: World = _kept["world"]
    if letters not in _kept:
        made.load(_kept[""])
        for letter in letters:
            made.run(deploy(letter))
        _kept[letters] = made.save()
    made.load(_kept[letters])
    return made


def teardown_module() -> None:
    """Remove what all runs shared."""
    if _kept:
        shutil.rmtree(_kept["world"].folder)


class Stage(RuleBasedStateMachine):
    """The oracle knows the images that were deployed, and where traffic goes and came from."""

    def __init__(self) -> None:
        super().__init__()
        self.world = world("")
        self.deployed: list[str] = []
        self.stable = 0
        self.share = 0.0
        self.rolled_back = False
        self.before: dict[int, int] = {}
        self.steps = 0

    @initialize(letters=st.sampled_from(["ab", "a", "abc", ""]))
    def begin(self, letters: str) -> None:
        """Most of what can go wrong needs a candidate."""
        self.world = world(letters)
        self.deployed, self.stable = [*letters], min(len(letters), 1)

    @rule(letter=st.sampled_from("abc"), fault=st.none() | st.tuples(
        st.sampled_from(WAYS), st.integers(1, 60)))  # fmt: skip
    def deploy(self, letter: str, fault: tuple[str, int] | None) -> None:
        """Deploy an image; busy with a candidate, a deploy of another image is refused."""
        same = self.deployed[-1:] == [letter]
        said = self._run(deploy(letter), fault)
        if self.share and not same:
            assert "a rollout is under way" in said
            return
        assert said == "done", said
        if not same:
            self.deployed.append(letter)
            self.rolled_back = False
            if len(self.deployed) == 1:
                self.stable = 1

    @rule(percent=st.sampled_from([10, 50]), fault=st.none() | st.tuples(
        st.sampled_from(WAYS), st.integers(1, 12)))  # fmt: skip
    def shift(self, percent: int, fault: tuple[str, int] | None) -> None:
        """Give the newest version a share; without a candidate this is refused."""
        said = self._run(shift(percent), fault)
        if self._refused(said):
            return
        assert said == "done", said
        self.share = percent / 100

    @rule(fault=st.none() | st.tuples(st.sampled_from(WAYS), st.integers(1, 12)))
    def promote(self, fault: tuple[str, int] | None) -> None:
        """Make the newest version the stable one; it is no error if it is that already."""
        said = self._run(PROMOTE, fault)
        if not self.deployed:
            assert "is not deployed" in said
            return
        if self.rolled_back and not self.share:
            assert "was rolled back" in said
            return
        assert said == "done", said
        if self.stable != len(self.deployed):
            self.before[len(self.deployed)] = self.stable
        self.stable, self.share = len(self.deployed), 0.0

    @rule(fault=st.none() | st.tuples(st.sampled_from(HEARD), st.integers(1, 12)))
    def rollback(self, fault: tuple[str, int] | None) -> None:
        """Take the candidate's share away, else go back to what was promoted away from."""
        said = self._run(ROLLBACK, fault)
        if not self.deployed:
            assert "is not deployed" in said
            return
        if not self.share:
            if self.stable not in self.before:
                assert "there is nothing to go back to" in said
                return
            self.stable = self.before[self.stable]
        assert said == "done", said
        self.share, self.rolled_back = 0.0, True

    @rule(version=st.integers(1, 4), weight=st.sampled_from([0.0, 0.1]))
    def edit_by_hand(self, version: int, weight: float) -> None:
        """Point the alias to any version, in the console; the newest may get a share."""
        newest = len(self.deployed)
        if version > newest or (weight and version == newest):
            return
        weights = {str(newest): weight} if weight else {}
        self.world.account.resources.functions[self.world.name].answer(
            "UpdateAlias",
            {"Name": "live", "FunctionVersion": str(version),
             "RoutingConfig": {"AdditionalVersionWeights": weights}},
        )  # fmt: skip
        self.stable, self.share = version, weight

    @rule(fault=st.none() | st.tuples(st.sampled_from(WAYS), st.integers(1, 12)))
    def abort(self, fault: tuple[str, int] | None) -> None:
        """Take the candidate's share away, if it has one."""
        said = self._run(ABORT, fault)
        assert said == "done" or not self.deployed, said
        if self.share:
            self.share, self.rolled_back = 0.0, True

    @precondition(lambda self: self.steps > _BEFORE_DESTROYED)
    @rule(fault=st.none() | st.tuples(st.sampled_from(WAYS), st.integers(1, 60)))
    def destroy(self, fault: tuple[str, int] | None) -> None:
        """Delete everything."""
        assert self._run(DESTROY, fault) == "done"
        self.deployed, self.stable, self.share = [], 0, 0.0
        self.rolled_back = False
        self.before.clear()
        assert self.world.account.resources.functions == {}

    def _refused(self, said: str) -> bool:
        if not self.deployed:
            assert "is not deployed" in said
        elif self.stable == len(self.deployed):
            assert "is the stable one already" in said or "was rolled back" in said
        elif self.rolled_back and not self.share:
            assert "was rolled back" in said
        else:
            return False
        return True

    def _run(self, command: Command, fault: tuple[str, int] | None) -> str:
        """Run a command that may meet a fault, then again until it was heard to its end."""
        self.steps += 1
        if fault is not None:
            said, met = hit(self.world, command, *fault)
            if met.calls < fault[1] or said == "done":
                return said
        said, _ = hit(self.world, command, "", 0)
        return said

    def teardown(self) -> None:
        """Compare the alias with the oracle's."""
        alias = self.world.alias()
        if not self.deployed:
            assert alias is None
            return
        assert alias is not None
        assert (alias.version, sum(alias.weights.values())) == (str(self.stable), self.share)


Stage.TestCase.settings = settings(
    max_examples=RUNS, stateful_step_count=8, deadline=None, derandomize=RUNS < 100,
    suppress_health_check=list(HealthCheck), database=None,
)  # fmt: skip
test_anything_in_any_order = Stage.TestCase
