"""What the child process does: load, convert, compare, measure, write the model directory."""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import FnmodelError, InputError, SlimError, UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.model import MODEL, PROBE, SIGNATURE, Tolerance
from fnmodel.slim import parity, probe, repair, sample, signature, source
from fnmodel.slim.convert import Converted, convert, precisions
from fnmodel.slim.original import Original, describe
from fnmodel.slim.report import Change, ParityReport, WorstRow
from fnmodel.slim.rows import Rows, gather, nullable_columns, records
from fnmodel.slim.timing import median_ms
from fnmodel.slim.versions import versions

Array = NDArray[Any]
Progress = Callable[[str], None]

_WORST = 5
_SINGLE_ROWS = 20


@dataclass(frozen=True)
class Job:
    """One conversion: what to read, what to allow, and the folder to write the model into."""

    source: Path
    sha256: str
    sample: Path | None
    target: str | None
    tolerance: Tolerance
    label_flips: int
    folder: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain data, to be handed to the child process."""
        return {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Job":
        """Read what `to_json` returned."""
        given = data["sample"]
        return Job(
            source=Path(data["source"]),
            sha256=data["sha256"],
            sample=Path(given) if given else None,
            target=data["target"],
            tolerance=Tolerance(**data["tolerance"]),
            label_flips=data["label_flips"],
            folder=Path(data["folder"]),
        )


@dataclass(frozen=True)
class Trial:
    """One conversion at one precision, and how it answered the rows."""

    converted: Converted
    predictor: Predictor
    tensors: Mapping[str, Array]
    answers: Mapping[str, Array]
    comparison: parity.Comparison
    batches_agree: bool
    passed: bool


def run(job: Job, progress: Progress) -> ParityReport:
    """Convert a model file into `job.folder` and report how it compares.

    Raises:
        SlimError: the model or the sample cannot be read, or does not fit.
        MissingExtraError: scikit-learn or its converter is not installed.
        UnsupportedModelError: a step has no converter, or a wrong one.

    """
    source.check_extra()
    with warnings.catch_warnings():
        # The libraries' warnings are for those who train; what matters here becomes a note.
        warnings.simplefilter("ignore")
        return _run(job, progress)


def _run(job: Job, progress: Progress) -> ParityReport:
    import joblib

    progress(f"reading {job.source.name}")
    if file_sha256(job.source) != job.sha256:
        raise SlimError(f"{job.source.name} changed while it was read", hint="run it again")
    loaded = source.load(job.source)
    repair.refuse(loaded.model)
    original = describe(loaded.model)
    frame = _frame(job, original)
    nullable = nullable_columns(original, frame)
    encoded = signature.encoded_columns(original)
    used = list(signature.used_columns(original)) or list(frame.columns)
    columns = signature.columns(
        frame[used], {k: encoded[k] for k in used if k in encoded}, nullable
    )
    rows = gather(original, frame, nullable)
    expected, margin = original.answer(rows.frame), original.margin(rows.frame)
    trial = _best(job, original, columns, rows, expected, margin, progress)
    progress("measuring")
    _write(job, trial, expected, rows)

    def latency(count: int) -> Change:
        return _latency(original, columns, rows, trial.predictor, count)

    notes = (*loaded.notes, *rows.notes, *(repair.notes(loaded.model) if not trial.passed else ()))
    return ParityReport(
        source=job.source.name,
        sha256=job.sha256,
        framework="scikit-learn",
        version=loaded.version,
        rows=len(rows.index),
        missing_rows=len(rows.index) - rows.from_sample,
        rows_from=job.sample.name if job.sample else "the model's own statistics",
        max_abs=trial.comparison.max_abs,
        max_rel=trial.comparison.max_rel,
        label_flips=int(trial.comparison.flips.sum()),
        ties=int(trial.comparison.tied.sum()),
        batches_agree=trial.batches_agree,
        tolerance=job.tolerance,
        allowed_label_flips=job.label_flips,
        passed=trial.passed,
        worst=_worst(trial, expected, rows),
        size=Change(job.source.stat().st_size, len(trial.converted.onnx)),
        opset=trial.converted.opset,
        precision=str(trial.converted.precision),
        isolation=(),
        versions=versions(),
        notes=notes,
        one_row=latency(1),
        thousand_rows=latency(1000),
        load=Change(
            before=median_ms(lambda: joblib.load(job.source)),
            after=median_ms(lambda: Predictor(job.folder, threads=1)),
        ),
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _frame(job: Job, original: Original) -> Any:
    if job.sample is None:
        if original.names and signature.text_columns(signature.encoded_columns(original)):
            raise SlimError(
                "this model takes text columns, so it needs rows to be compared on",
                hint=sample.GIVE_ONE,
            )
        return sample.synthesize(original.model, original.names, original.count)
    texts = signature.text_columns(signature.encoded_columns(original))
    frame = sample.read(job.sample, texts)
    chosen = sample.select(
        frame,
        names=original.names,
        count=original.count,
        target=job.target,
        where=job.sample.name,
    )
    return signature.as_text(chosen, texts)


def _best(
    job: Job,
    original: Original,
    columns: Sequence[signature.Column],
    rows: Rows,
    expected: Mapping[str, Array],
    margin: Array | None,
    progress: Progress,
) -> Trial:
    """Return the first precision that passes, else the one that differs least."""
    trials: list[Trial] = []
    refusal: FnmodelError | None = None
    for precision in precisions(original.model):
        progress(f"converting ({precision})")
        try:
            converted = convert(original, columns, precision)
            trial = _try(job, converted, columns, rows, expected, margin)
        except (UnsupportedModelError, InputError) as error:
            refusal = refusal or error
            continue
        progress(
            f"compared {len(rows.index)} rows: largest difference {trial.comparison.max_abs:.2g}"
        )
        if trial.passed:
            return trial
        trials.append(trial)
    if trials:
        return min(trials, key=lambda t: (int(t.comparison.flips.sum()), t.comparison.max_abs))
    if isinstance(refusal, UnsupportedModelError):
        raise refusal
    raise UnsupportedModelError(
        f"the converted {type(original.model).__name__} does not run: " + _ort_words(refusal),
        hint="replace the step that the message names, or move it in front of the model",
    ) from refusal


def _ort_words(refusal: FnmodelError | None) -> str:
    """Return ONNX Runtime's words, without the temporary path that stands before them."""
    cause = refusal.__cause__ if refusal else None
    text = str(cause or refusal or "it has no precision to try")
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", text.strip().splitlines()[0])[:300]


