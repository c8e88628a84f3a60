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
    WAYS,
    Command,
    World,
    deploy,
    hit,
    shift,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

RUNS = int(os.environ.get("FNMODEL_CRASH_RUNS", "15"))
"""`make crash` asks for 2,000."""

_kept: dict[str, Any] = {}


def world() -> World:
    """Return an empty account; one for all runs, since its clients cost more than a run."""
    if not _kept:
        _kept["world"] = World(Path(tempfile.mkdtemp(prefix="fnmodel-crash-")))
        _kept["empty"] = _kept["world"].save()
    made: World = _kept["world"]
    made.load(_kept["empty"])
    return made


def teardown_module() -> None:
    """Remove what all runs shared."""
    if _kept:
        shutil.rmtree(_kept["world"].folder)


class Stage(RuleBasedStateMachine):
    """The oracle knows the images that were deployed, and where traffic goes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = world()
        self.deployed: list[str] = []
        self.stable = 0
        self.share = 0.0
        self.rolled_back = False

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
        self.stable, self.share = len(self.deployed), 0.0

    @rule(fault=st.none() | st.tuples(st.sampled_from(WAYS), st.integers(1, 12)))
    def abort(self, fault: tuple[str, int] | None) -> None:
        """Take the candidate's share away, if it has one."""
        said = self._run(ABORT, fault)
        assert said == "done" or not self.deployed, said
        if self.share:
            self.share, self.rolled_back = 0.0, True

    @rule(fault=st.none() | st.tuples(st.sampled_from(WAYS), st.integers(1, 60)))
    def destroy(self, fault: tuple[str, int] | None) -> None:
        """Delete everything."""
        assert self._run(DESTROY, fault) == "done"
        self.deployed, self.stable, self.share = [], 0, 0.0
        self.rolled_back = False
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
