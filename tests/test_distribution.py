"""Distributions of predictions compared: distances, false alarms, power."""

import json
import math
from random import Random
from typing import Any

import pytest

from fnmodel.distribution import Shift, distance, shares
from fnmodel.errors import InputError
from fnmodel.histogram import Categories, Numbers

BINS = {
    "label": Categories(("no", "yes")),
    "probability:yes": Numbers(tuple(i / 10 for i in range(11)), 0.5, 1e-4),
}
NEEDED = -math.log(0.01)


def rows(random: Random, count: int, yes: float) -> list[dict[str, Any]]:
    """Return predictions; a label is yes with probability `yes`."""
    made = []
    for _ in range(count):
        hit = random.random() < yes
        score = 0.5 + random.random() / 2 if hit else random.random() / 2
        made.append({"label": "yes" if hit else "no", "probability:yes": score})
    return made


def first_alarm(seed: int, a: float, b: float, margin: float) -> int | None:
    random, shift = Random(seed), Shift.between(BINS, margin)
    for look in range(1, 13):
        shift = shift.add(rows(random, 50, a), rows(random, 25, b))
        if shift.log_evidence >= NEEDED:
            return look * 25
    return None


def test_the_distance_is_the_largest_difference_of_a_share() -> None:
    """For categories that of one of them, for numbers that below an edge."""
    label = BINS["label"]
    score = BINS["probability:yes"]

    assert distance(label.count(["yes", "no"]), label.count(["yes", "yes"])) == 0.5
    assert distance(score.count([0.05, 0.55]), score.count([0.95, 0.95])) == 1.0
    assert distance(score.count([0.5, None]), score.count([0.5, 0.5])) == 0.5
    assert distance(score.count([-3.0]), score.count([0.05])) == 1.0
    assert distance(label, label.count(["yes"])) == 0.0


def test_as_many_shares_for_the_same_bins() -> None:
    """Also for a column that has no bins at all."""
    assert len(shares(BINS["label"])) == 4
    assert len(shares(BINS["probability:yes"])) == 12
    assert len(shares(Numbers((), 0.0, 1.0))) == 1


def test_quiet_candidates_raise_no_alarm() -> None:
    """Of 300 candidates whose labels moved as far as is allowed, at most 1 % alarm."""
    assert sum(first_alarm(seed, 0.3, 0.4, 0.1) is not None for seed in range(300)) <= 3


@pytest.mark.parametrize(("b", "within"), [(1.0, 50), (0.8, 75), (0.65, 150)])
def test_shifted_predictions_are_found(b: float, within: int) -> None:
    """Half of the candidates are found within these rows, where 0.3 were positive before."""
    found = [first_alarm(seed, 0.3, b, 0.1) for seed in range(20)]

    assert sum(at is not None and at <= within for at in found) >= 10


def test_a_shift_survives_json() -> None:
    """What is written down goes on as if it had not been."""
    random = Random(3)
    shift = Shift.between(BINS, 0.1).add(rows(random, 40, 0.3), rows(random, 40, 0.5))
    again = Shift.from_json(json.loads(json.dumps(shift.to_json())))

    assert again == shift
    assert again.samples == (40, 40)
    assert again.farthest[0] in BINS


def test_a_value_of_another_type_is_told() -> None:
    """A text where a number was is an error of input, not of ours."""
    with pytest.raises(InputError, match="expected a number"):
        Shift.between(BINS, 0.1).add([], [{"probability:yes": "high"}])


def test_rows_of_one_side_alone_are_counted() -> None:
    """They inform the next comparison and prove nothing."""
    shift = Shift.between(BINS, 0.1).add(rows(Random(1), 30, 0.3), [])

    assert shift.samples == (30, 0)
    assert shift.log_evidence == 0.0
