import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, binom

from privsec.core.errors import ConfigError, DataError
from privsec.privacy.accounting import tpr_bound
from privsec.privacy.lower_bounds import clopper_pearson_scores, rank_test_scores
from privsec.privacy.rank_test import rank_p_value

RUNS = {"design": "independent_runs"}


def exact_p_value(test, epsilon, delta):
    """The mixture by quadrature."""
    k, n0, found, n1 = test

    def density(u):
        return beta.pdf(u, k + 1, n0 - k) * binom.sf(found - 1, n1, float(tpr_bound(epsilon, delta, u)))

    bulk = beta.ppf([1e-12, 0.5, 1 - 1e-12], k + 1, n0 - k)
    return sum(quad(density, a, b, epsabs=1e-13, limit=200)[0] for a, b in itertools.pairwise(bulk))


@pytest.mark.parametrize(
    "test", [(0, 100, 9, 100), (4, 50, 20, 90), (16, 120, 80, 80), (0, 1, 1, 1), (64, 200, 120, 150)]
)
@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 0.0), (0.7, 1e-5), (2.0, 0.05)])
def test_p_value_is_the_mixture_rounded_up(test, epsilon, delta):
    exact = exact_p_value(test, epsilon, delta)
    assert exact * (1 - 1e-6) <= rank_p_value(test, epsilon, delta) <= exact * 1.06 + 1e-8


def test_without_a_leak_it_is_the_hypergeometric_law_of_ranks():
    """At epsilon 0, delta 0 every interleaving is equally likely: P(found or more before the first of n0)."""
    n0, n1, found = 30, 40, 7
    exact = math.prod((n1 - i) / (n1 + n0 - i) for i in range(found))
    assert rank_p_value((0, n0, found, n1), 0.0, 0.0) == pytest.approx(exact, rel=0.03)


@given(st.integers(0, 60), st.integers(0, 3), st.floats(0, 5), st.floats(0, 0.2))
@settings(max_examples=60)
def test_p_value_is_monotone(found, power, epsilon, delta):
    k = (0, 4, 16, 28)[power]
    here = rank_p_value((k, 60, found, 60), epsilon, delta)
    assert 0 <= here <= 1 + 1e-12
    assert rank_p_value((k, 60, min(found + 1, 60), 60), epsilon, delta) <= here + 1e-15
    assert rank_p_value((k, 60, found, 60), epsilon + 0.1, delta) >= here - 1e-15
    assert rank_p_value((k, 60, found, 60), epsilon, delta + 0.05) >= here - 1e-15


def test_the_bound_is_where_the_first_test_stops_refuting():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(2, 1, 150), rng.normal(0, 1, 130)
    ranks = (0, 4, 16, 64)
    tests = [(k, 130, int(sum(inside > np.sort(outside)[-k - 1])), 150) for k in ranks]
    tests += [(k, 150, int(sum(outside < np.sort(inside)[k])), 130) for k in ranks]
    bound = rank_test_scores(np.concatenate([inside, outside]), np.arange(280) < 150, delta=1e-5, **RUNS)
    shown = bound.estimate.value
    assert 0.5 < shown < bound.ceiling
    assert min(rank_p_value(test, shown, 1e-5) for test in tests) < 0.05 / 8
    assert min(rank_p_value(test, shown + 1e-6, 1e-5) for test in tests) >= 0.05 / 8


def test_it_shows_more_than_clopper_pearson_and_is_symmetric():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        member = np.arange(400) < 200
        scores = rng.normal(1.5 * member)
        shown = rank_test_scores(scores, member, **RUNS)
        assert shown.estimate.value > clopper_pearson_scores(scores, member, **RUNS).estimate.value
        assert shown.estimate.value == pytest.approx(
            rank_test_scores(-scores, ~member, **RUNS).estimate.value, abs=1e-8
        )


def test_edges():
    member = np.arange(400) < 200
    assert rank_test_scores(np.zeros(400), member, **RUNS).estimate.value == 0
    assert rank_test_scores(member, member, delta=0.99, **RUNS).estimate.value == 0
    perfect = rank_test_scores(member, member, **RUNS)
    assert perfect.estimate.value == perfect.ceiling > 4
    five = rank_test_scores([3.0, 2.0, 1.0, 0.0, -1.0], [1, 1, 0, 0, 0], **RUNS)
    assert (five.estimate.value, five.grade) == (0, "proof")
    assert rank_test_scores([1.0, 0.0], [1, 0], design="records").grade == "heuristic"


def test_bad_input():
    with pytest.raises(DataError, match="2 scored members and 0"):
        rank_test_scores([1.0, 2.0], [1, 1], **RUNS)
    with pytest.raises(ConfigError, match="alpha"):
        rank_test_scores([1.0, 2.0], [1, 0], alpha=0.7, **RUNS)
