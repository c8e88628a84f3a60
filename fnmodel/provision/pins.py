"""Whose turn it is with a repository's images: those who use one, and those who delete.

Stages of a project share a repository, and a new stage has no ledger yet, so both leave a word in
the repository's own tags, each under a key of its own:

    fnmodel:use:ID      a digest that is being deployed, and until when that holds (epoch seconds)
    fnmodel:gc:ID       images are being deleted, until then

Each writes its word first and reads the other's then. So either the one that deletes sees the
digest and keeps it, or the one that deploys sees that images are being deleted, and waits.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fnmodel.aws import translated
from fnmodel.errors import AwsError, LockHeldError

_USE, _SWEEP = "fnmodel:use:", "fnmodel:gc:"
_USED = 6 * 3600.0
"""Seconds for which a digest is kept when whoever deploys it was killed."""
_SWEPT = 600.0
"""Seconds after which nobody waits for one that deletes; it stops long before."""


class Pins:
    """The words in the tags of one repository. `clock` gives epoch seconds."""

    def __init__(
        self,
        client: Any,
        arn: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._arn = arn
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def held(self, digest: str, progress: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Keep an image from being deleted while the block runs; waits for those who delete."""
        self.forget()  # a repository has room for 50 tags, and whoever was killed leaves one
        with self._word(_USE, digest, _USED):
            waited = False
            while any(True for _ in self._words(_SWEEP)):
                if not waited:
                    progress("waiting for `fnmodel gc`, which deletes images")
                waited = True
                self._sleep(1.0)
            yield

    def pinned(self) -> frozenset[str]:
        """Return the digests that are being deployed now."""
        return frozenset(value.split()[0] for _, value in self._words(_USE))

    @contextmanager
    def sweeping(self) -> Iterator["Sweeping"]:
        """Be the one that deletes while the block runs, and know what must be kept.

        Raises:
            LockHeldError: another one deletes.

        """
        with self._word(_SWEEP, "images", _SWEPT) as mine:
            if any(key != mine for key, _ in self._words(_SWEEP)):
                raise LockHeldError(
                    "images of this project are being deleted already",
                    hint="wait for it, then run the same command again",
                )
            end = self._clock() + _SWEPT / 3
            yield Sweeping(self.pinned(), lambda: self._clock() < end)

    def forget(self) -> None:
        """Remove the words of those who were killed long ago."""
        now = self._clock()
        old = [key for key, value in self._tags() if key.startswith((_USE, _SWEEP))
               and _until(value) <= now]  # fmt: skip
        if old:
            with translated():
                self._client.untag_resource(resourceArn=self._arn, tagKeys=old)

    @contextmanager
    def _word(self, kind: str, what: str, seconds: float) -> Iterator[str]:
        key = f"{kind}{uuid.uuid4().hex[:12]}"
        tag = {"Key": key, "Value": f"{what} {int(self._clock() + seconds)}"}
        with translated():
            self._client.tag_resource(resourceArn=self._arn, tags=[tag])
        try:
            yield key
        finally:
            # It ends by itself; an error of this must not hide the block's own.
            with suppress(AwsError), translated():
                self._client.untag_resource(resourceArn=self._arn, tagKeys=[key])

    def _words(self, kind: str) -> Iterator[tuple[str, str]]:
        now = self._clock()
        for key, value in self._tags():
            if key.startswith(kind) and _until(value) > now:
                yield key, value

    def _tags(self) -> list[tuple[str, str]]:
        with translated():
            found = self._client.list_tags_for_resource(resourceArn=self._arn)["tags"]
        return [(tag["Key"], tag["Value"]) for tag in found]


class Sweeping:
    """`pinned` are the digests that are being deployed; `may_go_on` says that there is time."""

    def __init__(self, pinned: frozenset[str], may_go_on: Callable[[], bool]) -> None:
        self.pinned = pinned
        self.may_go_on = may_go_on


def _until(value: str) -> float:
    try:
        return float(value.split()[1])
    except (IndexError, ValueError):
        return float("inf")  # a word of another version: nobody knows when it ends
