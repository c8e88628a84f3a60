"""Models that take a table: scikit-learn and what speaks its interface, boosters among them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fnmodel.errors import SlimError
from fnmodel.inference import Predictor
from fnmodel.slim import sample, signature, source, text
from fnmodel.slim.convert import candidates
from fnmodel.slim.formats import Found
from fnmodel.slim.original import Original, describe
from fnmodel.slim.proof import causes
from fnmodel.slim.proof.rows import Rows, gather, nullable_columns, records
from fnmodel.slim.readers import boosters
from fnmodel.slim.readers.category_maps import framework
from fnmodel.slim.signature import Column
from fnmodel.slim.source import walk
from fnmodel.slim.subject import Family, Questions, Subject

Array = NDArray[Any]


def subject(
    found: Found,
    *,
    sample: Path | None,
    target: str | None,
    trust: frozenset[str],
    progress: Callable[[str], None],
) -> Subject:
    """Read a tabular model, gather its rows, and ask the original.

    Raises:
        SlimError: the model or the sample cannot be read, or do not fit together.
        UntrustedModelError: the file needs code that is not on the allow list.
        MissingExtraError: its framework or the converter is not installed.
        UnsupportedModelError: the model neither predicts nor transforms.

    """
    loaded = source.load(found, trust)
    written = text.has_text(loaded.model)
    read = _boosted if framework(loaded.model) else _estimated
    original, frame, whole, known = read(loaded.model, sample, target)
    nullable = nullable_columns(original, frame, every=_copes_with_missing(loaded.model))
    columns = signature.columns(frame, known, nullable)
    progress("choosing rows")
    rows = gather(original, frame, columns, nullable)
    asked = list(rows.index[: rows.from_sample])
    beside = {} if whole is None else {n: whole[n].iloc[asked].to_numpy() for n in whole.columns}
    return Subject(
        framework=loaded.framework,
        version=loaded.version,
        family=_family(loaded.model),
        candidates=(text.candidates if written else candidates)(original, columns),
        questions=_questions(original, columns, rows),
        answer=lambda count: _timed(original, rows, count),
        open=lambda: source.load(found, trust),
        rows_from=sample.name if sample else "the model's own statistics",
        notes=loaded.notes,
        causes=causes.notes(loaded.model),
        labels=beside.get(target) if target is not None else None,
        columns=beside,
    )


class _Given(NamedTuple):
    """A model, its features' rows, the whole sample where there is one, and known categories."""

    original: Original
    frame: Any
    whole: Any
    known: Mapping[str, Any]


def _boosted(model: Any, path: Path | None, target: str | None) -> _Given:
    """Read the rows of a booster, which knows its columns' names and categories in its own way."""
    if path is None:
        original = boosters.describe(model)
        if original.model.known:
            raise _needs_rows("looks up categories")
        return _Given(original, sample.synthesize(model, original.names, original.count), None, {})
    read = _boosted_from(model, sample.read(path), target, path.name)
    texts = signature.text_columns(read.known)
    if any(read.whole[name].dtype.kind in "iufb" for name in texts):
        # Words like "1" or "true", which a CSV file does not tell from what they look like.
        again = signature.as_text(sample.read(path, texts), texts)
        return _boosted_from(model, again, target, path.name)
    return read


def _boosted_from(model: Any, whole: Any, target: str | None, where: str) -> _Given:
    names = boosters.feature_names(model, whole.columns)
    count = boosters.feature_count(model)
    chosen = sample.select(whole, names=names, count=count, target=target, where=where)
    ready, frame = boosters.served(model, chosen)
    known = {str(frame.columns[at]): values for at, values in ready.known.items()}
    return _Given(describe(ready), frame, _beside(whole, frame), known)


def _estimated(model: Any, path: Path | None, target: str | None) -> _Given:
    original = text.described(model) if text.has_text(model) else describe(model)
    frame, whole = _frame(original, path, target)
    encoded = signature.encoded_columns(original)
    used = list(signature.used_columns(original)) or list(frame.columns)
    return _Given(original, frame[used], whole, {k: encoded[k] for k in used if k in encoded})


