"""The run of a job that came over HTTP: it can be cancelled, and says why it failed."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fnmodel.batch.objects import ObjectStore, find
from fnmodel.batch.run import run
from fnmodel.errors import BatchError, UnfinishedError

if TYPE_CHECKING:
    from handlers.batch import Invocation

_LOOK = 5.0


def run_requested(event: Mapping[str, Any], work: "Invocation") -> dict[str, Any]:
    """Run a job, unless it is cancelled; a failure without a manifest is written down.

    Raises:
        UnfinishedError: there is no more time; another attempt goes on.

    """
    home, objects = event["home"], work.objects
    cancelled = _Cancelled(objects, f"{home}cancelled.json", time.monotonic)
    host = work.host
    host = replace(host, remaining=cancelled.before(host.remaining))
    try:
        cancelled.check()
        manifest = run(work.request, objects, work.predictor(), model=work.model, host=host)
    except UnfinishedError:
        raise
    except BatchError as error:
        # The caller reads it; another attempt would end the same way.
        said = json.dumps({"error": error.message}).encode()
        objects.put(f"{home}failed.json", said, if_none_match=True)
        return {"job": home, "status": "failed", "error": error.message}
    return {"job": home, "status": manifest["status"], "totals": manifest["totals"]}


class _Cancelled:
    """Looks now and then whether a job was cancelled."""

    def __init__(self, objects: ObjectStore, key: str, clock: Callable[[], float]) -> None:
        self._objects = objects
        self._key = key
        self._clock = clock
        self._looked = clock()

    def check(self) -> None:
        """Raise a BatchError if it was."""
        if find(self._objects, self._key) is not None:
            raise BatchError("the job was cancelled")

    def before(self, remaining: Callable[[], float]) -> Callable[[], float]:
        """Return `remaining`, which a run asks with every chunk, with a look before it."""

        def asked() -> float:
            if self._clock() - self._looked > _LOOK:
                self._looked = self._clock()
                self.check()
            return remaining()

        return asked
