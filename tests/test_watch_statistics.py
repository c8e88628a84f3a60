"""Statistics on counts equal what SciPy says of the same counts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from fnmodel.watch import statistics

PAIRS = st.integers(2, 12).flatmap(
    lambda bins: st.tuples(
        *[
            st.lists(st.integers(0, 400), min_size=bins, max_size=bins).map(
                lambda found: np.array(found, dtype=np.float64)
            )
        ]
        * 2
    )
).filter(lambda pair: min(pair[0].sum(), pair[1].sum()) > 0)  # fmt: skip


@given(PAIRS)
def test_distances_equal_scipys(pair):
    """Jensen-Shannon and Kolmogorov-Smirnov are SciPy's, of one value a bin."""
    p, q = pair
    bins = np.arange(len(p), dtype=np.float64)
    one, other = np.repeat(bins, p.astype(int)), np.repeat(bins, q.astype(int))

    assert statistics.jensen_shannon(p, q) == pytest.approx(
        distance.jensenshannon(p, q, base=2), abs=1e-6
    )
    assert statistics.kolmogorov_smirnov(p, q) == pytest.approx(
        stats.ks_2samp(one, other, method="asymp").statistic, abs=1e-12
    )


@given(PAIRS, st.integers(0, 9))
@settings(max_examples=40)
def test_wasserstein_is_the_area_between_two_distribution_functions(pair, seed):
    """Rows spread evenly within bins lie as far apart as the counts say."""
    p, q = pair
    edges = np.cumsum(np.random.default_rng(seed).uniform(0.1, 3, len(p) + 1))
    grid = np.linspace(edges[0], edges[-1], 20_001)
    apart = np.abs(
        np.interp(grid, edges, np.append(0, np.cumsum(p)) / p.sum())
        - np.interp(grid, edges, np.append(0, np.cumsum(q)) / q.sum())
    )
    area = ((apart[1:] + apart[:-1]) / 2 * np.diff(grid)).sum()

    assert statistics.wasserstein(p, q, edges) == pytest.approx(area, rel=1e-3, abs=1e-6)


@given(st.floats(1e-3, 400), st.integers(1, 60))
def test_chi_square_tail_is_scipys(statistic, freedom):
    """The tail of a chi-square has ten right digits."""
    assert statistics.chi_square_tail(statistic, freedom) == pytest.approx(
        stats.chi2.sf(statistic, freedom), rel=1e-10, abs=1e-12
    )


@given(st.integers(0, 60), st.integers(0, 900), st.integers(0, 60), st.integers(0, 900))
def test_fishers_exact_test_is_scipys(before, more, now, others):
    """A kind of value that became more frequent has SciPy's one-sided probability."""
    table = [[now, others], [before, more]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue

    found = statistics.more_than_before(before, before + more, now, now + others)

    assert found == pytest.approx(1.0 if math.isnan(expected) else expected, rel=1e-7)


def test_kolmogorov_tail_is_about_scipys():
    """The asymptotic tail is near the exact one, at sizes that differ much."""
    for distance_, sizes in ((0.05, (5000, 1000)), (0.1, (300, 400)), (0.04, (9000, 2000))):
        exact = stats.distributions.kstwobign.sf(
            distance_ * math.sqrt(sizes[0] * sizes[1] / sum(sizes))
        )

        assert statistics.kolmogorov_tail(distance_, *sizes) == pytest.approx(exact, rel=0.12)


@given(PAIRS)
def test_chi_square_without_sparse_bins_is_scipys(pair):
    """With five expected rows in each bin nothing is joined, and the test is SciPy's."""
    p, q = (counts + 30 for counts in pair)
    expected = stats.chi2_contingency(np.stack([p, q]), correction=False)

    statistic, freedom = statistics.chi_square(p, q)

    assert freedom == expected.dof
    assert statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)


@given(PAIRS)
def test_sparse_bins_are_joined(pair):
    """Each bin that is left has enough rows, and no row is lost."""
    p, q = pair
    joined = statistics._joined(np.stack([p, q]), 40.0)

    assert joined.sum() == p.sum() + q.sum()
    assert joined.shape[1] == 1 or joined.sum(axis=0).min() >= 40


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=30).map(np.array))
def test_adjusted_probabilities_equal_scipys_and_the_definition(probabilities):
    """Benjamini-Hochberg is SciPy's; Holm's k-th smallest is (m - k + 1) p, and never falls."""
    assert statistics.benjamini_hochberg(probabilities) == pytest.approx(
        stats.false_discovery_control(probabilities)
    )
    held = statistics.holm(probabilities)
    order = np.argsort(probabilities, kind="stable")
    worst = 0.0
    for k, at in enumerate(order):
        worst = max(worst, min(1.0, probabilities[at] * (len(order) - k)))
        assert held[at] == pytest.approx(worst)


def test_psi_of_the_same_shares_is_zero():
    """The index is symmetric, zero between equal shares, and by hand 0.8 ln 9 for 9:1 and 1:9."""
    p, q = np.array([90.0, 10.0]), np.array([10.0, 90.0])

    assert statistics.psi(p, p * 7) == pytest.approx(0)
    assert statistics.psi(p, q) == statistics.psi(q, p) == pytest.approx(1.6 * math.log(9))
