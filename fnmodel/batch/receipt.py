"""What one part's run has come to: written after the part, so that a killed run goes on behind it.

{folder}receipts/00000-0000.json    input 0, part 0: counts, keys
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fnmodel.batch.objects import Object, ObjectStore

FOLDER = "receipts/"


@dataclass(frozen=True)
class Receipt:
    """A part that was written: the rows of its input that it covers, and what became of them.

    `part` is the key of its scored rows, `errors` that of its bad ones; None where there is none.
    `last` says that the input ends
    here, `problem` that its rest cannot be read.
    """

    input: int
    number: int
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
        return f"{FOLDER}{self.input:05d}-{self.number:04d}.json"

    def body(self) -> bytes:
        """Return the receipt as it is stored."""
        assert self.rows == self.scored + self.bad, "a row was lost"
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def receipts(objects: ObjectStore, folder: str) -> dict[int, list[Receipt]]:
    """Return the receipts of a run by input: those without a gap before them."""
    found: dict[int, list[Receipt]] = {}
    for item in objects.list(folder + FOLDER):
        receipt = Receipt(**json.loads(objects.open(item.key, item.etag).read()))
        if receipt.number == len(found.setdefault(receipt.input, [])):
            found[receipt.input].append(receipt)
    return found


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
