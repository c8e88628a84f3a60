"""The project's own `processing.py` as part of a conversion: what it makes of the sample, proven.

The sample holds what callers send. The original is compared on what `preprocess` makes of it, and
at last the whole, with both functions, on the sample as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import SlimError
from fnmodel.model import Tolerance
from fnmodel.processing import Processing
from fnmodel.slim import sample as samples
from fnmodel.slim import signature
from fnmodel.slim.proof.rows import records
from fnmodel.slim.proof.trial import Trial
from fnmodel.slim.subject import Raw, Subject

_ALONE = 5
_PROVEN_ROWS = 200


@dataclass(frozen=True)
class Prepared:
    """A sample of the model's own features, as a file, and what callers send for each row."""

    sample: Path
    raw: Raw


def prepare(
    processing: Processing, sample: Path | None, target: str | None, folder: Path
) -> Prepared:
    """Apply `preprocess` to a sample, and write what it makes into `folder`.

    Raises:
        SlimError: there is no sample, or what `preprocess` makes is no table, or depends on the
            rows beside a row.
        InputError: it refuses a row of the sample.
        ProcessingError: it fails.

    """
    if sample is None:
        raise SlimError(
            "with processing.py, slim needs rows as callers send them", hint=samples.GIVE_ONE
        )
    frame = samples.read(sample)
    columns = [name for name in frame.columns if name != target]
    kinds = signature.columns(frame[columns], {}, frozenset(columns))
    given = records(frame, kinds)
    made = processing.before(given)
    for row in np.linspace(0, len(given) - 1, min(_ALONE, len(given)), dtype=int).tolist():
        if not same(processing.before([given[row]])[0], made[row], Tolerance(0.0, 0.0)):
            raise SlimError(
                f"what preprocess makes of row {row} depends on other rows, or on chance",
                hint="a request holds any number of rows: take statistics from the training data",
            )
    labels = frame[target].tolist() if target is not None and target in frame else None
    rows: list[dict[Any, Any]] = made
    if labels is not None:
        rows = [{**record, target: label} for record, label in zip(made, labels, strict=True)]
    path = folder / "sample.json"
    try:
        path.write_text(json.dumps([_plain(row) for row in rows]), encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise SlimError(
            f"preprocess makes something that is no feature: {error}",
            hint="features are numbers, booleans and strings",
        ) from error
    features = tuple(replace(kind.feature("FP64"), nullable=True) for kind in kinds)
    return Prepared(path, Raw(features, tuple(given)))


def attach(subject: Subject, prepared: Prepared, sample: Path) -> Subject:
    """Return the subject with what callers send for the sample's rows that are asked."""
    asked = [subject.questions.index[i] for i in subject.questions.of("sample").tolist()]
    chosen = tuple(prepared.raw.records[i] for i in asked)
    return replace(
        subject, raw=replace(prepared.raw, records=chosen), rows_from=f"{sample.name}, preprocessed"
    )


def prove(trial: Trial, subject: Subject, raw: Raw) -> list[Any]:
    """Compare the whole, both functions and the graph, with the original between them.

    Returns what the original between the functions answers to the first rows, as JSON has it.

    Raises:
        SlimError: an answer differs, or is nothing that JSON can carry.
        InputError: a function refuses a row.
        ProcessingError: it fails.

    """
    predictor = trial.predictor
    assert predictor.processing is not None
    positions = subject.questions.of("sample")[:_PROVEN_ROWS]
    given = [dict(record) for record in raw.records[:_PROVEN_ROWS]]
    original = predictor.decode({name: array[positions] for name, array in trial.expected.items()})
    wanted = predictor.processing.after(original, given)
    answers = predictor.predict(given)
    for row, (ours, theirs) in enumerate(zip(answers, wanted, strict=True)):
        if not same(ours, theirs, trial.budget.tolerance):
            raise SlimError(
                f"with processing.py, row {row} of the sample is answered {ours}, and {theirs} by "
                "the original between the same functions",
                hint="what postprocess does must not turn on differences that the parity budget "
                "allows",
            )
    try:
        json.dumps(answers, allow_nan=False)
        proven: list[Any] = json.loads(json.dumps(wanted, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SlimError(
            f"postprocess returns what JSON cannot carry: {error}",
            hint="return dicts, lists, strings, numbers, booleans and None",
        ) from error
    return proven


def same(ours: Any, theirs: Any, tolerance: Tolerance) -> bool:
    """Whether two plain values are equal; numbers with a fraction within the tolerance."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return ours.keys() == theirs.keys() and all(
            same(ours[key], theirs[key], tolerance) for key in ours
        )
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(
            same(a, b, tolerance) for a, b in zip(ours, theirs, strict=True)
        )
    if isinstance(ours, float) and isinstance(theirs, float):
        both_missing = ours != ours and theirs != theirs
        allowed = tolerance.absolute + tolerance.relative * abs(theirs)
        return both_missing or ours == theirs or abs(ours - theirs) <= allowed
    return bool(ours == theirs)


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with numpy's numbers as Python's, and None for what is missing."""
    plain = {}
    for name, value in record.items():
        one = value.item() if isinstance(value, np.generic) else value
        plain[str(name)] = None if isinstance(one, float) and one != one else one
    return plain
