"""One object says which run of a job is under way, and until when it may be."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fnmodel.batch.objects import ObjectStore, find
from fnmodel.errors import BatchError

_OVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Lease:
    """The right to run a job; `owner` names the run, the same in each of its attempts."""

    objects: ObjectStore
    key: str
    owner: str

    def take(self, now: datetime, until: datetime) -> str:
        """Take the lease, and return "", or the owner who has it.

        Who owns it already takes it again: an attempt goes on where the one before was killed.
        A lease that is over is anybody's.
        """
        while not self.objects.put(self.key, self._body(until), if_none_match=True):
            found = self._read()
            if found is None:
                continue
            etag, owner, ends = found
            if owner != self.owner and ends > now:
                return owner
            if self.objects.put(self.key, self._body(until), if_match=etag):
                break
        return ""

    def give_back(self) -> None:
        """End the lease, if it is still this owner's."""
        found = self._read()
        if found is not None and found[1] == self.owner:
            self.objects.put(self.key, self._body(_OVER), if_match=found[0])

    def _body(self, until: datetime) -> bytes:
        return json.dumps({"owner": self.owner, "until": until.isoformat()}).encode() + b"\n"

    def _read(self) -> tuple[str, str, datetime] | None:
        item = find(self.objects, self.key)
        if item is None:
            return None
        try:
            content = json.loads(self.objects.open(item.key, item.etag).read())
        except BatchError:  # another run took it just now
            return None
        return item.etag, content["owner"], datetime.fromisoformat(content["until"])


def wait_for(
    lease: Lease,
    clock: Callable[[], datetime],
    until: Callable[[], datetime],
    pause: Callable[[], bool],
) -> str:
    """Take the lease as soon as it is free; returns its owner when `pause` says that it is late."""
    while owner := lease.take(clock(), until()):
        if not pause():
            return owner
    return ""
