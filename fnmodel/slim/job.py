"""What the child process does: read, convert, compare, measure, write the model directory."""

import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fnmodel.errors import FnmodelError, InputError, SlimError, UnsupportedModelError
from fnmodel.inference import Predictor
from fnmodel.model import PROBE, PROCESSING, REFERENCE
from fnmodel.processing import Processing
from fnmodel.slim import folder as model_folder
from fnmodel.slim import processed
from fnmodel.slim.content import content_sha256, content_size
from fnmodel.slim.ladder import Ladder, climb
from fnmodel.slim.order import Job
from fnmodel.slim.proof import parity, probe
from fnmodel.slim.proof.report import Change, ParityReport, WorstRow
from fnmodel.slim.proof.trial import Trial, ask
from fnmodel.slim.quality import evidence, gates, judged
from fnmodel.slim.readers.open import open_subject
from fnmodel.slim.rungs.catalogue import rungs
from fnmodel.slim.rungs.measured import Judgement
from fnmodel.slim.rungs.rung import Options
from fnmodel.slim.subject import Converted, Questions, Subject
from fnmodel.slim.timing import median_ms
from fnmodel.slim.versions import versions

Array = NDArray[Any]
Progress = Callable[[str], None]

_WORST = 5
_SHOWN = 4
_PROBE_VALUES = 100_000
_LADDER_ROWS = 200
_WIDEST_ROW = 1 << 16
_VECTOR = 16
_LONGEST_MS = 1000.0


def run(job: Job, progress: Progress) -> ParityReport:
    """Convert a model file into `job.folder` and report how it compares.

    Raises:
        SlimError: the model or the sample cannot be read, or does not fit.
        MissingExtraError: its framework or the converter is not installed.
        UnsupportedModelError: a step has no converter, or a wrong one.

    """
    with warnings.catch_warnings():
        # The libraries' warnings are for those who train; what matters here becomes a note.
        warnings.simplefilter("ignore")
        return _run(job, progress)


def _run(job: Job, progress: Progress) -> ParityReport:
    progress(f"reading {job.order.source.name}")
    if content_sha256(job.order.source) != job.sha256:
        raise SlimError(f"{job.order.source.name} changed while it was read", hint="run it again")
    with tempfile.TemporaryDirectory() as folder:
        subject = _opened(job, Path(folder), progress)
    trial = _best(job, subject, progress)
    trial, ladder = _smaller(job, subject, trial, progress)
    around: dict[str, Any] = {}
    if subject.raw is not None:
        progress(f"comparing with {PROCESSING} around")
        proven = processed.prove(trial, subject, subject.raw)
        around = probe.around(subject.raw.records, proven)
    progress("measuring")
    _write(job, trial, subject.questions, around)
    profile = evidence.profile(subject, trial)
    if profile is not None:
        model_folder.write_json(job.folder / REFERENCE, profile.to_json())
    return _report(job, subject, trial, ladder)


def _opened(job: Job, folder: Path, progress: Progress) -> Subject:
    order = job.order
    sample, prepared = order.sample, None
    if order.processing is not None:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / PROCESSING).write_bytes(order.processing.read_bytes())
        progress(f"running preprocess of {PROCESSING}")
        own = Processing.load(job.folder)
        assert own is not None
        prepared = processed.prepare(own, sample, order.target, folder)
        sample = prepared.sample
    subject = open_subject(
        order.source,
        sample=sample,
        target=order.target,
        trust=frozenset(order.trust),
        progress=progress,
    )
    if prepared is None or order.sample is None:
        return subject
    return processed.attach(subject, prepared, order.sample)


def _best(job: Job, subject: Subject, progress: Progress) -> Trial:
    """Return the first candidate that passes, else the one that differs least."""
    trials: list[Trial] = []
    refusal: FnmodelError | None = None
    for candidate in subject.candidates:
        progress(f"converting ({candidate.how})")
        try:
            converted = _with_raw(candidate.convert(), subject)
            trial = ask(converted, subject.questions, job.order.budget, job.folder)
        except (UnsupportedModelError, InputError) as error:
            refusal = refusal or error
            continue
        rows = len(subject.questions.origin)
        progress(f"compared {rows:,} rows: largest difference {trial.rows.max_abs:.2g}")
        if trial.passed:
            return trial
        trials.append(trial)
    if trials:
        return min(trials, key=lambda t: (int(t.rows.flips.sum()), t.edge_flips, t.rows.max_abs))
    if isinstance(refusal, UnsupportedModelError):
        raise refusal
    raise UnsupportedModelError(
        f"the converted {subject.framework} model does not run: {_ort_words(refusal)}",
        hint="replace the step that the message names, or move it in front of the model",
    ) from refusal


