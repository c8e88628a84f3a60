"""Two commands at once, in every order of their calls up to a number of switches."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crash_cases import (
    ABORT,
    DESTROY,
    PROMOTE,
    READS,
    ROLLBACK,
    STOP,
    TICK,
    Command,
    Step,
    World,
    check,
    deploy,
    hit,
    shift,
)

from fnmodel.errors import FnmodelError

NEVER = 10**9


@dataclass(frozen=True)
class Race:
    """Two commands after others."""

    before: tuple[Step, ...]
    first: Command
    second: Command

    @property
    def name(self) -> str:
        """Both commands."""
        return f"{self.first.name} | {self.second.name}"


_TWO = (deploy("a"), deploy("b"))
_SHARED = (*_TWO, shift(10))
_ROLLING = (deploy("a", "rolling"), deploy("b", "rolling"))
RACES = (
    Race((), deploy("a"), deploy("a")),
    Race((deploy("a"),), deploy("b"), deploy("b")),
    Race((deploy("a"),), deploy("b"), deploy("c")),
    Race(_TWO, shift(10), shift(50)),
    Race(_SHARED, PROMOTE, ABORT),
    Race(_SHARED, shift(50), ROLLBACK),
    Race((*_TWO, PROMOTE), deploy("c"), ROLLBACK),
    Race((deploy("a"),), deploy("b"), DESTROY),
    Race(_TWO, DESTROY, DESTROY),
    Race(_TWO, PROMOTE, DESTROY),
    Race((*_ROLLING, World.serve), TICK, STOP),
    Race((*_ROLLING, World.serve), TICK, TICK),
    Race(_ROLLING, deploy("b", "rolling"), STOP),
)


class Turns:
    """Lets one of two commands run at a time; `plan` is after how many calls they change."""

    def __init__(self, world: World, plan: tuple[int, ...]) -> None:
        self._world = world
        self._plan = iter(plan)
        self._left = next(self._plan, NEVER)
        self._turn = 0
        self._ended = [False, False]
        self._changed = threading.Condition()
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.order: list[str] = []

    def run(self, *commands: Command) -> list[str]:
        """Run both to their ends; return how each ended."""
        said = ["", ""]
        threads = [
            threading.Thread(target=self._one, args=(index, command, said), name=str(index))
            for index, command in enumerate(commands)
        ]
        self._world.account.interpose = self
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), f"a command hangs after {self.order[-5:]}"
        self._world.account.interpose = None
        return said

    def __call__(
        self, service: str, operation: str, asked: Mapping[str, Any], done: Callable[[], Any]
    ) -> Any:
        """Answer a call when it is its command's turn."""
        me = int(threading.current_thread().name)
        with self._changed:
            if self._left == 0 and not self._ended[1 - me]:
                self._hand_over(1 - me)
            self._await(me)
            self._left -= 1
            self.order.append(f"{me} {service}.{operation}")
            self.asked.append((operation, asked))
            answer = done()
            if not operation.startswith(READS):
                check(self._world, operation, asked)
            return answer

    def _one(self, me: int, command: Command, said: list[str]) -> None:
        with self._changed:
            self._await(me)
        try:
            self._world.run(command)
        except FnmodelError as error:
            said[me] = f"exit {error.exit_code}: {error.message}"
        except BaseException as error:
            said[me] = f"{type(error).__name__}: {error}"
        else:
            said[me] = "done"
        with self._changed:
            self._ended[me] = True
            self._turn = 1 - me
            self._left = NEVER
            self._changed.notify_all()

    def _hand_over(self, other: int) -> None:
        self._turn, self._left = other, next(self._plan, NEVER)
        self._changed.notify_all()

    def _await(self, me: int) -> None:
        while self._turn != me:
            self._changed.wait()


def plans(calls: tuple[int, int], switches: int, every: int) -> Iterator[tuple[int, ...]]:
    """Yield after how many calls to change, for each number of changes up to a bound."""
    yield from ((count,) for count in range(0, calls[0] + 1, every))
    if switches > 1:
        firsts, seconds = (range(1, count + 1, every) for count in calls)
        yield from itertools.product(firsts, seconds)


def outcome(world: World) -> Any:
    """Return what a race is judged by."""
    seen = world.picture()
    return str({key: seen[key] for key in ("stack", "alias", "rules", "targets")})


def race(world: World, one: Race, switches: int = 1, every: int = 1) -> int:
    """Run all orders of a race; what comes out is what some order one after the other gives."""
    for step in one.before:
        world.run(step) if isinstance(step, Command) else step(world)
    saved = world.save()
    wanted, calls = _sequences(world, saved, one)
    ran = 0
    for flip in (False, True):
        commands = (one.second, one.first) if flip else (one.first, one.second)
        counted = (calls[1], calls[0]) if flip else calls
        for plan in plans(counted, switches, every):
            world.load(saved)
            turns = Turns(world, plan)
            said = turns.run(*commands)
            _judge(world, f"{one.name}, {flip} {plan}", commands, said, wanted)
            ran += 1
    return ran


def _judge(
    world: World, where: str, commands: tuple[Command, Command], said: list[str], wanted: set[str]
) -> None:
    where = f"{where}: {said}"
    for words in said:
        assert words == "done" or words.startswith(_LOSES), where
        if words.startswith("exit 5"):
            assert any(said in words for said in _BLAMES), where
    assert outcome(world) in wanted, f"{where}: {outcome(world)} not in {wanted}"


_LOSES = (
    "exit 5",
    "exit 1: version",
    "exit 1: the newest deploy was rolled back",
    "exit 1: churn is not deployed",
    "exit 1: no rollout is under way",
    "exit 1: nothing was released",
    "exit 1: a rollout is under way",
    # The stage was destroyed under the command.
    "exit 1: there is no function",
    "exit 1: fnmodel-churn-local has no",
    "exit 1: Query: Requested resource not found",
    "exit 1: GetItem: Requested resource not found",
    "exit 1: PutItem: Requested resource not found",
    "exit 1: TransactWriteItems: Requested resource not found",
)


_BLAMES = ("is releasing this model, until", "someone else", "was taken over", "was given another")
"""Who holds the lock, by name; or that the alias, the function or the stack was moved."""


def _sequences(world: World, saved: Any, one: Race) -> tuple[set[str], tuple[int, int]]:
    """Return what each command alone and both one after the other come to, and their calls."""
    wanted, calls = set(), {}
    for order in ((one.first,), (one.second,), (one.first, one.second), (one.second, one.first)):
        world.load(saved)
        for command in order:
            _, fault = hit(world, command, "", 0)
            calls.setdefault(id(command), fault.calls)
        wanted.add(outcome(world))
    return wanted, (calls[id(one.first)], calls[id(one.second)])
