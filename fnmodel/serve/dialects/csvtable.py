"""CSV and JSON Lines, which MLflow's and SageMaker's callers send, as rows; predictions as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import orjson

from fnmodel.errors import InputError
from fnmodel.fields import parser
from fnmodel.model import Feature, Signature
from fnmodel.serve.body import parse
from fnmodel.serve.dialects.given import Given, check_header, of_rows, without_nan
from fnmodel.values import KINDS, place


def read_csv(raw: bytes, signature: Signature, *, header: bool | None = None) -> Given:
    """Read rows of CSV, by the header or in the order of the features.

    MLflow's callers send a header, SageMaker's none. `header` says which; None looks whether the
    first line names a feature, or, of a model without features, holds no number.

    Raises:
        InputError: it is not CSV in UTF-8, a row has another length, or a field is no number;
            names row and field.

    """
    lines = _lines(raw)
    first = next(lines, [])
    if not signature.asked:
        return _tensor(first, lines, signature, header=header)
    known = {feature.name: feature for feature in signature.asked}
    if header is None:
        header = not known.keys().isdisjoint(first)
    names = first if header else list(known)
    # pandas writes its index as a first column without a name.
    index = int(bool(header and names and names[0] == "" and "" not in known))
    names = names[index:]
    check_header(names, signature)
    features = [known[name] for name in names]
    rows = _parsed(lines if header else chain([first], lines), features, index)
    return Given([dict(zip(names, row, strict=True)) for row in rows])


def read_lines(raw: bytes, signature: Signature) -> Given:
    """Read JSON Lines: on each an object by feature or input, or the values in order.

    Raises:
        InputError: a line is not JSON, or has another form; counts them from 0.

    """
    return of_rows(_values(raw), signature, "lines")


def _values(raw: bytes) -> Iterator[Any]:
    for at, line in enumerate(filter(bytes.strip, raw.split(b"\n"))):
        try:
            yield parse(without_nan(line))
        except InputError as error:
            raise InputError(error.message.replace("the body", f"line {at}", 1)) from None


def write_csv(rows: Sequence[Any]) -> bytes:
    """Return one line a row: a value, or the values of a list or object side by side."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*map(_cells, rows)])
    return text.getvalue().encode()


def read_predictions(body: bytes, *, texts: bool) -> list[Any]:
    """Return what `write_csv` wrote, where `texts` says that no field is meant as a number."""
    rows = csv.reader(io.StringIO(body.decode(), newline=""))
    found = [[field if texts else _value(field) for field in row] for row in rows]
    return [row[0] if len(row) == 1 else row for row in found]


def _value(field: str) -> Any:
    try:
        return orjson.loads(field) if field else None
    except orjson.JSONDecodeError:
        return field


def _cells(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return [_word(value)]
    return [cell for item in value for cell in _cells(item)]


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _lines(raw: bytes) -> Iterator[list[str]]:
    """Yield the fields of each line that is not blank."""
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise InputError("the body is not UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise InputError(f"the body is not CSV: line {reader.line_num}: {error}") from None


def _parsed(
    lines: Iterable[Sequence[str]], features: Sequence[Feature], skipped: int = 0
) -> Iterator[list[Any]]:
    """Yield the values of each line, without its first `skipped` fields."""
    parsers = [parser(feature) for feature in features]
    for row, fields in enumerate(lines):
        if len(fields) != len(features) + skipped:
            raise InputError(
                f"row {row} has {len(fields)} fields, and {len(features) + skipped} are "
                "expected; a first line that names the features would say which they are"
            )
        values = []
        for one, feature, field in zip(parsers, features, fields[skipped:], strict=True):
            try:
                values.append(one(field))
            except ValueError as error:
                raise InputError(f"{place(row, feature)}: {error}") from None
        yield values


def _tensor(
    first: list[str], rest: Iterable[list[str]], signature: Signature, *, header: bool | None
) -> Given:
    """Read the rows of the one input, of one or two dimensions, of a model without features."""
    tensor, *others = signature.inputs
    if others or len(tensor.shape) > 2:
        raise InputError("CSV has no place for this model's inputs; send JSON")
    feature = Feature(tensor.name, tensor.datatype)
    if header is None:
        header = KINDS[tensor.datatype] != "text" and not _fits(first, feature)
    width = 1 if len(tensor.shape) == 1 else tensor.shape[1]
    if width < 0:
        width = len(first)
    rows = list(_parsed(rest if header else chain([first], rest), [feature] * width))
    return Given(
        tensors={tensor.name: [row[0] for row in rows] if len(tensor.shape) == 1 else rows}
    )


def _fits(fields: Sequence[str], feature: Feature) -> bool:
    """Whether any field of a line is a value."""
    one = parser(feature)
    for field in fields:
        try:
            one(field)
        except ValueError:
            continue
        return True
    return False
