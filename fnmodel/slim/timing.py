"""Measures how long a call takes."""

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

_BUDGET_SECONDS = 0.1
_LONG_SECONDS = 5.0
_MOST_RUNS = 20


def median_ms(call: Callable[[], Any]) -> float:
    """Return the median time of repeated calls in milliseconds, the first one left out.

    Stops after 0.1 s or 20 calls. A call that takes longer than 0.1 s is measured once more, one
    that takes longer than 5 s is not: there the first counts.
    """
    start = perf_counter()
    call()
    first = perf_counter() - start
    if first > _LONG_SECONDS:
        return first * 1000
    fewest = 1 if first > _BUDGET_SECONDS else 3
    times: list[float] = []
    while len(times) < _MOST_RUNS and (sum(times) < _BUDGET_SECONDS or len(times) < fewest):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return statistics.median(times) * 1000
