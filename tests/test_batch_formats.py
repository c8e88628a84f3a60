"""Formats in and out: every row is scored or explained, whatever stands in an object."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from batch_cases import HEADER, bucket, holding, results, start, table
from hypothesis import given, settings
from hypothesis import strategies as st

from fnmodel.batch.chunk import Read, TextChunk
from fnmodel.batch.formats import Ranges
from fnmodel.batch.packed import zstd
from fnmodel.batch.table import Table
from fnmodel.errors import BatchError
from fnmodel.testing.objects import InMemoryObjects

ROWS: list[dict[str, Any]] = [
    {"id": 1, "age": 30.0, "income": 5.5, "plan": "gold", "visits": 2},
    {"id": 2, "age": 31.0, "income": None, "plan": "free", "visits": 1},
    {"id": 3, "age": -0.5, "income": 1e30, "plan": "gold", "visits": 0},
]
VALUES = [42.0, 1032.0, 9.5]
FORMATS = ("csv", "jsonl", "parquet", "arrow")


def written(rows: list[dict[str, Any]], format: str, **types: Any) -> bytes:
    """Return rows as pyarrow, and not we, would write them."""
    out = io.BytesIO()
    if format == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    if format == "jsonl":
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    whole = pa.Table.from_pylist(rows, **types)
    if format == "parquet":
        pq.write_table(whole, out, row_group_size=2)
    else:
        pyarrow.feather.write_feather(whole, out, compression="uncompressed")
    return out.getvalue()


def read(content: bytes, format: str) -> list[dict[str, Any]]:
    """Return the rows of a part as another reader sees them."""
    if format == "csv":
        return [*csv.DictReader(io.StringIO(content.decode(), newline=""))]
    if format == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    if format == "parquet":
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
        return rows
    found: list[dict[str, Any]] = pyarrow.feather.read_table(io.BytesIO(content)).to_pylist()
    return found


def part(objects: InMemoryObjects, manifest: dict[str, Any]) -> bytes:
    (one,) = manifest["inputs"]
    return b"".join(objects.contents[key] for key in one["parts"])


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("results", FORMATS)
def test_each_format_into_each(given: str, results: str) -> None:
    """The same rows have the same predictions, whatever they come in and go out as."""
    objects = holding(**{f"incoming/a b+é.{given}": written(ROWS, given)})

    manifest = start(objects, format=given, results=results, keep=["id"])

    rows = read(part(objects, manifest), results)
    assert [int(row["id"]) for row in rows] == [1, 2, 3]
    assert [float(row["value"]) for row in rows] == VALUES
    assert manifest["inputs"][0]["parts"][0].endswith(f"part-00000-000000000000.{results}")


@pytest.mark.parametrize("format", FORMATS)
def test_all_columns_are_kept(format: str) -> None:
    """Without `keep`, the input's columns come first and unchanged."""
    objects = holding(**{f"incoming/a.{format}": written(ROWS, format)})

    manifest = start(objects, format=format)

    for row, before in zip(read(part(objects, manifest), format), ROWS, strict=True):
        value = row.pop("value")
        assert row == (
            {name: str("" if v is None else v) for name, v in before.items()}
            if format == "csv"
            else before
        )
        assert float(value) in VALUES


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_compressed(format: str, compression: str) -> None:
    """Compressed objects are read by the ends of their keys, and parts are written so."""
    pack = gzip.compress if compression == "gzip" else zstd().compress
    end = {"gzip": "gz", "zstd": "zst"}[compression]
    objects = holding(**{f"incoming/a.{format}.{end}": pack(written(ROWS, format))})

    manifest = start(objects, format=format, results_compression=compression)

    unpack = gzip.decompress if compression == "gzip" else zstd().decompress
    content = part(objects, manifest)
    assert [float(row["value"]) for row in read(unpack(content), format)] == VALUES
    assert manifest["inputs"][0]["parts"][0].endswith(f".{format}.{end}")


