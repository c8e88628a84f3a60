"""Moves blobs, three at a time, and says how far they are."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from fnmodel.pack.image import Descriptor
from fnmodel.units import Passing, size

Report = Callable[[int], None]
"""Takes the bytes of one blob that have moved until now; raises when the work is to stop."""

_PARALLEL = 3
_SECONDS = 0.1


class StoppedError(Exception):
    """Another blob failed or the user interrupted, so this one need not arrive."""


def in_parallel(
    move: Callable[[Descriptor, Report], str],
    blobs: Iterable[Descriptor],
    progress: Callable[[str], None],
) -> None:
    """Move each blob once; `progress` hears in the calling thread what `move` said.

    While none ends it hears of bytes, as `Passing` words.

    Raises:
        Exception: what the first failing `move` raised; those under way are stopped.

    """
    unique = {blob.digest: blob for blob in blobs}
    total = sum(blob.size for blob in unique.values())
    moved = dict.fromkeys(unique, 0)
    stopped = threading.Event()

    def follow(blob: Descriptor) -> str:
        def report(count: int) -> None:
            if stopped.is_set():
                raise StoppedError
            moved[blob.digest] = count

        said = move(blob, report)
        report(blob.size)
        return said

    with ThreadPoolExecutor(_PARALLEL, "blobs") as threads:
        waiting = {threads.submit(follow, blob) for blob in unique.values()}
        try:
            while waiting:
                done, waiting = wait(waiting, _SECONDS, FIRST_COMPLETED)
                for future in done:
                    progress(future.result())
                if not done:
                    progress(Passing(f"{size(sum(moved.values()))} of {size(total)}"))
        except BaseException:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
