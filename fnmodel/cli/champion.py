"""Holds a new model against the version that serves, on the same rows, before it is published."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fnmodel.cli.workspace import Workspace
from fnmodel.config import ModelConfig
from fnmodel.errors import GateError, QualityError, SlimError
from fnmodel.inference import Predictor
from fnmodel.model import OnnxModel
from fnmodel.release.probe import ask, http_event, predict_path
from fnmodel.slim.quality import judged
from fnmodel.slim.quality.answers import Answers
from fnmodel.slim.quality.gates import GateResult, Gates, against_champion, from_json, require
from fnmodel.slim.quality.judged import Judged

Ask = Callable[[Mapping[str, Any]], tuple[int, str]]
"""Sends an HTTP event to the champion; returns the status and the body of its answer."""

Record = Mapping[str, Any]

# Lambda takes and gives 6 MB a call; an answer has a little more than its predictions.
_BATCH_BYTES = 2_000_000
_BATCH_ROWS = 500
_SKIP = (
    "where features changed on purpose, `fnmodel deploy --skip-champion` goes on without the "
    "comparison, and the ledger says so"
)


@dataclass(frozen=True)
class Comparison:
    """What the rules found on `rows` rows that both models answered; `version` is the champion."""

    version: str
    rows: int
    left_out: int
    results: tuple[GateResult, ...]

    @property
    def words(self) -> str:
        """What the ledger keeps."""
        reasons = "; ".join(result.reason for result in self.results)
        return f"against version {self.version} on {self.rows:,} rows: {reasons}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `--output json`."""
        return {
            "version": self.version,
            "rows": self.rows,
            "left_out": self.left_out,
            "passed": all(result.passed for result in self.results),
            "gates": [result.to_json() for result in self.results],
        }


def judge(
    work: Workspace, name: str, one: ModelConfig, model: OnnxModel, digest: str
) -> Comparison | None:
    """Compare a model with that of its name in the stable version of a stage that is open.

    `digest` is the new image's: one that serves already is not compared with itself, and gives
    None, as a version does that has no such model.

    Raises:
        QualityError: the new model is worse than a rule allows, or the champion cannot be asked.
        SlimError: the rows cannot be read.

    """
    rules = from_json(one.gates.model_dump(mode="json", exclude={"sample"}))
    serving = work.publisher.ready(work.router.read().version)
    if serving.digest == digest:
        return None
    ask_serving = partial(ask, work.client("lambda"), work.name, serving.number)
    if work.project.models and _lacks(ask_serving, name):
        work.console.note(f"champion   version {serving.number} has no model {name!r}")
        return None
    path = one.gates.sample or one.sample
    if path is None:
        raise QualityError(
            "the champion is compared on rows, and the project names none",
            hint="name labelled rows with `gates: {sample: FILE}` in fnmodel.yaml",
        )
    with work.console.step("champion", work.about(name)) as step:
        step.progress(f"reading {path.name}")
        rows = judged.read(path, one.target, model.signature)
        found = compare(
            rules, rows, model, serving.number, ask_serving, step.progress,
            path=predict_path(name if work.project.models else ""),
        )  # fmt: skip
        require(found.results, "the new model")
        step.done(found.words)
    return found


def compare(
    rules: Gates,
    rows: Judged,
    model: OnnxModel,
    version: str,
    send: Ask,
    progress: Callable[[str], None],
    *,
    path: str = "/predict",
) -> Comparison:
    """Ask both models the same records as callers would, and judge the new one.

    `path` is where the champion answers records.

    Raises:
        QualityError: one of them has no answer to a row, or none that a metric can judge.

    """
    try:
        ours = Predictor(model.folder).predict(rows.records)
        mine = Answers.of_predictions(ours)
    except SlimError as error:
        raise QualityError(f"the new model: {error.message}", hint=error.hint) from error
    theirs: list[Any] = []
    for batch in _batches(rows.records, ours):
        progress(f"asking version {version}: {len(theirs):,} of {len(rows.records):,} rows")
        theirs += _predictions(send, version, path, batch, len(theirs))
    try:
        champion = Answers.of_predictions(theirs)
        results = against_champion(rules, mine, champion, rows.truth, np.random.default_rng(0))
    except SlimError as error:
        raise QualityError(
            f"the new model and version {version} cannot be compared: {error.message}", hint=_SKIP
        ) from error
    return Comparison(version, len(rows.records), rows.left_out, results)


def _batches(records: Sequence[Record], answers: Sequence[Any]) -> Iterator[Sequence[Record]]:
    """Yield the records in parts that Lambda takes and whose answers it gives back."""
    pairs = zip(records, answers, strict=True)
    widest = max((len(json.dumps(one)) for pair in pairs for one in pair), default=1)
    size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // widest))
    for start in range(0, len(records), size):
        yield records[start : start + size]


def _lacks(send: Ask, name: str) -> bool:
    status, _ = send(http_event(f"/v2/models/{name}", "", method="GET"))
    return status == 404


def _predictions(
    send: Ask, version: str, path: str, batch: Sequence[Record], start: int
) -> list[Any]:
    try:
        status, body = send(http_event(path, json.dumps({"records": batch})))
    except GateError as error:
        raise QualityError(f"the champion has no answer: {error.message}", hint=_SKIP) from error
    if status != 200:
        raise QualityError(
            f"version {version} answers {status} to rows {start} to {start + len(batch) - 1}: "
            f"{body[:300]}",
            hint=_SKIP,
        )
    try:
        found = json.loads(body)["predictions"]
    except (ValueError, KeyError, TypeError) as error:
        raise QualityError(
            f"version {version} answers no predictions: {body[:200]}", hint=_SKIP
        ) from error
    if not isinstance(found, list) or len(found) != len(batch):
        raise QualityError(
            f"version {version} gives another number of answers than the {len(batch)} rows",
            hint=_SKIP,
        )
    return found