def _try(
    job: Job,
    converted: Converted,
    columns: Sequence[signature.Column],
    rows: Rows,
    expected: Mapping[str, Array],
    margin: Array | None,
) -> Trial:
    job.folder.mkdir(parents=True, exist_ok=True)
    predictor = _open(job.folder, converted)
    tensors = predictor.encode(_features(rows.frame, columns, predictor))
    answers = predictor.run(tensors)
    outputs = tuple(
        replace(tensor, shape=(-1, *answers[tensor.name].shape[1:]))
        for tensor in converted.signature.outputs
    )
    converted = replace(converted, signature=replace(converted.signature, outputs=outputs))
    predictor = _open(job.folder, converted)
    given = _expected(expected, converted, answers)
    comparison = parity.compare(given, answers, job.tolerance, margin)
    agree = _batches_agree(predictor, tensors, answers, job.tolerance)
    passed = agree and comparison.passes(job.label_flips)
    return Trial(converted, predictor, tensors, answers, comparison, agree, passed)


def _open(folder: Path, converted: Converted) -> Predictor:
    (folder / MODEL).write_bytes(converted.onnx)
    (folder / SIGNATURE).write_text(_json(converted.signature.to_json()))
    return Predictor(folder, threads=1)


def _features(
    frame: Any, columns: Sequence[signature.Column], predictor: Predictor
) -> list[dict[str, Any]]:
    names = {feature.name for feature in predictor.signature.features}
    return records(frame, [column for column in columns if column.name in names])


