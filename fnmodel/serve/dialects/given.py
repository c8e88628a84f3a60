"""What callers send in any of the dialects, as rows by feature or as tensors by input.

TF-Serving's two forms are MLflow's, too: `instances` has an entry a row, `inputs` one a feature or
input. https://www.tensorflow.org/tfx/serving/api_rest#predict_api
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from fnmodel.errors import InputError
from fnmodel.model import Signature
from fnmodel.values import check_names, short

# Text of JSON up to the next NaN, strings whole. Possessive, so that it looks at each byte once.
_UP_TO_NAN = re.compile(rb'((?:[^"N]|"(?:[^"\\]|\\.)*+"?|N(?!aN))*+)(NaN)?+', re.DOTALL)


@dataclass(frozen=True)
class Given:
    """The rows of a request: `records`, by feature, or `tensors`, nested lists by input.

    Only a model without features has tensors.
    """

    records: Sequence[Mapping[str, Any]] = ()
    tensors: Mapping[str, Any] | None = None

    def rows(self) -> Sequence[Any]:
        """Return one value a row: a record, or the row's part of each tensor."""
        if self.tensors is None:
            return self.records
        values = list(self.tensors.values())
        if not all(isinstance(value, list) for value in values):
            return []
        if len({len(value) for value in values}) != 1:
            return []
        return [dict(zip(self.tensors, row, strict=True)) for row in zip(*values, strict=True)]


def without_nan(raw: bytes) -> bytes:
    """Return JSON in which NaN is null: pandas writes its missing values so."""
    if b"NaN" not in raw:
        return raw
    return _UP_TO_NAN.sub(lambda found: found[1] + b"null" if found[2] else found[1], raw)


def of_instances(rows: Any, signature: Signature, key: str = "instances") -> Given:
    """Read an entry a row: values by name, values in the order of the features, or one value.

    Raises:
        InputError: an entry has another form; names its row.

    """
    if isinstance(rows, Mapping):  # MLflow's servers take columns here, too
        return of_inputs(rows, signature, key)
    if not isinstance(rows, list):
        raise InputError(f"`{key}` is not a list")
    return of_rows(rows, signature, key)


def of_rows(rows: Iterable[Any], signature: Signature, key: str) -> Given:
    """Read entries one by one, up to the first that is wrong; as `of_instances`."""
    if signature.asked:
        names = [feature.name for feature in signature.asked]
        return Given([_record(row, at, names, signature) for at, row in enumerate(rows)])
    return Given(tensors=_stacked(list(rows), [tensor.name for tensor in signature.inputs], key))


def of_inputs(value: Any, signature: Signature, key: str = "inputs") -> Given:
    """Read an entry a feature or input, each with a value a row; or all there is for the one input.

    Raises:
        InputError: it has another form, or the columns differ in length; names the column.

    """
    names = [feature.name for feature in signature.asked]
    inputs = [tensor.name for tensor in signature.inputs]
    if not isinstance(value, Mapping):
        return of_instances(value if isinstance(value, list) else [value], signature, key)
    if not names:
        return Given(tensors=_known(value, inputs))
    if len(value) == 1 and len(inputs) == 1 and inputs[0] in value and inputs[0] not in names:
        rows = value[inputs[0]]
        return of_rows(rows if isinstance(rows, list) else [rows], signature, key)
    check_header(value, signature)
    return Given(_rows_of(value))


