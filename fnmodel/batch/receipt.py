"""What one part's run has come to: written after the part, so that a killed run goes on behind it.

{folder}receipts/00000-000000000000.json    input 0, from row 0 on: counts, keys
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from fnmodel.batch.objects import Object, ObjectStore

FOLDER = "receipts/"
_READERS = 8


@dataclass(frozen=True)
class Receipt:
    """A part that was written: the rows of its input that it covers, and what became of them.

    `first` is the number of its first row, from 0. `part` is the key of its scored rows, `errors`
    that of its bad ones; None where there is none. `last` says that the input ends here, `problem`
    that its rest cannot be read.
    """

    input: int
    first: int
    part: str | None
    errors: str | None
    rows: int
    scored: int
    bad: int
    last: bool
    problem: str = ""

    @property
    def name(self) -> str:
        """The end of the receipt's key."""
        return f"{FOLDER}{part_name(self.input, self.first)}.json"

    @property
    def behind(self) -> int:
        """The number of the first row behind it."""
        return self.first + self.rows

    def body(self) -> bytes:
        """Return the receipt as it is stored."""
        assert self.rows == self.scored + self.bad, "a row was lost"
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def part_name(number: int, first: int) -> str:
    """Return what the keys of a part have in common: the input's number, its first row's."""
    return f"{number:05d}-{first:012d}"


def receipts(
    objects: ObjectStore,
    folder: str,
    number: int | None = None,
    within: Callable[[int], bool] = lambda first: True,  # noqa: ARG005
) -> dict[int, list[Receipt]]:
    """Return the receipts of a run by input, in the order of their rows.

    `number` picks those of one input, `within` some of these by their first row.
    """
    start = "" if number is None else f"{number:05d}-"
    keys = objects.list(folder + FOLDER + start)
    wanted = [item for item in keys if within(_first(item.key))]
    found: dict[int, list[Receipt]] = {}
    with ThreadPoolExecutor(_READERS, "receipts") as executor:
        for data in executor.map(lambda item: _read(objects, item), wanted):
            own = found.setdefault(data["input"], [])
            if "number" in data:  # of a version that numbered parts by their order
                data["first"] = own[-1].behind if own else 0
                del data["number"]
            own.append(Receipt(**data))
    return found


def unbroken(own: Sequence[Receipt], first: int) -> list[Receipt]:
    """Return those of an input's receipts that follow each other from a row on."""
    found: list[Receipt] = []
    for one in own:
        if one.first == first:
            found.append(one)
            first = one.behind
    return found


def _read(objects: ObjectStore, item: Object) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(objects.open(item.key, item.etag).read())
    return data


def _first(key: str) -> int:
    return int(key.rpartition("-")[2].removesuffix(".json"))


def totals(all_receipts: Iterable[Receipt]) -> dict[str, int]:
    """Add up the counts."""
    counts = [(one.rows, one.scored, one.bad) for one in all_receipts]
    rows, scored, errors = (sum(one[at] for one in counts) for at in range(3))
    assert rows == scored + errors, "a row was lost"
    return {"rows": rows, "scored": scored, "errors": errors}


def described(item: Object, own: Sequence[Receipt]) -> Mapping[str, Any]:
    """Return an input as the manifest names it."""
    problem = own[-1].problem
    return {
        "key": item.key,
        "etag": item.etag,
        "bytes": item.size,
        **totals(own),
        "parts": [one.part for one in own if one.part],
        **({"problem": problem} if problem else {}),
    }
