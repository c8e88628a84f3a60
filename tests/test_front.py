"""The front turns callers' values into the graph's, as the training library would."""

import json
import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import (
    ENGLISH_STOP_WORDS,
    CountVectorizer,
    HashingVectorizer,
    TfidfVectorizer,
)
from sklearn.utils import murmurhash3_32

from fnmodel.errors import InputError, SlimError
from fnmodel.front.front import Front
from fnmodel.front.murmur import murmur3
from fnmodel.model import FRONT, MISSING_TEXT
from fnmodel.slim.proof.hostile import HOSTILE

WORDS = (
    "the a I x über naïve café CAFE\u0301 İstanbul ΟΔΟΣ ΟΔΟΣ. \u017ftraße STRASSE don't foo_bar "
    "123 4 \u200bzero 日本語 日 한국어 ǅ ﬁne ½ \u0301 é"
).split(" ")
SPACES = (" ", "  ", "\t", "\n\n", "\u00a0", " \u2003 ", ", ", ".", "-")


def documents(seed: int, count: int) -> list[str]:
    chance = np.random.default_rng(seed)
    return [
        "".join(str(chance.choice(WORDS)) + str(chance.choice(SPACES)) for _ in range(size))
        for size in chance.integers(0, 15, count)
    ]


def noise(seed: int, count: int) -> list[str]:
    chance = np.random.default_rng(seed)
    return [
        "".join(map(chr, chance.integers(1, chance.choice([0x80, 0x250, 0x3000, 0xD800]), size)))
        for size in chance.integers(0, 40, count)
    ]


def column(texts: list[str]) -> np.ndarray[Any, Any]:
    return np.array(texts, dtype=object).reshape(-1, 1)


def words(vectorizer: Any, **more: Any) -> dict[str, Any]:
    step = {
        "op": "words",
        "inputs": ["text"],
        "outputs": ["values"],
        "lowercase": vectorizer.lowercase,
        "strip_accents": vectorizer.strip_accents,
        "analyzer": vectorizer.analyzer,
        "token_pattern": vectorizer.token_pattern,
        "ngram_range": list(vectorizer.ngram_range),
        "stop_words": sorted(ENGLISH_STOP_WORDS) if vectorizer.stop_words else None,
        "binary": vectorizer.binary,
        "datatype": "FP64",
        "then": [],
        **more,
    }
    return {"version": 1, "steps": [step]}


def tfidf(vectorizer: Any) -> dict[str, Any]:
    then: list[dict[str, Any]] = [{"op": "log"}] if vectorizer.sublinear_tf else []
    then.append({"op": "scale", "by": vectorizer.idf_.tolist(), "datatype": "FP64"})
    then += [{"op": "norm", "norm": vectorizer.norm}] if vectorizer.norm else []
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get)
    return words(vectorizer, vocabulary=terms, then=then)


def hashing(vectorizer: Any) -> dict[str, Any]:
    size = {"n_features": vectorizer.n_features, "alternate_sign": vectorizer.alternate_sign}
    then = [{"op": "norm", "norm": vectorizer.norm}] if vectorizer.norm else []
    return words(vectorizer, hashing=size, then=then)


ANALYSES = [
    (analyzer, ngrams, lowercase, accents)
    for analyzer, ngrams, (lowercase, accents) in product(
        ("word", "char", "char_wb"),
        ((1, 1), (1, 2), (2, 2), (2, 4), (5, 7)),
        ((True, None), (False, "ascii"), (True, "unicode")),
    )
]


@pytest.mark.parametrize(("analyzer", "ngrams", "lowercase", "accents"), ANALYSES)
def test_words_equal_scikit_learn_to_the_last_bit(
    analyzer: str, ngrams: tuple[int, int], lowercase: bool, accents: str | None
) -> None:
    """Counts, TF-IDF and hashes of hostile texts are those of scikit-learn's vectorizers."""
    known = documents(0, 60)
    asked = [*documents(1, 60), *noise(2, 60), *HOSTILE]
    shared: dict[str, Any] = {
        "analyzer": analyzer,
        "ngram_range": ngrams,
        "lowercase": lowercase,
        "strip_accents": accents,
        "stop_words": "english" if analyzer == "word" and lowercase else None,
    }
    number = ANALYSES.index((analyzer, ngrams, lowercase, accents))
    norm = ("l2", "l1", None)[number % 3]
    weighed = TfidfVectorizer(**shared, norm=norm, sublinear_tf=number % 2 == 0).fit(known)
    signed = HashingVectorizer(
        **shared, n_features=(7, 512)[number % 2], alternate_sign=number % 3 != 1, norm=norm,
        binary=number % 5 == 0,
    )  # fmt: skip
    for vectorizer, data in ((weighed, tfidf(weighed)), (signed, hashing(signed))):
        expected = vectorizer.transform(asked).toarray()
        found = Front.from_json(json.loads(json.dumps(data)))({"text": column(asked)})

        assert list(found) == ["values"]
        np.testing.assert_array_equal(found["values"], expected)