def _rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows of columns by name; columns that are all single values are one row.

    Raises:
        InputError: they differ in length.

    """
    if not any(isinstance(values, list) for values in columns.values()):
        return [dict(columns)] if columns else []
    lengths: dict[str, int] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise InputError(f"column {short(name)!r} is not a list, and others are")
        lengths[name] = len(values)
    first, count = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != count:
            raise InputError(
                f"column {short(name)!r} has {length} values, and {short(first)!r} {count}"
            )
    whole = ([_single(value) for value in values] for values in columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*whole, strict=True)]


def of_split(split: Any, signature: Signature) -> Given:
    """Read a DataFrame as pandas writes it with `orient="split"`; its index means nothing here.

    Without names, or with numbers for names, columns are in the order of the features.

    Raises:
        InputError: it has another form, or a row of another length than the columns.

    """
    data, columns = _split(split)
    if columns is None or columns == list(range(len(columns))):
        return of_instances(data, signature, "dataframe_split")
    if not all(isinstance(name, str) for name in columns):
        raise InputError("`dataframe_split`: `columns` is not a list of names")
    check_header(columns, signature)
    for at, row in enumerate(data):
        if len(row) != len(columns):
            raise InputError(
                f"row {at} has {len(row)} values, and there are {len(columns)} columns"
            )
    return of_records([dict(zip(columns, row, strict=True)) for row in data], signature)


def _split(split: Any) -> tuple[list[Any], list[Any] | None]:
    """Return rows and columns of a DataFrame."""
    if not isinstance(split, Mapping) or not isinstance(split.get("data"), list):
        raise InputError('`dataframe_split` must be {"columns": […], "data": [[…], …]}')
    extra = next((key for key in split if key not in ("columns", "index", "data")), None)
    if extra is not None:
        raise InputError(f"`dataframe_split` has an unknown field {short(extra)!r}")
    data, columns, index = split["data"], split.get("columns"), split.get("index")
    if columns is not None and not isinstance(columns, list):
        raise InputError("`dataframe_split`: `columns` is not a list of names")
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise InputError("`dataframe_split`: `index` does not name each row")
    for at, row in enumerate(data):
        if not isinstance(row, list):
            raise InputError(f"row {at} is not a list of values")
    return data, columns


def of_records(records: Any, signature: Signature, key: str = "dataframe_records") -> Given:
    """Read an object a row, with values by feature.

    Raises:
        InputError: it is no list; of a model without features, a row is not its inputs by name.

    """
    if not isinstance(records, list):
        raise InputError(f"`{key}` is not a list of objects, one a row")
    # Encoding says what is wrong with a record.
    return Given(records) if signature.asked else of_instances(records, signature, key)


def check_header(names: Iterable[str], signature: Signature) -> None:
    """Refuse names of columns that are not a model's features, each once.

    Raises:
        InputError: one stands twice, is unknown, or is missing; names it.

    """
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            raise InputError(f"column {short(name)!r} is given twice")
        seen[name] = None
    if signature.asked:
        check_names(0, seen, signature.asked)


def check_signature_name(body: Mapping[str, Any]) -> None:
    """Refuse the name of a signature that is not the one that TF-Serving's models have by default.

    Raises:
        InputError: it is another one.

    """
    if body.get("signature_name", "serving_default") != "serving_default":
        raise InputError("`signature_name` must be 'serving_default'; there is no other")


def shape_of(value: Any, fixed: Sequence[int], where: str) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of nested lists, and their values in row-major order.

    `fixed` is the input's shape, where -1 is any length. Its last dimensions may be left out where
    they are of length 1.

    Raises:
        InputError: the lists are ragged, or of another depth or length; `where` names them.

    """
    level: list[Any] = [value]
    shape: list[int] = []
    for depth, size in enumerate(fixed):
        known = shape and size == 1 and not any(isinstance(item, list) for item in level)
        if known and prod(fixed[depth:]) == 1:
            return (*shape, *fixed[depth:]), level
        if not all(isinstance(item, list) for item in level):
            raise InputError(f"{where}: expected lists {len(fixed)} deep, and {depth} are")
        lengths = {len(item) for item in level}
        if len(lengths) > 1 or (size >= 0 and lengths and lengths != {size}):
            told = f"{size} entries" if size >= 0 else "as many entries each"
            raise InputError(f"{where}: lists at depth {depth + 1} must have {told}")
        shape.append(lengths.pop() if lengths else max(size, 0))
        level = [inner for item in level for inner in item]
    return tuple(shape), level


def _record(row: Any, at: int, names: Sequence[str], signature: Signature) -> Mapping[str, Any]:
    """Return a row by feature."""
    if isinstance(row, Mapping):
        alone = next(iter(row)) if len(row) == 1 else None
        # SageMaker's own algorithms call a row `features`; a stacked model's input has a name.
        if alone in ("features", signature.inputs[0].name) and alone not in names:
            row = row[alone]
        else:
            return {name: _single(value) for name, value in row.items()}
    values = row if isinstance(row, list) else [row]
    if len(values) != len(names):
        raise InputError(
            f"row {at} has {len(values)} values, and the model {len(names)} features: "
            + ", ".join(map(repr, names[:10]))
            + (", …" if len(names) > 10 else "")
        )
    return dict(zip(names, values, strict=True))


def _single(value: Any) -> Any:
    """Return the value of a tensor of one, as TF-Serving's clients send a feature."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _stacked(rows: list[Any], inputs: Sequence[str], key: str) -> dict[str, Any]:
    """Return rows of a model without features as a tensor an input."""
    if rows and isinstance(rows[0], Mapping):
        for at, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InputError(f"row {at} is not an object of inputs and values")
            _known(row, inputs, f"row {at}: ")
        return {name: [row[name] for row in rows] for name in inputs}
    if len(inputs) > 1:
        listed = ", ".join(map(repr, inputs[:10]))
        raise InputError(f"`{key}`: this model has the inputs {listed}; give each by its name")
    return {inputs[0]: rows}


def _known(given: Mapping[str, Any], inputs: Sequence[str], where: str = "") -> Mapping[str, Any]:
    """Return tensors by name, compared with the inputs."""
    listed = ", ".join(map(repr, inputs[:10]))
    for name in given:
        if name not in inputs:
            raise InputError(f"{where}unknown input {short(name)!r}; this model has {listed}")
    for name in inputs:
        if name not in given:
            raise InputError(f"{where}missing input {name!r}")
    return given