def test_compression_without_its_suffix() -> None:
    """A named compression holds for every object, whatever its key ends with."""
    objects = bucket(a=gzip.compress(written(ROWS, "csv")))

    assert start(objects, compression="gzip")["totals"]["scored"] == 3


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("damage", ["nothing", "half", "middle"])
def test_broken_columns(format: str, damage: str) -> None:
    """What is no Parquet or Arrow fails the job with a manifest; other objects are scored."""
    whole = written(ROWS * 3000, format)
    middle = len(whole) // 3
    bad = {
        "nothing": b"",
        "half": whole[: len(whole) // 2],
        "middle": whole[:middle] + bytes(middle) + whole[2 * middle :],
    }[damage]
    objects = holding(
        **{f"incoming/a.{format}": bad, f"incoming/b.{format}": written(ROWS, format)}
    )

    with pytest.raises(BatchError, match=r"Parquet|Arrow|rows are bad"):
        start(objects, format=format, error_budget=0)

    (body,) = [v for k, v in objects.contents.items() if k.endswith("manifest.json")]
    manifest = json.loads(body)
    assert manifest["inputs"][1]["scored"] == 3
    totals = manifest["totals"]
    assert totals["rows"] == totals["scored"] + totals["errors"]


BAD_COLUMNS = {
    "null": ({"age": None}, "age", "a value is required, got null"),
    "NaN is missing": ({"age": float("nan")}, "age", "a value is required, got null"),
    "infinity": ({"age": float("inf")}, "age", "inf is not a finite number"),
    "overflow": ({"income": 1e39}, "income", "1e+39 is out of range for FP32"),
    "fraction": ({"visits": 1.5}, "visits", "expected an integer, got 1.5"),
    "null text": ({"plan": None}, "plan", "a value is required, got null"),
    "NUL": ({"plan": "go\0ld"}, "plan", "not a valid text"),
}


@pytest.mark.parametrize("name", BAD_COLUMNS)
@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_bad_values_of_columns(name: str, format: str) -> None:
    """A value that does not fit makes its row a bad one, with its number and its content."""
    change, column, reason = BAD_COLUMNS[name]
    objects = holding(
        **{f"incoming/a.{format}": written([*ROWS, ROWS[0] | change, ROWS[0]], format)}
    )

    manifest = start(objects, format=format)

    assert [float(row["value"]) for row in read(part(objects, manifest), format)] == [
        *VALUES, VALUES[0]
    ]  # fmt: skip
    (entry,) = table(objects, manifest["errors"][0])[1:]
    assert entry[:4] == [f"incoming/a.{format}", "4", column, reason]
    assert json.loads(entry[4])["id"] == 1


@pytest.mark.parametrize(
    ("column", "type", "values"),
    [
        ("age", pa.int64(), [30, 31, 32]),
        ("age", pa.uint8(), [30, 31, 32]),
        ("age", pa.float16(), [30.0, 31.0, 32.0]),
        ("age", pa.float64(), [30.0, 31.0, 32.0]),
        ("age", pa.decimal128(5, 2), [Decimal(30), Decimal(31), Decimal(32)]),
        ("income", pa.int32(), [1, None, 3]),
        ("income", pa.float64(), [1.0, None, float("nan")]),
        ("visits", pa.int8(), [2, 1, 0]),
        ("visits", pa.uint64(), [2, 1, 0]),
        ("visits", pa.float32(), [2.0, 1.0, 0.0]),
        ("plan", pa.large_string(), ["gold", "free", "gold"]),
        ("plan", pa.dictionary(pa.int8(), pa.string()), ["gold", "free", "gold"]),
        ("note", pa.list_(pa.int64()), [[1], [], None]),
        ("note", pa.date32(), [date(2026, 1, 2), None, date(1960, 1, 2)]),
        ("note", pa.timestamp("us", "UTC"), [datetime(2026, 1, 2, tzinfo=UTC)] * 3),
        ("note", pa.binary(), [b"\xff", b"", None]),
    ],
)
@pytest.mark.parametrize("results", ["parquet", "csv", "jsonl"])
def test_types_of_columns(column: str, type: Any, values: list[Any], results: str) -> None:
    """Whatever type a column has, its values are scored as the same values in JSON are."""
    rows = [row | {column: value} for row, value in zip(ROWS, values, strict=True)]
    whole = pa.Table.from_pylist(ROWS)
    made = pa.array(values, type)
    at = whole.schema.get_field_index(column)
    whole = whole.append_column(column, made) if at < 0 else whole.set_column(at, column, made)
    out = io.BytesIO()
    pq.write_table(whole, out)
    objects = holding(**{"incoming/a.parquet": out.getvalue()})

    manifest = start(objects, format="parquet", results=results)

    found = read(part(objects, manifest), results)
    missing = [row["income"] is None or row["income"] != row["income"] for row in rows]
    assert [float(row["value"]) for row in found] == [
        float(row["age"]) + 1000 * gone + 10 * (row["plan"] == "gold") + float(row["visits"])
        for row, gone in zip(rows, missing, strict=True)
    ]
    if results == "parquet":
        assert [row[column] == row[column] and row[column] for row in found] == [
            value == value and value for value in values
        ]


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("\r\n\",'\ufeff \t"),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(TEXTS, min_size=1, max_size=12),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_any_text_comes_back(ids: list[str], quoting: Any, end: str, bom: bool) -> None:
    """A quoted field stays what it is, on its way through the part: lone carriage returns too."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator=end)
    writer.writerow(HEADER.strip().split(","))
    writer.writerows([text, 1, 2, "gold", 3] for text in ids)
    objects = bucket(a=(b"\xef\xbb\xbf" if bom else b"") + out.getvalue().encode())

    manifest = start(objects)

    assert manifest["totals"] == {"rows": len(ids), "scored": len(ids), "errors": 0}
    text = io.StringIO(part(objects, manifest).decode(), newline="")
    assert [row[0] for row in csv.reader(text, strict=True)][1:] == ids


PIECES = st.sampled_from(
    [b"1,30,5.5,gold,2", b"\n", b"\r\n", b"\r", b'"', b",", b"x", b"\xff", b"\0", b"nan", b"1_0",
     b'"a\nb",1,2,"gold",3\n', b"", b" ", "é".encode(), b"1,2,3,free,4\n", b"\n\n"]
)  # fmt: skip


class Careful(Table):
    """A table that never takes the quick way."""

    def _plain(self, rows: Any) -> bool:  # noqa: ARG002
        return False


@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(PIECES, max_size=40), size=st.integers(1, 7))
def test_quick_and_careful_readers_agree(pieces: list[bytes], size: int) -> None:
    """Blocks that are split at once give the rows, lines and texts that Python's reader gives."""
    content = HEADER.encode() + b"".join(pieces)

    def rows(reads: Table) -> list[Any]:
        return [_shown(one) for one in reads]

    assert rows(Table(io.BytesIO(content), size=size)) == rows(
        Careful(io.BytesIO(content), size=size)
    )


def _shown(one: Read) -> Any:
    chunk = one.chunk
    assert isinstance(chunk, TextChunk)
    fields = [[*row] for row in chunk.fields]
    return [*chunk.lines], [*chunk.texts], fields, [*one.bad], one.broken


@settings(max_examples=80, deadline=None)
@given(pieces=st.lists(PIECES, max_size=60))
def test_no_row_of_any_csv_is_lost(pieces: list[bytes]) -> None:
    """Scored and bad rows are the input's, for any bytes; each bad one is in the error file."""
    objects = bucket(a=HEADER.encode() + b"".join(pieces))

    manifest = start(objects)

    check(objects, manifest)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(width=32) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "age": st.floats(-9, 9) | JSON, "income": st.none() | JSON, "plan": st.just("gold") | JSON,
        "visits": st.integers(-9, 9) | JSON, "id": JSON, "value": JSON,
    },
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(RECORDS.map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=5)))
@pytest.mark.parametrize("results", ["jsonl", "csv"])
def test_no_row_of_any_json_lines_is_lost(results: str, lines: list[str]) -> None:
    """The same for JSON Lines of any content."""
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    objects = holding(**{"incoming/a.jsonl": content})

    manifest = start(objects, format="jsonl", results=results)

    check(objects, manifest, results)
    blank = sum(not line.strip() for line in content.split(b"\n"))
    assert manifest["totals"]["rows"] == content.count(b"\n") + 1 - blank


