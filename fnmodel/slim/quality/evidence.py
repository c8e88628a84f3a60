"""What the sample says beyond parity: its labels judge the model, its rows become the reference."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import InputError, SlimError
from fnmodel.inference import Predictor
from fnmodel.profile import Profile
from fnmodel.slim.proof.report import Metric
from fnmodel.slim.proof.trial import Trial
from fnmodel.slim.quality import quality, reference
from fnmodel.slim.quality.answers import Answers
from fnmodel.slim.quality.gates import GateResult, Gates, judge
from fnmodel.slim.quality.judged import Judged
from fnmodel.slim.subject import Subject

Array = NDArray[Any]


def metrics(subject: Subject, trial: Trial) -> tuple[Metric, ...]:
    """Return what the labels say of the original and of the ONNX model; nothing without labels."""
    if subject.labels is None:
        return ()
    try:
        before, after = (
            _answers(trial, subject, trial.expected),
            _answers(trial, subject, trial.answers),
        )
        name = "accuracy" if after.labels is not None else "r2"
        figures = [quality.measure(name, one, subject.labels) for one in (before, after)]
        return (Metric(name, *figures),)
    except SlimError:  # a target, or an answer, that is no label of this model says nothing
        return ()


def gates(
    rules: Gates,
    subject: Subject,
    trial: Trial,
    one_row_ms: float,
    size_bytes: int,
    held_out: Judged | None,
) -> tuple[GateResult, ...]:
    """Judge the ONNX model's answers, on the rows held out or else on the sample's, by all gates.

    Raises:
        SlimError: a gate needs labels or a column that the sample does not have.
        UsageError: a gate names a metric that does not exist.
        InputError: a row that was held out is none that the model takes.
        ProcessingError: the project's own code fails on one.

    """
    answers = None
    if held_out is not None:
        answers = _answered(trial.predictor, held_out)
    elif rules.metrics or rules.fairness:
        answers = _answers(trial, subject, trial.answers)
    return judge(
        rules,
        answers,
        subject.labels if held_out is None else held_out.truth,
        subject.columns if held_out is None else held_out.columns,
        None,
        one_row_ms,
        size_bytes,
        np.random.default_rng(0),
    )


def profile(subject: Subject, trial: Trial) -> Profile | None:
    """Return the reference profile of the sample's rows, or None where they were made up."""
    if not subject.columns:
        return None
    signature = trial.converted.signature
    rows = subject.questions.of("sample")
    outputs = {name: array[rows] for name, array in trial.answers.items()}
    try:
        return reference.build(subject.columns, outputs, signature)
    except InputError as error:
        raise SlimError(f"the sample makes no reference: {error.message}") from error


def _answered(predictor: Predictor, judged: Judged) -> Answers:
    records: Sequence[Mapping[str, Any]] = judged.records
    if predictor.processing is not None:
        records = predictor.processing.before(predictor.checked(records))
    return Answers.of(predictor.signature, predictor.run(predictor.encode(records)))


def _answers(trial: Trial, subject: Subject, outputs: Mapping[str, Array]) -> Answers:
    rows = subject.questions.of("sample")
    signature = trial.converted.signature
    return Answers.of(signature, {name: array[rows] for name, array in outputs.items()})