def _copes_with_missing(model: Any) -> bool:
    return framework(model) is not None or type(model).__name__.startswith("HistGradientBoosting")


def _needs_rows(why: str) -> SlimError:
    return SlimError(f"this model {why}, so it needs rows to be compared on", hint=sample.GIVE_ONE)


def _beside(frame: Any, chosen: Any) -> Any:
    """Return the whole sample, with the features as the model takes them."""
    return frame.reset_index(drop=True).assign(**{n: chosen[n] for n in chosen.columns})


def _frame(original: Original, path: Path | None, target: str | None) -> tuple[Any, Any]:
    """Return the features' frame, and the whole sample where there is one."""
    texts = signature.text_columns(signature.encoded_columns(original))
    if path is None and text.takes_list(original.model):
        import pandas as pd

        return pd.DataFrame({"text": text.texts(original.model, sample.SYNTHETIC_ROWS)}), None
    if path is None:
        if original.names and texts:
            raise _needs_rows("takes text columns")
        return sample.synthesize(original.model, original.names, original.count), None
    frame = sample.read(path, texts)
    chosen = sample.select(
        frame, names=original.names, count=original.count, target=target, where=path.name
    )
    return signature.as_text(chosen, texts), _beside(frame, chosen)


def _questions(original: Original, columns: Sequence[Column], rows: Rows) -> Questions:
    def encode(predictor: Predictor) -> dict[str, Array]:
        names = {feature.name for feature in predictor.signature.features}
        return predictor.encode(records(rows.frame, [c for c in columns if c.name in names]))

    expected: Mapping[str, Array] = original.answer(rows.frame)
    return Questions(
        origin=rows.origin,
        index=rows.index,
        changed=rows.changed,
        expected=expected,
        margin=original.margin(rows.frame),
        encode=encode,
        notes=rows.notes,
        refused=rows.refused,
    )


def _timed(original: Original, rows: Rows, count: int) -> Callable[[], object]:
    """Return a call that answers `count` rows from a ready frame."""
    import pandas as pd

    frame = rows.frame.iloc[: rows.from_sample]
    repeated = pd.concat([frame] * (count // len(frame) + 1), ignore_index=True).head(count)
    ready = original.rows(repeated)
    return lambda: original.latency(ready)


# Continuous in their numbers, so that rounding them moves answers by as little.
_SMOOTH = frozenset(
    "ColumnTransformer FeatureUnion FunctionTransformer MaxAbsScaler MinMaxScaler Normalizer PCA "
    "Pipeline PolynomialFeatures RobustScaler SimpleImputer StandardScaler TruncatedSVD "
    "TfidfTransformer TfidfVectorizer CountVectorizer HashingVectorizer".split()
)


def _family(model: Any) -> Family:
    final = model
    while hasattr(final, "steps"):
        final = final.steps[-1][1]
    inside = [estimator for _, estimator in walk(final)]
    kinds = {type(estimator).__name__ for estimator in inside}
    boosted = ("XGB", "LGBM", "CatBoost", "Booster", "HistGradientBoosting")
    if any(kind.startswith(boosted) for kind in kinds) or any(
        hasattr(estimator, "tree_") for estimator in inside
    ):
        return "trees"
    before = [estimator for _, estimator in walk(model) if estimator not in inside]
    if not all(map(_is_smooth, before)):
        return "table"
    if kinds & {"MLPClassifier", "MLPRegressor", "BernoulliRBM"}:
        return "mlp"
    return "linear" if hasattr(final, "coef_") else "table"


def _is_smooth(step: Any) -> bool:
    """Whether a step hands on numbers that follow its own without a jump."""
    if type(step).__name__ in ("OneHotEncoder", "OrdinalEncoder"):
        return all(known.dtype.kind != "f" for known in getattr(step, "categories_", ()))
    return type(step).__name__ in _SMOOTH
