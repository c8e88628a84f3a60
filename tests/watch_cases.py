"""Worlds to watch: columns of many shapes, their reference, and captured lines of rows."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fnmodel.model import Feature, Signature, Tensor
from fnmodel.profile import Profile
from fnmodel.slim.quality import reference

Array = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator, int], Array]


def _gappy(rng: np.random.Generator, rows: int) -> Array:
    values = rng.normal(40, 12, rows)
    values[rng.random(rows) < 0.07] = np.nan
    return values


def _words(count: int, skew: float) -> Draw:
    words = np.array([f"w{i:03}" for i in range(count)], dtype=object)
    weights = np.arange(1, count + 1) ** -skew
    return lambda rng, rows: rng.choice(words, rows, p=weights / weights.sum())


COLUMNS: Mapping[str, Draw] = {
    "normal": lambda rng, rows: rng.normal(0, 1, rows),
    "pay": lambda rng, rows: rng.lognormal(8, 1, rows),
    "tail": lambda rng, rows: rng.standard_t(2, rows),
    "age": lambda rng, rows: rng.integers(18, 90, rows).astype(float),
    "calls": lambda rng, rows: rng.poisson(0.7, rows).astype(float),
    "spike": lambda rng, rows: np.where(rng.random(rows) < 0.6, 0.0, rng.gamma(2, 3, rows)),
    "share": lambda rng, rows: rng.beta(0.5, 0.5, rows),
    "gaps": _gappy,
    "flag": _words(2, 1.0),
    "city": _words(12, 1.0),
    "shop": _words(80, 1.3),
}
_TEXTS = {"flag", "city", "shop"}
_WHOLE = {"age", "calls"}

SIGNATURE = Signature(
    "classification",
    tuple(Tensor(name, "BYTES" if name in _TEXTS else "FP64", (-1, 1)) for name in COLUMNS),
    (Tensor("label", "BYTES", (-1,)), Tensor("scores", "FP64", (-1, 2))),
    tuple(
        Feature(name, "BYTES" if name in _TEXTS else "FP64", integral=name in _WHOLE, nullable=True)
        for name in COLUMNS
    ),
    ("no", "yes"),
    "label",
    "scores",
)


def world(rng: np.random.Generator, rows: int) -> dict[str, Array]:
    """Return independent columns, shape (rows,)."""
    return {name: draw(rng, rows) for name, draw in COLUMNS.items()}


def scores(columns: Mapping[str, Array]) -> Array:
    """Return the model's probabilities of no and yes, shape (rows, 2)."""
    logit = 1.2 * columns["normal"] - 0.5 + 0.02 * (columns["age"] - 50)
    yes = 1 / (1 + np.exp(-logit))
    return np.stack([1 - yes, yes], axis=1)


def outputs(columns: Mapping[str, Array]) -> dict[str, Array]:
    """Return the model's output tensors."""
    found = scores(columns)
    return {"label": np.array(["no", "yes"], dtype=object)[found.argmax(axis=1)], "scores": found}


def trained(columns: Mapping[str, Array]) -> Profile:
    """Return the reference of a training sample."""
    return reference.build(columns, outputs(columns), SIGNATURE)


def lines(
    columns: Mapping[str, Array], *, hour: str = "2026-11-27T08", rate: float = 1.0,
    version: str = "3", start: int = 0,
) -> list[bytes]:  # fmt: skip
    """Return the lines that capture would write of these rows, one request each."""
    from fnmodel.capture.line import Origin, line

    found = outputs(columns)
    result = []
    for i in range(len(found["label"])):
        minute, second = divmod(i * 3599 // len(found["label"]), 60)
        time = f"{hour}:{minute:02}:{second:02}.000Z"
        origin = Origin(f"r{hour}-{start + i}", time, "churn", version, "live", rate, 1)
        row = {name: _plain(column[i]) for name, column in columns.items()}
        no, yes = found["scores"][i].tolist()
        answer = {"label": found["label"][i], "probabilities": {"no": no, "yes": yes}}
        result.append(line(origin, 0, row, answer, None))
    return result


def _plain(value: Any) -> Any:
    return None if value != value else json.loads(json.dumps(value))
