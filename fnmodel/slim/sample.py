"""Reads the sample, or makes rows from what the model knows of its training data."""

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnmodel.errors import SlimError
from fnmodel.slim.source import walk

SYNTHETIC_ROWS = 1000
GIVE_ONE = "give rows like the training data: `sample: FILE` in fnmodel.yaml, or --sample"
_SUFFIXES = (".csv", ".json", ".parquet", ".npy", ".npz")


def read(path: Path, text_columns: Iterable[str] = ()) -> Any:
    """Read a sample into a pandas DataFrame; array files get the columns x0, x1, ….

    `text_columns` are read as text even when they look like numbers.

    Raises:
        SlimError: the file is missing, of an unknown kind, broken, or has no rows.

    """
    if not path.is_file():
        raise SlimError(f"the sample {path} does not exist", hint="mend `sample:` in fnmodel.yaml")
    if path.suffix.lower() not in _SUFFIXES:
        raise SlimError(
            f"{path.name}: a sample cannot be a {path.suffix or 'file without a suffix'}",
            hint="use .csv, .json (a list of records), .parquet, .npz or .npy",
        )
    try:
        frame = _read(path, text_columns)
    except SlimError:
        raise
    except ImportError as error:
        raise SlimError(
            f"{path.name}: reading Parquet needs a package that is not installed",
            hint="pip install pyarrow, or save the sample as .csv",
        ) from error
    except Exception as error:
        # pandas, numpy and their parsers raise many classes for a broken file.
        raise SlimError(f"{path.name} cannot be read as a sample: {_first_line(error)}") from error
    if not len(frame):
        raise SlimError(f"{path.name} has no rows", hint="a sample needs at least one")
    frame.columns = [str(name) for name in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise SlimError(
            f"{path.name}: the column {twice[0]!r} stands twice", hint="leave one of the two out"
        )
    return _of_numpy(frame)


def _of_numpy(frame: Any) -> Any:
    """Return a frame with numpy's types in place of pandas' own nullable ones and Arrow's.

    Numbers and booleans with holes become floats with NaN, as models were trained on.
    """
    from pandas.api import types

    plain = {}
    for name in frame.columns:
        column = frame[name]
        kind = getattr(column.dtype, "numpy_dtype", None)
        if kind is None or not types.is_extension_array_dtype(column.dtype):
            continue
        if not (types.is_numeric_dtype(column) or types.is_bool_dtype(column)):
            continue
        if column.isna().any():
            plain[name] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            plain[name] = column.to_numpy(dtype=kind)
    return frame.assign(**plain) if plain else frame


def _read(path: Path, text_columns: Iterable[str]) -> Any:
    import pandas as pd

    match path.suffix.lower():
        case ".csv":
            return _csv(path, set(text_columns))
        case ".json":
            return _from_json(json.loads(path.read_bytes()))
        case ".parquet":
            return pd.read_parquet(path)
        case _:
            return _named(_array(path))


def _csv(path: Path, text_columns: set[str]) -> Any:
    """Read a CSV file; in text only the empty field is missing, for "NA" and "null" are words."""
    import pandas as pd

    frame = pd.read_csv(path, float_precision="round_trip", dtype=dict.fromkeys(text_columns, str))
    texts = [
        name
        for name in frame.columns
        if name in text_columns or frame[name].dtype.kind not in "iufb"
    ]
    if not texts:
        return frame
    again = pd.read_csv(path, usecols=texts, dtype=str, keep_default_na=False, na_values=[""])
    # A column of numbers and holes is none of these: pandas has read it as floats.
    words = {name: again[name].astype(object) for name in texts}
    booleans = [n for n in texts if n not in text_columns and _booleans(words[n])]
    return frame.assign(**{name: words[name] for name in texts if name not in booleans})


def _booleans(values: Any) -> bool:
    return bool(values.isin(["True", "False", "TRUE", "FALSE", "true", "false"]).all())


def _from_json(data: Any) -> Any:
    """Read records, or what MLflow and pandas write: `columns` and `data`, or `dataframe_split`."""
    import pandas as pd

    if isinstance(data, dict):
        data = data.get("dataframe_split", data.get("records", data))
    if isinstance(data, dict) and "data" in data:
        return pd.DataFrame(data["data"], columns=data.get("columns"))
    return pd.DataFrame.from_records(data)


def select(
    frame: Any, *, names: Sequence[str], count: int | None, target: str | None, where: str
) -> Any:
    """Return the model's feature columns of a sample, in the model's order.

    `names` is empty and `count` set when the model was fitted on an array.

    Raises:
        SlimError: columns are missing, or their number does not fit; names them.

    """
    columns = list(frame.columns)
    if target is not None and target not in columns:
        raise SlimError(
            f"{where} has no column {target!r} to leave out{_nearest(target, columns)}",
            hint="mend `target:` in fnmodel.yaml",
        )
    if target is not None and target in names:
        raise SlimError(
            f"{target!r} is one of the model's features, so it cannot be the target",
            hint="mend `target:` in fnmodel.yaml",
        )
    rest = [column for column in columns if column != target]
    if names:
        missing = [name for name in names if name not in rest]
        if missing:
            listed = ", ".join(f"{m!r}{_nearest(m, rest)}" for m in missing[:5])
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise SlimError(
                f"{where} has no column {listed}{more}",
                hint="the sample needs all columns that the model was trained on",
            )
        return frame[list(names)].reset_index(drop=True)
    if count is not None and len(rest) != count:
        raise SlimError(
            f"{where} has {len(rest)} columns, the model takes {count}",
            hint="name the label column with `target:` in fnmodel.yaml"
            if len(rest) == count + 1
            else "a model without feature names takes the sample's columns in order",
        )
    return frame[rest].reset_index(drop=True)


def synthesize(model: Any, names: Sequence[str], count: int | None) -> Any:
    """Make rows from a scaler's statistics or from tree thresholds on the raw features.

    The random numbers are seeded, so that the same model gives the same rows.

    Raises:
        SlimError: the model does not know its features' range; a sample is needed.

    """
    first = model.steps[0][1] if hasattr(model, "steps") else model
    columns = None
    if count is not None:
        rng = np.random.default_rng(0)
        if getattr(first, "mean_", None) is not None and getattr(first, "scale_", None) is not None:
            columns = rng.normal(first.mean_, first.scale_, (SYNTHETIC_ROWS, count))
        elif hasattr(first, "data_min_"):
            columns = rng.uniform(first.data_min_, first.data_max_, (SYNTHETIC_ROWS, count))
        else:
            columns = _around_thresholds(first, count, rng)
    if columns is None:
        raise SlimError(
            f"the {type(model).__name__} does not say what its features look like",
            hint=GIVE_ONE,
        )
    return _named(columns, names)


def _around_thresholds(model: Any, count: int, rng: np.random.Generator) -> Any:
    thresholds: list[list[float]] = [[] for _ in range(count)]
    for _, estimator in walk(model):
        tree = getattr(estimator, "tree_", None)
        if tree is not None and estimator.n_features_in_ == count:
            for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
                if feature >= 0:
                    thresholds[feature].append(float(threshold))
    if not any(thresholds):
        return None
    columns = np.zeros((SYNTHETIC_ROWS, count))
    for position, values in enumerate(thresholds):
        if values:
            spread = (max(values) - min(values)) / 20 or abs(values[0]) / 20 or 1.0
            columns[:, position] = rng.choice(values, SYNTHETIC_ROWS)
            columns[:, position] += rng.normal(0, spread, SYNTHETIC_ROWS)
    return columns


def _array(path: Path) -> Any:
    data = np.load(path, allow_pickle=False)
    if path.suffix.lower() == ".npz":
        if "X" not in data:
            names = ", ".join(data.files) or "none"
            raise SlimError(f"{path.name} has no array X (it has: {names})")
        data = data["X"]
    if data.ndim < 2:
        raise SlimError(f"{path.name}: the array has {data.ndim} dimensions; rows need two")
    return data.reshape(len(data), -1)


def _named(array: Any, names: Sequence[str] = ()) -> Any:
    import pandas as pd

    return pd.DataFrame(array, columns=list(names) or [f"x{i}" for i in range(array.shape[1])])


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