def _with_raw(converted: Converted, subject: Subject) -> Converted:
    if subject.raw is None:
        return converted
    signature = converted.signature
    if not signature.features:
        raise UnsupportedModelError(
            f"{PROCESSING} makes named features, and this model takes tensors",
            hint="give a table as sample, or prepare the tensors in front of the endpoint",
        )
    return replace(converted, signature=replace(signature, raw=subject.raw.features))


def _smaller(
    job: Job, subject: Subject, trial: Trial, progress: Progress
) -> tuple[Trial, Ladder | None]:
    """Return the smallest form that answers as well, and the table of what was tried.

    A model that differs already stays as it is, and so does one whose front makes wide rows.
    """
    if not trial.passed:
        return trial, None
    sample = subject.questions.of("sample")[:_LADDER_ROWS]
    feeds = _feeds(trial, sample)
    if feeds is None:
        return trial, None
    embeddings = _embeddings(subject, trial)

    def asked(onnx: bytes) -> Trial:
        form = replace(trial.converted, onnx=onnx)
        exact = form.onnx == trial.converted.onnx
        return ask(
            form,
            subject.questions,
            job.order.budget,
            job.folder,
            frozenset() if exact else embeddings,
        )

    def judge(onnx: bytes) -> Judgement:
        other = asked(onnx)
        return Judgement(other.passed, other.rows.max_abs, other.label_changes)

    options = Options(**job.order.ladder)
    onnx, ladder = climb(
        trial.converted.onnx,
        rungs(subject.family, options),
        judge=judge,
        feeds=feeds,
        options=options,
        progress=progress,
    )
    return asked(onnx), ladder


def _feeds(trial: Trial, rows: Array) -> Mapping[str, Array] | None:
    """Return the graph's own inputs for some rows, or None where a row takes too much room."""
    given = {name: array[rows] for name, array in trial.tensors.items()}
    if trial.converted.front is None:
        return given
    first = trial.predictor.feeds({name: array[:1] for name, array in given.items()})
    if sum(array.nbytes for array in first.values()) > _WIDEST_ROW:
        return None
    return trial.predictor.feeds(given)


def _embeddings(subject: Subject, trial: Trial) -> frozenset[str]:
    """Return the outputs of a transformer that are one vector a row, whose direction counts."""
    signature = trial.converted.signature
    if subject.family != "transformer" or signature.task != "other":
        return frozenset()
    return frozenset(
        tensor.name
        for tensor in signature.outputs
        if len(tensor.shape) == 2 and tensor.shape[1] >= _VECTOR and "logits" not in tensor.name
    )


def _ort_words(refusal: FnmodelError | None) -> str:
    """Return ONNX Runtime's words, without the temporary path that stands before them."""
    cause = refusal.__cause__ if refusal else None
    text = str(cause or refusal or "there is no way to convert it")
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", text.strip().splitlines()[0])[:300]


def _report(job: Job, subject: Subject, trial: Trial, ladder: Ladder | None) -> ParityReport:
    questions = subject.questions
    one_row = _latency(subject, trial, 1)
    graph, weights = model_folder.sizes(job.folder)
    rules = gates.from_json(job.order.gates)
    held_out = None
    if job.order.held_out is not None and (rules.metrics or rules.fairness):
        held_out = judged.read(job.order.held_out, job.order.target, trial.converted.signature)

    def counted(origin: str) -> int:
        return sum(one == origin for one in questions.origin)

    return ParityReport(
        source=job.order.source.name,
        sha256=job.sha256,
        framework=subject.framework,
        version=subject.version,
        rows=len(trial.positions),
        missing_rows=counted("missing"),
        unseen_rows=counted("unseen"),
        edge_rows=len(trial.edge_positions),
        rows_from=subject.rows_from,
        max_abs=trial.rows.max_abs,
        mean_abs=trial.rows.mean_abs,
        max_rel=trial.rows.max_rel,
        label_flips=int(trial.rows.flips.sum()),
        ties=int(trial.rows.tied.sum()),
        edge_flips=trial.edge_flips,
        batches={str(size): same for size, same in trial.batches.items()},
        answered=tuple(", ".join(names) for names in trial.answered),
        tolerance=job.order.budget.tolerance,
        allowed_label_flips=job.order.budget.label_flips,
        allowed_edge_flips=job.order.budget.edge_flips,
        passed=trial.passed,
        worst=_worst(trial, questions),
        metrics=evidence.metrics(subject, trial),
        gates=tuple(
            result.to_json()
            for result in evidence.gates(
                rules, subject, trial, one_row.after, graph + weights, held_out
            )
        ),
        size=Change(content_size(job.order.source), graph + weights),
        weights=weights,
        opset=_opset(trial.converted.onnx),
        how=trial.converted.how,
        ladder=ladder.to_json() if ladder else {},
        isolation=(),
        versions=versions(),
        notes=(
            *subject.notes,
            *questions.notes,
            *_on_rounding(trial),
            *(subject.causes if not trial.passed else ()),
        ),
        one_row=one_row,
        thousand_rows=_thousand(subject, trial, one_row),
        load=Change(
            before=median_ms(subject.open),
            after=median_ms(lambda: Predictor(job.folder, threads=1)),
        ),
    )