def test_written_values_stand_beside_their_columns() -> None:
    """With two outputs the matrix comes as values and column numbers, filled up with zeros."""
    known = documents(0, 60)
    vectorizer = TfidfVectorizer().fit(known)
    data = tfidf(vectorizer)
    data["steps"][0]["outputs"] = ["values", "columns"]
    for asked in (known, known[:1], [""], ["", known[5]]):
        found = Front.from_json(data)({"text": column(asked)})
        dense = np.zeros((len(asked), len(vectorizer.vocabulary_)))
        for row, values in enumerate(found["values"]):
            np.add.at(dense[row], found["columns"][row], values)

        np.testing.assert_array_equal(dense, vectorizer.transform(asked).toarray())
        assert found["columns"].dtype == np.int64
        assert found["values"].shape == found["columns"].shape
        assert found["values"].shape[1] >= 1


def test_counts_keep_their_type_until_they_are_weighed() -> None:
    """A vectorizer in float32 rounds as float32 does."""
    known = documents(0, 60)
    vectorizer = TfidfVectorizer(dtype=np.float32).fit(known)
    data = tfidf(vectorizer)
    data["steps"][0]["datatype"] = "FP32"
    data["steps"][0]["then"][0]["datatype"] = "FP32"
    found = Front.from_json(data)({"text": column(known)})["values"]

    np.testing.assert_array_equal(found.astype(np.float32), vectorizer.transform(known).toarray())


def test_some_columns_are_kept() -> None:
    """`columns` drops the others after the norm was taken."""
    known = documents(0, 60)
    vectorizer = TfidfVectorizer().fit(known)
    data = tfidf(vectorizer)
    data["steps"][0]["then"].append({"op": "columns", "columns": [1, 4, 9]})
    found = Front.from_json(data)({"text": column(known)})["values"]

    np.testing.assert_array_equal(found, vectorizer.transform(known).toarray()[:, [1, 4, 9]])


@pytest.mark.parametrize("size", range(30))
def test_murmur3_is_the_reference(size: int) -> None:
    """Keys of every length modulo four hash as scikit-learn's own C code does."""
    for key in np.random.default_rng(size).bytes(50 * (size + 1)), b"\xff" * size, b"\0" * size:
        for start in range(min(50, len(key) + 1 - size)):
            part = key[start : start + size]

            assert murmur3(part) == murmurhash3_32(part, positive=True)


def test_a_second_text_column_is_read_where_the_step_says() -> None:
    """A step may read one column of a wide input of texts."""
    vectorizer = CountVectorizer().fit(["one two"])
    data = words(vectorizer, vocabulary=["one", "two"], column=1)
    table = np.array([["one", "two two"], ["two", "x"]], dtype=object)

    found = Front.from_json(data)({"text": table})["values"]

    assert found.tolist() == [[0.0, 2.0], [0.0, 0.0]]


def test_many_rows_come_in_parts_that_join() -> None:
    """Wide rows are made a few at a time, and together they are all rows in order."""
    vectorizer = CountVectorizer().fit(["one two"])
    wide = [f"t{i}" for i in range(1_000_000)]
    data = words(vectorizer, vocabulary=[*wide, "two"])
    front = Front.from_json(data)
    asked = column(["two"] * 20 + ["t7 t7"])

    parts = list(front.batches({"text": asked}))

    assert len(parts) > 1
    assert all(part["values"].nbytes <= 64 << 20 for part in parts)
    joined = np.concatenate([part["values"][:, [7, -1]] for part in parts])
    assert joined.tolist() == [[0.0, 1.0]] * 20 + [[2.0, 0.0]]


def test_a_product_of_long_texts_and_many_weights_is_halved() -> None:
    """Parts are cut again where the graph would gather too many weights for them."""
    vectorizer = CountVectorizer().fit(["one two"])
    terms = [f"t{i}" for i in range(5000)]
    data = words(vectorizer, vocabulary=terms, outputs=["values", "columns"], fan_out=1000)
    front = Front.from_json(data)

    parts = list(front.batches({"text": column([" ".join(terms)] * 20)}))

    assert sum(len(part["values"]) for part in parts) == 20
    assert all(part["values"].size * 1000 * 8 <= 256 << 20 for part in parts)


def codes(**more: Any) -> Front:
    step = {
        "op": "codes", "inputs": ["city"], "outputs": ["city_code"], "categories": ["Köln", "Oslo"],
        "unseen": -1, "missing": None, "datatype": "FP64", **more,
    }  # fmt: skip
    return Front.from_json({"version": 1, "steps": [step]})


