"""A watch's bucket in memory, and a channel that keeps what it is told."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from fnmodel.errors import AlertError


class InMemoryStore:
    """Implements `fnmodel.watch.records.Store`.

    `lines` holds captured lines by hour, each with the time at which it arrived. `before` is called
    with the operation ("get", "put") and the key; what it raises, the call raises.
    """

    def __init__(self, before: Callable[[str, str], None] = lambda operation, key: None) -> None:  # noqa: ARG005
        self.contents: dict[str, bytes] = {}
        self.lines: dict[str, list[tuple[datetime, bytes]]] = {}
        self.before = before

    def get(self, key: str) -> bytes | None:
        """Return an object's content."""
        self.before("get", key)
        return self.contents.get(key)

    def put_once(self, key: str, body: bytes) -> bool:
        """Write an object where there is none."""
        self.before("put", key)
        if key in self.contents:
            return False
        self.contents[key] = body
        return True

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield keys in order."""
        yield from (key for key in sorted(self.contents) if key.startswith(prefix) and key > after)

    def captured(self, endpoint: str, hour: str, until: datetime) -> Iterator[bytes]:  # noqa: ARG002
        """Yield the lines of an hour that had arrived."""
        yield from (line for arrived, line in self.lines.get(hour, ()) if arrived <= until)


class KeptEvents:
    """A channel that keeps events; while `down` it takes none."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.down = False

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event.

        Raises:
            AlertError: it is down.

        """
        if self.down:
            raise AlertError("the receiver is down")
        self.events.append(event)