def _opset(onnx_bytes: bytes) -> int:
    import onnx

    model = onnx.load_model_from_string(onnx_bytes)
    return int(next(entry.version for entry in model.opset_import if entry.domain == ""))


def _on_rounding(trial: Trial) -> tuple[str, ...]:
    if not trial.rounded or trial.rows.cosine == 1.0:
        return ()
    names = ", ".join(sorted(trial.rounded))
    least, allowed = trial.rows.cosine, trial.budget.cosine
    return (
        f"weights are rounded; {names} by direction: cosine {least:.6f}, {allowed:g} is asked for",
    )


def _write(job: Job, trial: Trial, questions: Questions, around: Mapping[str, Any]) -> None:
    model_folder.write(job.folder, trial.converted)
    first = next(iter(trial.expected.values()))
    numbers = first.dtype.kind == "f"
    count = len(questions.origin)
    labels = [0] * count if numbers else first.reshape(count, -1)[:, 0].tolist()
    usable = np.zeros(count, dtype=bool)
    usable[trial.positions] = ~(trial.rows.flips | trial.rows.tied) & (trial.rows.share <= 1)
    usable &= np.array([origin in ("sample", "missing") for origin in questions.origin])
    if not usable.any():
        usable[:1] = True
    values = sum(array[:1].size for array in trial.tensors.values())
    rows = max(1, min(probe.PROBE_ROWS, _PROBE_VALUES // max(values, 1)))
    missing = np.array([origin == "missing" for origin in questions.origin])
    chosen = probe.choose(labels, usable, missing, rows)
    content = probe.build(
        trial.converted.signature,
        {name: array[chosen] for name, array in trial.tensors.items()},
        {
            name: (trial.answers if name in trial.rounded else trial.expected)[name][chosen]
            for name in trial.expected
        },
        job.order.budget.tolerance,
    )
    model_folder.write_json(job.folder / PROBE, {**content, **around})


def _worst(trial: Trial, questions: Questions) -> tuple[WorstRow, ...]:
    found = []
    for position in trial.worst(_WORST):
        name = max(
            trial.expected,
            key=lambda n: _difference(trial.expected[n], trial.answers[n], position),
        )
        original, onnx = trial.expected[name][position], trial.answers[name][position]
        where, original, onnx = _furthest(name, original, onnx)
        found.append(
            WorstRow(
                row=questions.index[position],
                output=where,
                original=_plain(original),
                onnx=_plain(onnx),
                origin=questions.origin[position],
                changed=questions.changed[position],
            )
        )
    return tuple(found)


def _furthest(name: str, original: Any, onnx: Any) -> tuple[str, Any, Any]:
    """Return of two long vectors the one number where they lie furthest apart, with its place."""
    if original.shape != onnx.shape or original.size <= _SHOWN or original.dtype.kind != "f":
        return name, original, onnx
    far = parity.distance(original[None], onnx[None])[0].reshape(original.shape)
    place = np.unravel_index(int(np.argmax(far)), original.shape)
    return f"{name}[{', '.join(map(str, place))}]", original[place], onnx[place]


def _difference(expected: Array, actual: Array, row: int) -> float:
    if expected.shape != actual.shape:
        return np.inf
    if expected.dtype.kind != "f":
        return 2.0 * float(np.any(expected[row] != actual[row]))
    return float(parity.distance(expected[row : row + 1], actual[row : row + 1]).max(initial=0.0))


def _latency(subject: Subject, trial: Trial, count: int) -> Change:
    """Return milliseconds for `count` rows: ready rows before, ready tensors after."""
    sample = subject.questions.of("sample")
    repeated = np.resize(sample, count)
    after = {name: array[repeated] for name, array in trial.tensors.items()}
    return Change(
        before=median_ms(subject.answer(count)),
        after=median_ms(lambda: trial.predictor.run(after)),
    )


def _thousand(subject: Subject, trial: Trial, one_row: Change) -> Change:
    """Return milliseconds for 1,000 rows; of a slow model from as many as take about a second."""
    slowest = max(one_row.before, one_row.after, _LONGEST_MS / 1000)
    count = max(2, int(_LONGEST_MS / slowest))
    measured = _latency(subject, trial, count)
    return Change(measured.before * 1000 / count, measured.after * 1000 / count)


def _plain(value: Any) -> Any:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(plain, list):
        return [_plain(one) for one in plain[:20]]
    # JSON has no NaN and no infinities.
    return str(plain) if isinstance(plain, float) and not np.isfinite(plain) else plain
