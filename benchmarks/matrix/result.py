"""What came of one kind of model, as a value that a file keeps between runs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["same", "refused", "stopped", "silent", "broken"]
VERDICTS: Mapping[Verdict, str] = {
    "same": "the answers are the original's, within the default budget of [parity](slim.md)",
    "refused": "`slim` says why it cannot",
    "stopped": "converted, and the parity gate found rows that differ",
    "silent": "passed the gate, and differs on rows that it never saw",
    "broken": "stopped without a reason of fnmodel's own",
}


@dataclass(frozen=True)
class Result:
    """One kind: its verdict, the parity report's figures, and those of the rows it never saw.

    `how` says how it was converted, or why it was not. `fresh` rows were answered by both,
    `declined` ones by neither or refused by the conversion alone, and `differs` is the first that
    differs, "" where none does. `code` tells which code converted it.
    """

    group: str
    name: str
    verdict: Verdict
    how: str
    difference: float = 0.0
    flips: int = 0
    ties: int = 0
    edges: int = 0
    edge_flips: int = 0
    fresh: int = 0
    declined: int = 0
    differs: str = ""
    seconds: float = 0.0
    code: str = ""

    @property
    def wrong(self) -> bool:
        """Whether this is a defect of fnmodel, not a limit that it tells."""
        return self.verdict in ("silent", "broken")


def read(path: Path) -> dict[tuple[str, str], Result]:
    """Return the results of earlier runs by group and name; none where there were none."""
    if not path.is_file():
        return {}
    found = [Result(**data) for data in json.loads(path.read_bytes())]
    return {(result.group, result.name): result for result in found}


def write(path: Path, results: Iterable[Result]) -> None:
    """Keep results for later runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = [asdict(result) for result in results]
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
