"""Times two models side by side, so that both feel the same noise of the machine."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

_ROUNDS = 25
_LEAST_ROUNDS = 3
_SECONDS = 0.3


@dataclass(frozen=True)
class Pace:
    """How long a call takes and how it compares with another one that alternated with it.

    `ms` and `other_ms` are medians in milliseconds, `ratio` is the first over the second: the
    smaller one of the ratio of medians and the ratio of the fastest runs, since noise only adds.
    """

    ms: float
    other_ms: float
    ratio: float


def race(call: Callable[[], object], other: Callable[[], object], *, slow: float) -> Pace:
    """Time two calls in turns.

    Stops after 25 turns, or 0.3 s and at least 3. Where the first one looks slower than the other
    by less than twice the share that counts as slow (0.1 is a tenth), it is given another 50
    turns before it is called so.
    """
    call()
    other()
    times: list[float] = []
    others: list[float] = []
    _take_turns(call, other, times, others, rounds=_ROUNDS, seconds=_SECONDS)
    if slow < _ratio(times, others) - 1 < 2 * slow:
        _take_turns(call, other, times, others, rounds=2 * _ROUNDS, seconds=2 * _SECONDS)
    return Pace(
        statistics.median(times) * 1000, statistics.median(others) * 1000, _ratio(times, others)
    )


def _take_turns(
    call: Callable[[], object],
    other: Callable[[], object],
    times: list[float],
    others: list[float],
    *,
    rounds: int,
    seconds: float,
) -> None:
    started = perf_counter()
    for number in range(rounds):
        if number >= _LEAST_ROUNDS and perf_counter() - started > seconds:
            break
        # Who goes second finds the other's data in the cache: take turns at that, too.
        for first in (number % 2 == 0, number % 2 == 1):
            began = perf_counter()
            (call if first else other)()
            (times if first else others).append(perf_counter() - began)


def _ratio(times: list[float], others: list[float]) -> float:
    return min(statistics.median(times) / statistics.median(others), min(times) / min(others))