def test_codes_know_unseen_from_missing() -> None:
    """Known strings, unseen ones and missing ones have their own codes; "" is a string too."""
    found = codes()({"city": column(["Oslo", "Köln", "Ko\u0308ln", MISSING_TEXT, ""])})["city_code"]

    assert found.shape == (5, 1)
    np.testing.assert_array_equal(found[:, 0], [1.0, 0.0, -1.0, np.nan, -1.0])
    own = codes(codes=[7, 3], missing=9, datatype="INT64")
    assert own({"city": column(["Oslo", MISSING_TEXT])})["city_code"].tolist() == [[3], [9]]


def test_fill_and_stack() -> None:
    """Missing strings get a value; columns of numbers stand side by side in one input."""
    steps = [
        {"op": "fill", "inputs": ["city"], "outputs": ["city"], "value": "Oslo"},
        {
            "op": "codes", "inputs": ["city"], "outputs": ["code"], "categories": ["Köln", "Oslo"],
            "unseen": None, "missing": None, "datatype": "FP64",
        },
        {"op": "stack", "inputs": ["age", "code"], "outputs": ["input"], "datatype": "FP64"},
    ]  # fmt: skip
    front = Front.from_json({"version": 1, "steps": steps})
    age = np.array([[30.5], [np.nan]], dtype=np.float32)

    found = front({"age": age, "city": column([MISSING_TEXT, "Rom"]), "other": age})

    assert sorted(found) == ["input", "other"]
    np.testing.assert_array_equal(found["input"], [[30.5, 1.0], [np.nan, np.nan]])


def test_an_input_that_the_graph_reads_too_is_passed_on() -> None:
    """What `passes` names goes to the steps and to the graph."""
    data = {
        "version": 1,
        "passes": ["city"],
        "steps": [
            {
                "op": "codes", "inputs": ["city"], "outputs": ["code"], "categories": [],
                "unseen": 0, "missing": 0, "datatype": "FP64",
            }
        ],
    }  # fmt: skip

    assert sorted(Front.from_json(data)({"city": column(["x"])})) == ["city", "code"]


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"city": np.array([[1.0]])},
        {"city": np.array([[b"Oslo"]], dtype=object)},
        {"city": np.array([[["Oslo"]]], dtype=object)},
        {"city": np.empty((1, 0), dtype=object)},
    ],
)
def test_a_wrong_input_is_the_callers_error(tensors: dict[str, Any]) -> None:
    """A missing input, numbers, bytes or another shape are refused, not passed on."""
    with pytest.raises(InputError):
        codes()(tensors)


STEP: dict[str, Any] = words(CountVectorizer(), vocabulary=["x"])["steps"][0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "steps": []}',
        '{"version": 1, "steps": 3}',
        *(
            json.dumps({"version": 1, "steps": [step]})
            for step in (
                {},
                {"op": "shell", "inputs": [], "outputs": []},
                {**STEP, "analyzer": "lines"},
                {**STEP, "strip_accents": "all"},
                {**STEP, "token_pattern": "("},
                {**STEP, "token_pattern": "(a)(b)"},
                {**STEP, "vocabulary": None},
                {**STEP, "then": [{"op": "explode"}]},
                {**STEP, "then": [{"op": "columns", "columns": [2, 1]}]},
                {**STEP, "datatype": "FP8"},
                {"op": "fill", "inputs": ["a"], "outputs": ["a"], "value": 3},
                {
                    "op": "codes", "inputs": ["a"], "outputs": ["a"], "categories": ["x"],
                    "unseen": None, "missing": 0, "datatype": "INT64",
                },
                {
                    "op": "codes", "inputs": ["a"], "outputs": ["a"], "categories": ["x", "x"],
                    "unseen": 0, "missing": 0, "datatype": "INT64",
                },
            )
        ),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Any, content: str) -> None:
    """`front.json` that is no front raises SlimError with the file's name."""
    (tmp_path / FRONT).write_text(content)

    with pytest.raises(SlimError, match=FRONT) as caught:
        Front.load(tmp_path)
    assert caught.value.hint


def test_no_file_is_no_front(tmp_path: Any) -> None:
    """Most models have none."""
    assert Front.load(tmp_path) is None


def test_the_front_needs_numpy_alone() -> None:
    """Every step runs without the libraries that train models."""
    script = (
        "import sys, pkgutil, importlib, fnmodel.front as front\n"
        "for m in pkgutil.iter_modules(front.__path__):\n"
        "    importlib.import_module(f'fnmodel.front.{m.name}')\n"
        "heavy = {'sklearn', 'scipy', 'pandas', 'onnx', 'tokenizers', 'transformers', 'regex'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
