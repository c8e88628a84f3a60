"""Models over texts: their vectorizers become steps of the front, the rest is converted."""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fnmodel.errors import UnsupportedModelError
from fnmodel.slim import convert, wide
from fnmodel.slim.converters.text import slot_class
from fnmodel.slim.networks.tokenizer import tokenizer_steps
from fnmodel.slim.original import Original, describe
from fnmodel.slim.proof.hostile import HOSTILE
from fnmodel.slim.signature import Column
from fnmodel.slim.source import walk
from fnmodel.slim.subject import Candidate, Converted
from fnmodel.slim.wide import Block

__all__ = ["candidates", "described", "has_text", "takes_list", "texts", "tokenizer_steps"]

FEATURE = "text"
"""The name of the one feature of a model that was fitted on a list of texts."""

_COUNTS = ("int32", "int64", "float32", "float64")


@dataclass(frozen=True)
class Split:
    """A model whose vectorizers are slots, and what fills each of them, by the slot's number."""

    model: Any
    blocks: tuple[Block, ...]


def has_text(model: Any) -> bool:
    """Whether a vectorizer of texts is part of the model."""
    return any(_is_vectorizer(estimator) for _, estimator in walk(model))


def takes_list(model: Any) -> bool:
    """Whether the model was fitted on a list of texts, not on a table with a column of them."""
    if _is_vectorizer(model):
        return True
    if hasattr(model, "transformers"):
        return False
    if hasattr(model, "steps"):
        steps = [step for _, step in model.steps if step is not None and not isinstance(step, str)]
        return bool(steps) and takes_list(steps[0])
    parts = [step for _, step in getattr(model, "transformer_list", ())]
    for name in ("best_estimator_", "estimator_", "estimator", "base_estimator"):
        parts += [getattr(model, name)] if hasattr(model, name) else []
    for part in getattr(model, "estimators", None) or ():
        parts.append(part[1] if isinstance(part, tuple) else part)
    return any(takes_list(part) for part in parts)