def _expected(
    expected: Mapping[str, Array], converted: Converted, answers: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the original's answers under the outputs' names and in their layout."""
    laid_out = {}
    for tensor, array in zip(converted.signature.outputs, expected.values(), strict=True):
        actual = answers[tensor.name]
        values = array
        if actual.dtype.kind in "iu" and array.dtype.kind in "fb":
            values = array.astype(actual.dtype)
        if values.dtype.kind in "US":
            values = values.astype(object)
        if values.size == actual.size:  # (n,) and (n, 1) are one value a row
            values = values.reshape(actual.shape)
        laid_out[tensor.name] = values
    return laid_out


def _batches_agree(
    predictor: Predictor,
    tensors: Mapping[str, Array],
    answers: Mapping[str, Array],
    tolerance: Tolerance,
) -> bool:
    """Whether single rows get the answers that they got in the batch."""
    rows = len(next(iter(tensors.values())))
    for row in np.linspace(0, rows - 1, min(rows, _SINGLE_ROWS), dtype=int):
        single = predictor.run({name: array[row : row + 1] for name, array in tensors.items()})
        batch = {name: array[row : row + 1] for name, array in answers.items()}
        if not parity.compare(batch, single, tolerance, None).passes(0):
            return False
    return True


def _write(job: Job, trial: Trial, expected: Mapping[str, Array], rows: Rows) -> None:
    _open(job.folder, trial.converted)
    given = _expected(expected, trial.converted, trial.answers)
    first = next(iter(given.values()))
    labels = first.reshape(len(first), -1)[:, 0].tolist() if first.dtype.kind != "f" else []
    missing = np.array([bool(names) for names in rows.emptied])
    usable = ~(trial.comparison.flips | trial.comparison.tied) & (trial.comparison.share <= 1)
    if not usable.any():
        usable[:] = True
    chosen = probe.choose(labels or [0] * len(missing), usable, missing)
    content = probe.build(
        trial.converted.signature,
        {name: array[chosen] for name, array in trial.tensors.items()},
        {name: array[chosen] for name, array in given.items()},
        job.tolerance,
    )
    (job.folder / PROBE).write_text(_json(content))


def _worst(trial: Trial, expected: Mapping[str, Array], rows: Rows) -> tuple[WorstRow, ...]:
    given = _expected(expected, trial.converted, trial.answers)
    found = []
    for position in trial.comparison.worst(_WORST):
        name = max(given, key=lambda n: _difference(given[n], trial.answers[n], position))
        found.append(
            WorstRow(
                row=rows.index[position],
                output=name,
                original=_plain(given[name][position]),
                onnx=_plain(trial.answers[name][position]),
                missing=rows.emptied[position],
            )
        )
    return tuple(found)


def _difference(expected: Array, actual: Array, row: int) -> float:
    if expected.shape != actual.shape:
        return np.inf
    if expected.dtype.kind != "f":
        return 2.0 * float(np.any(expected[row] != actual[row]))
    return float(parity.distance(expected[row : row + 1], actual[row : row + 1]).max(initial=0.0))


def _latency(
    original: Original,
    columns: Sequence[signature.Column],
    rows: Rows,
    predictor: Predictor,
    count: int,
) -> Change:
    """Return milliseconds for `count` rows: a ready frame before, ready tensors after."""
    import pandas as pd

    frame = rows.frame.iloc[: rows.from_sample]
    repeated = pd.concat([frame] * (count // len(frame) + 1), ignore_index=True).head(count)
    before = original.rows(repeated)
    after = predictor.encode(_features(repeated, columns, predictor))
    return Change(
        before=median_ms(lambda: original.latency(before)),
        after=median_ms(lambda: predictor.run(after)),
    )


def _plain(value: Any) -> Any:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    # JSON has no NaN and no infinities.
    return str(plain) if isinstance(plain, float) and not np.isfinite(plain) else plain


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + os.linesep