def check(objects: InMemoryObjects, manifest: dict[str, Any], format: str = "csv") -> None:
    totals = manifest["totals"]
    assert totals["rows"] == totals["scored"] + totals["errors"]
    scored = read(part(objects, manifest), format)
    assert len(scored) == totals["scored"]
    entries = []
    for key in manifest["errors"]:
        text = objects.contents[key].decode("utf-8", "surrogateescape").replace("\0", "?")
        entries += [*csv.reader(io.StringIO(text, newline=""), strict=True)][1:]
    assert len(entries) == totals["errors"]
    assert all(entry[1].isdigit() and entry[3] for entry in entries)


def test_json_lines() -> None:
    """Lines are named as they stand; what is no object, or has a prediction's name, is bad."""
    lines = [
        b'{"id": "a", "age": 30, "plan": "gold", "visits": 2, "income": 5.5, "x": {"y": [1]}}',
        b"", b"[1]", b'{"age": ', b'{"age": "30", "plan": "gold", "visits": 2}',
        b'{"age": 30, "plan": "gold", "visits": 2, "value": 1}', b'{"plan": "\xff"}',
        b'{"age": 30, "plan": "gold", "visits": 2, "more": true}',
    ]  # fmt: skip
    objects = holding(**{"incoming/a.jsonl": b"\xef\xbb\xbf" + b"\r\n".join(lines)})

    manifest = start(objects, format="jsonl")

    first, second = read(part(objects, manifest), "jsonl")
    assert first == json.loads(lines[0]) | {"value": 42.0}
    assert second == json.loads(lines[7]) | {"value": 1042.0}
    raw = objects.contents[manifest["errors"][0]].decode("utf-8", "surrogateescape")
    entries = [*csv.reader(io.StringIO(raw, newline=""))][1:]
    assert [(entry[1], entry[2], entry[3][:22]) for entry in entries] == [
        ("3", "", "not a JSON object"),
        ("4", "", "not JSON: unexpected e"),
        ("5", "age", "expected a number, got"),
        ("6", "value", "is the name of a colum"),
        ("7", "", "not JSON: str is not v"),
    ]
    assert [entry[4].encode("utf-8", "surrogateescape") for entry in entries] == [
        lines[n] for n in (2, 3, 4, 5, 6)
    ]


