"""How long an answer may take, and the thread that stops what takes longer.

Lambda ends a process that overruns, and the next request pays for a new one; whoever waits for it
reads only that something failed. A model that is stopped just before costs neither.
"""

import threading
import time
from collections.abc import Callable
from math import inf


class _Current(threading.local):
    moment: float | None = None


current = _Current()
"""`moment` is when this thread's answer is due, by `time.monotonic`; None is never."""


class Watch:
    """Calls what stops a run, once the moment of that run has passed; for any number of threads.

    Its thread starts with the first run and sleeps until the earliest moment that it knows of. It
    is woken by a run that is due earlier, which of runs with one limit is only the first: a
    request costs two entries in a dictionary.
    """

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], float] = {}
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._wakes = inf
        self._started = False

    def begin(self, stop: Callable[[], None], moment: float) -> None:
        """Have `stop` called, in another thread, unless it ends before the moment."""
        with self._lock:
            self._due[stop] = moment
            if moment >= self._wakes:
                return
            self._wakes = moment
            if not self._started:
                self._started = True
                threading.Thread(target=self._keep, name="deadline", daemon=True).start()
        self._bell.set()

    def end(self, stop: Callable[[], None]) -> bool:
        """Forget a run; return whether it was stopped. After that, it is not."""
        with self._lock:
            return self._due.pop(stop, None) is None

    def _keep(self) -> None:
        while True:
            wait = self._stop_late()
            self._bell.wait(None if wait == inf else max(wait, 0))

    def _stop_late(self) -> float:
        """Stop what is late; return the seconds until the next moment."""
        with self._lock:
            self._bell.clear()
            now = time.monotonic()
            for stop in [stop for stop, moment in self._due.items() if moment <= now]:
                del self._due[stop]
                stop()
            # A run that is over already leaves its moment: to forget it would have the next one
            # wake this thread again, at many times what the rest of a request costs.
            asked = self._wakes if self._wakes > now else inf
            self._wakes = min(self._due.values(), default=asked)
            return self._wakes - now
