"""Sequential tests of shares: false alarms, power, and what must not depend on how one looks."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnmodel.sequential import Above, Increase, Share, log_mean, log_ratio, pieces

ALPHA = 0.01
NEEDED = -math.log(ALPHA)


def binomial(random: Random, trials: int, share: float) -> Share:
    return Share(sum(random.random() < share for _ in range(trials)), trials)


def first_alarm(
    seed: int, a: float, b: float, *, margin: float, looks: int = 30, batch: int = 40
) -> int | None:
    """Return the requests of B after which the alarm came; one look after each batch."""
    random, evidence = Random(seed), Increase(margin)
    for look in range(1, looks + 1):
        new_a, new_b = binomial(random, 4 * batch, a), binomial(random, batch, b)
        evidence = evidence.add(new_a, new_b, random)
        if evidence.log_e >= NEEDED:
            return look * batch
    return None


@pytest.mark.parametrize(
    ("a", "b", "margin"), [(0.02, 0.02, 0.0), (0.3, 0.3, 0.0), (0.005, 0.015, 0.01)]
)
def test_false_alarms_stay_below_what_was_asked_for(a: float, b: float, margin: float) -> None:
    """Of 1,000 samples on the border of the null, looked at 30 times, at most 1 % alarm."""
    alarms = sum(first_alarm(seed, a, b, margin=margin) is not None for seed in range(1000))

    assert alarms <= ALPHA * 1000


def test_an_absolute_limit_keeps_its_false_alarms_too() -> None:
    """The same for the share of one sample that sits at its limit."""
    alarms = 0
    for seed in range(1000):
        random, evidence = Random(seed), Above(0.05)
        for _ in range(30):
            evidence = evidence.add(binomial(random, 40, 0.05), random)
            if evidence.log_e >= NEEDED:
                alarms += 1
                break

    assert alarms <= ALPHA * 1000


@pytest.mark.parametrize(
    ("b", "within"), [(1.0, 40), (0.3, 80), (0.1, 200), (0.05, 600), (0.03, 1200)]
)
def test_power_grows_with_the_effect(b: float, within: int) -> None:
    """Half of the samples with a true increase alarm within these requests of the candidate."""
    found = [first_alarm(seed, 0.001, b, margin=0.01) for seed in range(60)]

    assert sum(at is not None and at <= within for at in found) >= 30


@given(
    st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(0, 0.3),
    st.floats(0, 1), st.floats(0, 1), st.integers(1, 6), st.integers(1, 6),
)  # fmt: skip
def test_a_piece_is_expected_to_gain_nothing_under_the_null(
    bet_a: float, bet_b: float, margin: float, a: float, up: float, n_a: int, n_b: int
) -> None:
    """The mean of the factor over all outcomes is at most 1, for any bet and any allowed shares."""
    b = min(a + margin, 1.0) * up

    def chance(hits: int, trials: int, share: float) -> float:
        return math.comb(trials, hits) * share**hits * (1 - share) ** (trials - hits)

    mean = math.fsum(
        chance(x, n_a, a)
        * chance(y, n_b, b)
        * math.exp(log_ratio(bet_a, bet_b, Share(x, n_a), Share(y, n_b), margin))
        for x in range(n_a + 1)
        for y in range(n_b + 1)
    )

    assert mean <= 1 + 1e-6


def test_a_bet_that_the_null_allows_is_not_made() -> None:
    """What is expected to lie within the margin neither gains nor loses."""
    assert log_ratio(0.5, 0.55, Share(50, 100), Share(90, 100), 0.1) == 0.0
    assert log_ratio(0.5, 0.65, Share(50, 100), Share(90, 100), 0.1) > 0


def test_one_large_batch_is_not_lost() -> None:
    """A first look that sees everything at once finds a large effect, since it is cut in pieces."""
    evidence = Increase(0.01).add(Share(2, 2000), Share(100, 500), Random(1))

    assert evidence.log_e >= NEEDED


def test_trials_of_one_side_alone_only_inform() -> None:
    """Without the other side there is nothing to compare."""
    evidence = Increase().add(Share(3, 50), Share(), Random(1))
    evidence = evidence.add(Share(), Share(50, 50), Random(1))

    assert evidence.log_e == 0.0
    assert evidence.b == Share(50, 50)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_pieces_add_up_and_grow_with_what_is_known(known: int, more: int) -> None:
    """No piece is empty, and all of them are what came."""
    sizes = list(pieces(known, more))

    assert sum(sizes) == more
    assert all(size > 0 for size in sizes)


def test_e_values_average() -> None:
    """The logarithm of the mean, also of very large ones."""
    assert log_mean([]) == 0.0
    assert math.isclose(log_mean([0.0, math.log(3)]), math.log(2))
    assert math.isclose(log_mean([1000.0, 0.0]), 1000 - math.log(2))


def test_impossible_counts_are_refused() -> None:
    """More hits than trials are a bug of whoever counted."""
    with pytest.raises(ValueError, match="3 hits of 2 trials"):
        Share(3, 2)
