"""A sample is read as its author meant it."""

import pandas as pd
import pytest

from fnmodel.slim import sample


def test_words_for_nothing_are_text_in_a_text_column(tmp_path):
    """Only the empty field is missing in text; "NA" is Namibia."""
    path = tmp_path / "rows.csv"
    path.write_text("country,income\nNA,NA\nnull,1.5\n,2\nDE,\n")

    frame = sample.read(path)

    assert frame["country"].tolist()[:2] == ["NA", "null"]
    assert frame["country"].isna().tolist() == [False, False, True, False]
    assert frame["income"].isna().tolist() == [True, False, False, True]


def test_digits_stay_text_where_the_model_learned_text(tmp_path):
    """A postcode keeps its zeros."""
    path = tmp_path / "rows.csv"
    path.write_text("zip,age\n01067,3\n99084,4\n")

    frame = sample.read(path, ["zip"])

    assert frame["zip"].tolist() == ["01067", "99084"]


def test_numbers_are_read_to_the_last_bit(tmp_path):
    """A decimal becomes the float that Python reads."""
    words = ["0.1", "1e-320", "123456789.123456789", "2.2250738585072014e-308"]
    path = tmp_path / "rows.csv"
    path.write_text("x\n" + "\n".join(words) + "\n")

    assert sample.read(path)["x"].tolist() == [float(word) for word in words]


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1, "b": "x"}]',
        '{"records": [{"a": 1, "b": "x"}]}',
        '{"columns": ["a", "b"], "data": [[1, "x"]]}',
        '{"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"]]}}',
    ],
)
def test_json_samples(tmp_path, text):
    """Records, and what pandas and MLflow write, are the same table."""
    path = tmp_path / "rows.json"
    path.write_text(text)

    pd.testing.assert_frame_equal(sample.read(path), pd.DataFrame({"a": [1], "b": ["x"]}))