def test_json_lines_into_a_table() -> None:
    """A field that the first row has not would be lost in a table, so its row is a bad one."""
    content = written([ROWS[0], ROWS[1] | {"more": 1}, ROWS[2]], "jsonl")
    objects = holding(**{"incoming/a.jsonl": content})

    manifest = start(objects, format="jsonl", results="csv")

    assert len(read(part(objects, manifest), "csv")) == 2
    (entry,) = table(objects, manifest["errors"][0])[1:]
    assert entry[1:4] == ["2", "", "has a field 'more' that the first row has not"]


def test_keep_names_an_unknown_column() -> None:
    """A column that is to be kept and is not there makes the object's rows bad ones."""
    objects = bucket(a=HEADER + "1,30,5.5,gold,2\n")

    manifest = start(objects, keep=["id", "name"])

    (entry,) = table(objects, manifest["errors"][0])[1:]
    assert entry[3] == "the header lacks 'name'"


def test_label_alone() -> None:
    """With `probabilities: false` a classifier's label is all that results have."""
    objects = bucket(a="id,c,b,a\n7,-0.5,2,1.5\n")

    manifest = start(objects, "classifier", keep=["id"], probabilities=False)

    assert table(objects, manifest["inputs"][0]["parts"][0]) == [["id", "label"], ["7", "no"]]


def test_a_clash_only_with_what_is_kept() -> None:
    """A prediction's column is renamed only where results have a column of its name."""
    objects = bucket(a="label,c,b,a\nyes,-0.5,2,1.5\n")

    manifest = start(objects, "classifier", keep=["c"])

    header, _ = table(objects, manifest["inputs"][0]["parts"][0])
    assert header == ["c", "label", "probability_no", "probability_yes"]


def test_ranges_read_like_a_file() -> None:
    """A file that is read by ranges gives the bytes of the object, in memory that has a bound."""
    content = bytes(range(256)) * 20_000
    objects = holding(**{"incoming/a": content})
    (item,) = objects.list("incoming/")
    opened: list[str] = []
    objects.before = lambda operation, _: opened.append(operation)

    file = io.BufferedReader(Ranges(item, objects), 1 << 16)

    assert file.read() == content
    file.seek(-300, 2)
    assert file.read() == content[-300:]
    file.seek(1 << 20)
    assert file.read(5) == content[1 << 20 : (1 << 20) + 5]
    assert len(opened) == 5


def test_results_do_not_depend_on_threads() -> None:
    """One thread or four write the same bytes."""
    content = HEADER + "".join(f"{n},{n % 90},,gold,{n % 7}\n" for n in range(12_000))

    one, four = bucket(a=content), bucket(a=content)
    start(one, concurrency=1)
    start(four, concurrency=4)

    # The event itself names the threads.
    parts = [
        {key: body for key, body in results(found).items() if "request" not in key}
        for found in (one, four)
    ]
    assert parts[0] == parts[1]