def described(model: Any) -> Original:
    """Describe a model over texts; one that takes a list is asked with a frame of one column.

    Raises:
        UnsupportedModelError: it neither predicts nor transforms.

    """
    original = describe(model)
    if not takes_list(model):
        return original

    def listed(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda rows: call(rows[:, 0].tolist())

    return replace(
        original,
        answers=tuple((name, listed(call)) for name, call in original.answers),
        score=listed(original.score) if original.score else None,
        latency=listed(original.latency),
    )


def texts(model: Any, count: int) -> list[str]:
    """Return texts to ask a model: hostile ones first, then words that its vectorizers know."""
    known = [
        term
        for _, estimator in walk(model)
        if _is_vectorizer(estimator) and hasattr(estimator, "vocabulary_")
        for term in sorted(estimator.vocabulary_)
    ]
    chance = random.Random(0)  # noqa: S311 - the same texts each time
    pool = known or " ".join(HOSTILE).split()
    made = [
        " ".join(chance.choices(pool, k=chance.randrange(1, 30)))
        for _ in range(max(0, count - len(HOSTILE)))
    ]
    return [*HOSTILE, *made][:count]


def candidates(original: Original, columns: Sequence[Column]) -> tuple[Candidate, ...]:
    """Return the ways to convert a model over texts, the most faithful first.

    `columns` are its features; those that vectorizers read are text. A model that was fitted on a
    list of texts has the one feature `text`.

    Raises:
        UnsupportedModelError: a vectorizer calls a function of its own, reads files, or is all
            there is; names it.

    """
    parts = split(original.model)
    slotted = replace(original, model=parts.model)

    def way(candidate: Candidate) -> Candidate:
        how = f"{candidate.how}, words in front"

        def call() -> Converted:
            done = candidate.convert()
            onnx, front = wide.feed(done.onnx, parts.blocks)
            return replace(done, onnx=onnx, how=how, front=front)

        return Candidate(how, call)

    return tuple(way(candidate) for candidate in convert.candidates(slotted, columns))


def split(model: Any) -> Split:
    """Return a copy of the model with a slot for each vectorizer and the steps that weigh it.

    Raises:
        UnsupportedModelError: as `candidates`.

    """
    splitter = _Splitter()
    rest = splitter.rewritten("", copy.deepcopy(model))
    if all(isinstance(step, slot_class()) for _, step in getattr(rest, "steps", [("", rest)])):
        raise UnsupportedModelError(
            "a vectorizer alone answers with a row as wide as its vocabulary",
            hint="deploy it in one pipeline with the model that reads its columns",
        )
    return Split(rest, tuple(splitter.blocks))


@dataclass
class _Splitter:
    """Replaces vectorizers in a model that is its own copy."""

    blocks: list[Block] = field(default_factory=list)
    _slots: dict[tuple[int, ...], Any] = field(default_factory=dict)
    _seen: dict[int, Any] = field(default_factory=dict)

    def rewritten(self, name: str, value: Any) -> Any:
        """Return the value with slots in it; all but tuples are changed in place."""
        if _is_vectorizer(value):
            return self._slot(name, [value])
        if isinstance(value, tuple):
            named = len(value) > 1 and isinstance(value[0], str)
            inner = value[0] if named else name
            items = [self.rewritten(inner, item) for item in value]
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else tuple(items)
        if id(value) not in self._seen:
            self._seen[id(value)] = value
            self._change(name, value)
        return value

    def _change(self, name: str, value: Any) -> None:
        if isinstance(value, list):
            value[:] = [self.rewritten(name, item) for item in value]
        elif isinstance(value, dict):
            value.update({key: self.rewritten(str(key), item) for key, item in value.items()})
        elif isinstance(value, np.ndarray) and value.dtype == object:
            for index, item in enumerate(value.flat):
                value.flat[index] = self.rewritten(name, item)
        # Some classifiers keep their parts in objects that are no estimators.
        elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
            if hasattr(value, "steps"):
                value.steps = self._steps(value.steps)
            for key, item in list(vars(value).items()):
                setattr(value, key, self.rewritten(name, item))

    def _steps(self, steps: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return a pipeline's steps; those that only weigh the counts of words join the slot."""
        kept: list[tuple[str, Any]] = []
        rest = list(steps)
        while rest:
            name, step = rest.pop(0)
            if not (_is_vectorizer(step) and _is_fitted(step)):
                kept.append((name, step))
                continue
            chain = [step]
            while rest and _weighs(rest[0][1]):
                chain.append(rest.pop(0)[1])
            if rest and type(rest[0][1]).__name__ == "BernoulliNB":
                chain += self._binarizer(rest[0][1])
            kept.append((name, self._slot(name, chain)))
        return kept

    def _binarizer(self, model: Any) -> list[Any]:
        from sklearn.preprocessing import Binarizer

        threshold = model.binarize
        if threshold is None or threshold < 0:
            return []
        model.binarize = None
        return [Binarizer(threshold=threshold)]

    def _slot(self, name: str, chain: Sequence[Any]) -> Any:
        key = tuple(map(id, chain))
        if key not in self._slots:
            if _is_fitted(chain[0]):
                block = _block(name, chain)
                self._slots[key] = slot_class()(len(self.blocks), block.width)
                self.blocks.append(block)
            else:  # the template that a column transformer was made of
                self._slots[key] = slot_class()(-1)
        return self._slots[key]


def _is_vectorizer(value: Any) -> bool:
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    return isinstance(value, CountVectorizer | HashingVectorizer)


def _is_fitted(vectorizer: Any) -> bool:
    return hasattr(vectorizer, "vocabulary_") or hasattr(vectorizer, "n_features")


def _weighs(step: Any) -> bool:
    """Whether the step changes or drops counts one by one or within their row."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.feature_selection import SelectorMixin
    from sklearn.preprocessing import Binarizer, MaxAbsScaler, Normalizer, StandardScaler

    match step:
        case None | "passthrough":
            return True
        case TfidfTransformer():
            return hasattr(step, "idf_") or not step.use_idf
        case Binarizer():
            return bool(step.threshold >= 0)
        case MaxAbsScaler():
            return hasattr(step, "scale_") and not getattr(step, "clip", False)
        case StandardScaler():
            return hasattr(step, "scale_") and not step.with_mean
        case Normalizer() | SelectorMixin():
            return True
        case _:
            return False


def _block(name: str, chain: Sequence[Any]) -> Block:
    """Return what a fitted vectorizer, and the steps after it that weigh, do."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = chain[0]
    _check(name, vectorizer)
    step = _analysis(vectorizer)
    if hasattr(vectorizer, "vocabulary_"):
        terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
        step["vocabulary"], width = terms, len(terms)
    else:
        width = int(vectorizer.n_features)
        sign = bool(vectorizer.alternate_sign)
        step["hashing"] = {"n_features": width, "alternate_sign": sign}
    single = np.dtype(vectorizer.dtype) == np.float32
    step["datatype"] = "FP32" if single else "FP64"
    then: list[dict[str, Any]] = []
    if isinstance(vectorizer, TfidfVectorizer):
        then += _weights(vectorizer._tfidf)  # noqa: SLF001 - its parameters have no public name
    elif hasattr(vectorizer, "n_features") and vectorizer.norm is not None:
        then.append({"op": "norm", "norm": vectorizer.norm})
    for weighing in chain[1:]:
        then += _weights(weighing)
        if hasattr(weighing, "get_support"):
            width = len(then[-1]["columns"])
    if step.get("hashing", {}).get("alternate_sign") and {"op": "log"} in then:
        raise UnsupportedModelError(
            f"step {name!r}: sublinear_tf takes the logarithm of hashed counts with signs",
            hint="train with alternate_sign=False",
        )
    return Block({**step, "then": then}, width)


def _analysis(vectorizer: Any) -> dict[str, Any]:
    words = vectorizer.analyzer == "word" or vectorizer.analyzer is str.split
    stop = vectorizer.get_stop_words() if vectorizer.analyzer == "word" else None
    split = vectorizer.tokenizer is str.split or vectorizer.analyzer is str.split
    raw = vectorizer.analyzer is str.split
    return {
        "lowercase": bool(vectorizer.lowercase) and not raw,
        "strip_accents": None if raw else vectorizer.strip_accents,
        "analyzer": "word" if words else vectorizer.analyzer,
        "token_pattern": None if split or not words else vectorizer.token_pattern,
        "ngram_range": [1, 1] if raw else [int(n) for n in vectorizer.ngram_range],
        "stop_words": sorted(stop) if stop else None,
        "binary": bool(vectorizer.binary),
    }


def _weights(step: Any) -> list[dict[str, Any]]:
    """Return the weighing of one step, as the front knows it."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import Binarizer, Normalizer

    if step is None or isinstance(step, str):
        return []
    if hasattr(step, "get_support"):
        return [{"op": "columns", "columns": np.flatnonzero(step.get_support()).tolist()}]
    if isinstance(step, Binarizer):
        return [{"op": "binarize", "threshold": float(step.threshold)}]
    if isinstance(step, Normalizer):
        return [{"op": "norm", "norm": step.norm}]
    if isinstance(step, TfidfTransformer):
        log = [{"op": "log"}] if step.sublinear_tf else []
        scale = [_scale(step.idf_)] if hasattr(step, "idf_") else []
        norm = [{"op": "norm", "norm": step.norm}] if step.norm is not None else []
        return [*log, *scale, *norm]
    return [] if step.scale_ is None else [_scale(1.0 / step.scale_)]


def _scale(by: Any) -> dict[str, Any]:
    """Return the factors of all columns; of hashed ones, most have that of an unseen word."""
    datatype = "FP32" if by.dtype == np.float32 else "FP64"
    values, counts = np.unique(by, return_counts=True)
    if counts.max() * 2 < len(by):
        return {"op": "scale", "by": by.tolist(), "datatype": datatype}
    fill = values[counts.argmax()]
    others = np.flatnonzero(by != fill)
    return {
        "op": "scale",
        "by": by[others].tolist(),
        "columns": others.tolist(),
        "width": len(by),
        "fill": float(fill),
        "datatype": datatype,
    }


def _check(name: str, vectorizer: Any) -> None:
    """Refuse what is not data.

    Raises:
        UnsupportedModelError: names the step and its parameter.

    """
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

    kind = type(vectorizer)

    def refused(reason: str) -> UnsupportedModelError:
        where = f"step {name!r} ({kind.__name__})" if name else f"the {kind.__name__}"
        return UnsupportedModelError(
            f"{where}: {reason}",
            hint="replace that step, or move it out of the model and in front of it",
        )

    if kind not in (CountVectorizer, HashingVectorizer, TfidfVectorizer):
        raise refused("a class of its own, which may cut words in its own way")
    for parameter in ("preprocessor", "tokenizer", "analyzer", "strip_accents"):
        value = getattr(vectorizer, parameter)
        known = parameter in ("tokenizer", "analyzer") and value is str.split
        if callable(value) and not known:
            called = getattr(value, "__name__", type(value).__name__)
            raise refused(f"its {parameter} is the function {called!r}, which is not data")
    if vectorizer.input != "content":
        raise refused(f"it reads texts from a {vectorizer.input}")
    if np.dtype(vectorizer.dtype).name not in _COUNTS:
        raise refused(f"it counts in {np.dtype(vectorizer.dtype).name}")
