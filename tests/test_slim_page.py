"""The parity page says what the report says, and runs nothing."""

import re
from dataclasses import replace

import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from slim_cases import convert, save

from fnmodel.slim.proof.page import render
from fnmodel.slim.proof.report import Metric


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Convert a model that answers as the original."""
    folder = tmp_path_factory.mktemp("page")
    rows, target = load_diabetes(return_X_y=True)
    return convert(folder, *save(folder, LinearRegression().fit(rows, target), rows[:50]))


def test_page_tells_the_figures(report):
    """The verdict, the rows, the batches and the metrics stand on the page."""
    page = render(replace(report, metrics=(Metric("r2", 0.51771, 0.51772),)))

    assert "answers as the original" in page
    for words in ("rows of the sample", "in batches of 7", "1,000 rows", "0.51772", "opset"):
        assert words in page


def test_failed_gate_is_named(report):
    """A report that differs shows it, with the gates that failed."""
    gates = ({"passed": False, "name": "accuracy at least 0.9", "reason": "0.81 (0.78 to 0.84)"},)
    page = render(replace(report, passed=False, gates=gates))

    assert ">differs<" in page
    assert "accuracy at least 0.9" in page
    assert "0.81 (0.78 to 0.84)" in page


def test_names_of_a_hostile_file_stay_text(report):
    """What a model or a sample calls itself cannot become markup."""
    page = render(replace(report, source="<script>alert(1)</script>", notes=("<img src=x>",)))

    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_page_asks_nobody(report):
    """There is no address on the page, and its policy forbids all but its own style."""
    page = render(report)

    assert not re.search(r"(?:https?:)?//|src=|href=|url\(", page)
    assert "default-src 'none'" in page
