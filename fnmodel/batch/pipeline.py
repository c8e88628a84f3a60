"""Work on several chunks at once, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    executor: Executor, function: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Yield the results in the order of their items, of which `ahead` more are under way.

    Who pulls also reads the items: what is read, worked on and written at a moment are different
    chunks.
    """
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            under_way.append(executor.submit(function, item))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


class Peekable(Generic[T]):
    """An iterator that knows whether there is more."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._next: list[T] = []

    def __bool__(self) -> bool:
        if not self._next:
            self._next = [*islice(self._items, 1)]
        return bool(self._next)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self:
            raise StopIteration
        return self._next.pop()
