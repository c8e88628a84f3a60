"""Late labels in, by prediction id; rows that have one out.

A file of labels is CSV with a header, or a line of JSON each, with two keys: `id` (also
`inferenceId`, `prediction_id`), which is `REQUEST/ROW` as the captured line has it, and `label`
(also `target`, `actual`, `value`). A request's id alone means its first row.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from fnmodel.errors import InputError
from fnmodel.profile import Array
from fnmodel.watch.columns import texts
from fnmodel.watch.table import Table

IDS = ("id", "inferenceId", "prediction_id")
VALUES = ("label", "target", "actual", "value")

Label = str | int | float | bool


def read(content: bytes, name: str) -> dict[str, Label]:
    """Return labels by prediction id; of several for one id the last is true.

    Raises:
        InputError: it is no such file; names the line and what is wrong with it.

    """
    found: dict[str, Label] = {}
    parse = _json if content.lstrip()[:1] == b"{" else _csv
    for number, record in parse(content, name):
        identity = next((record[key] for key in IDS if record.get(key)), None)
        label = next((record[key] for key in VALUES if record.get(key) not in (None, "")), None)
        if identity is None or not isinstance(label, str | int | float | bool):
            raise InputError(
                f"{name}, line {number}: a label needs an id and a value",
                hint=f"name the columns `{IDS[0]}` and `{VALUES[0]}`",
            )
        text = str(identity)
        found[text if "/" in text else f"{text}/0"] = label
    return found


def to_lines(labels: Mapping[str, Label]) -> bytes:
    """Return labels as lines of JSON, in order of their ids."""
    return b"".join(
        orjson.dumps({"id": key, "label": labels[key]}, option=orjson.OPT_APPEND_NEWLINE)
        for key in sorted(labels)
    )


def joined(table: Table, labels: Mapping[str, Label], *, numeric: bool) -> tuple[Table, Array]:
    """Return the rows that have a label, and these: float64, or texts as classes are compared.

    Raises:
        InputError: a label of a regressor is no number; names its id.

    """
    has = np.array([row.id in labels for row in table.rows], dtype=bool)
    own = table.take(has)
    given = [labels[row.id] for row in own.rows]
    if not numeric:
        return own, texts(np.array(given, dtype=object))
    for row, label in zip(own.rows, given, strict=True):
        try:
            float(label)
        except ValueError as error:
            raise InputError(f"the label of {row.id} is {label!r}, and no number") from error
    return own, np.array([float(label) for label in given])


def _csv(content: bytes, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for record in reader:
        yield reader.line_num, record


def _json(content: bytes, name: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except ValueError as error:
            raise InputError(f"{name}, line {number}: {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{name}, line {number}: no JSON object")
        yield number, record
