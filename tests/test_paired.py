"""Paired evidence: false alarms at the rate that is stated, and far sooner than two samples."""

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnmodel.distribution import Shift
from fnmodel.errors import InputError
from fnmodel.histogram import Categories, Column, Numbers
from fnmodel.paired import Paired, PairedShift, log_gain

NEEDED = -math.log(0.01)
BINS: dict[str, Column] = {"label": Categories(("no", "yes"))}


def looked_at(seed: int, plus: float, minus: float, margin: float, looks: int = 20) -> int | None:
    """Return the pairs until the evidence was enough, or None; there are 50 a look."""
    random, paired = Random(seed), Paired(margin)
    for _ in range(looks):
        points = [random.random() for _ in range(50)]
        paired = paired.add([1 if p < plus else -1 if p < plus + minus else 0 for p in points])
        if paired.log_e >= NEEDED:
            return paired.pairs
    return None


@pytest.mark.parametrize(("plus", "minus", "margin"), [(0.05, 0, 0.05), (0.3, 0.25, 0.05)])
def test_false_alarms_are_as_rare_as_is_said(plus: float, minus: float, margin: float) -> None:
    """At the limit itself, looked at 20 times, less than one in a hundred is accused."""
    accused = sum(looked_at(seed, plus, minus, margin) is not None for seed in range(400))

    assert accused <= 8  # 4 are expected at most; 8 would come once in 50 times


def test_what_is_beyond_the_margin_is_found() -> None:
    """All of 50 candidates that fail a fifth more, after a look or a few."""
    found = [looked_at(seed, 0.2, 0.0, 0.05) for seed in range(50)]

    assert None not in found


@given(
    st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.floats(0, 0.9),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_no_bet_gains_where_the_null_holds(
    ups: int, downs: int, same: int, margin: float, up: float, rest: float
) -> None:
    """Whatever was learned, one more pair multiplies the evidence by 1 at most on average."""
    up = min(up, (1 + margin) / 2)
    down = max(up - margin, 0.0) + rest * (1 - up - max(up - margin, 0.0))
    known = ups + downs + same
    gains = [log_gain(known, ups, downs, one, margin) for one in ((1, 1, 0), (1, 0, 1), (1, 0, 0))]
    chances = (up, down, 1 - up - down)
    mean = sum(c * math.exp(g) for c, g in zip(chances, gains, strict=True) if c > 0)

    assert mean <= 1 + 1e-9


def labels(random: Random, count: int, moved: float) -> tuple[list[dict[str, str]], ...]:
    """Return the labels of both versions on the same rows; some of the noes become yes."""
    a = ["yes" if random.random() < 0.3 else "no" for _ in range(count)]
    b = ["yes" if one == "no" and random.random() < moved else one for one in a]
    return [{"label": one} for one in a], [{"label": one} for one in b]


def test_pairs_need_fewer_rows_than_two_samples() -> None:
    """A shift of 17 points, 10 may: by pairs it is found with a third of the rows."""
    pairs, samples = [], []
    for seed in range(20):
        random = Random(seed)
        paired, shift = PairedShift.between(BINS, 0.1), Shift.between(BINS, 0.1)
        counts: dict[str, int] = {}
        for look in range(1, 61):
            a, b = labels(random, 25, 0.25)
            other, _ = labels(random, 25, 0.25)
            paired, shift = paired.add(a, b), shift.add(other, b)
            for name, found in (("pairs", paired), ("samples", shift)):
                if found.log_evidence >= NEEDED:
                    counts.setdefault(name, 25 * look)
        pairs.append(counts.get("pairs", 1500))
        samples.append(counts.get("samples", 1500))

    assert sum(pairs) * 2 < sum(samples)


def test_numbers_are_compared_below_each_edge() -> None:
    """An output that rises by half on each row moves most quantiles."""
    bins: dict[str, Column] = {"value": Numbers((0.0, 1.0, 2.0, 3.0), 0.0, 1.0)}
    random = Random(3)
    a = [{"value": random.uniform(0, 3)} for _ in range(200)]
    same = PairedShift.between(bins, 0.1).add(a, a)
    risen = PairedShift.between(bins, 0.1).add(a, [{"value": one["value"] + 0.5} for one in a])

    assert (same.farthest[1], same.log_evidence) == (0.0, 0.0)
    assert risen.farthest[0] == "value"
    assert risen.log_evidence > NEEDED


def test_evidence_outlives_its_process() -> None:
    """Written and read, it goes on where it was; a value of another type is refused."""
    a, b = labels(Random(1), 60, 0.4)
    once = PairedShift.between(BINS, 0.1).add(a, b)
    first = PairedShift.between(BINS, 0.1).add(a[:30], b[:30])
    read = PairedShift.from_json(json.loads(json.dumps(first.to_json())))

    assert read == first
    assert read.add(a[30:], b[30:]).moved["label"][0].plus == once.moved["label"][0].plus
    with pytest.raises(InputError):
        PairedShift.between({"value": Numbers((0.0, 1.0), 0.0, 1.0)}, 0.1).add(
            [{"value": 0.5}], [{"value": "much"}]
        )
