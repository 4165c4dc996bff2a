import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.errors import ConfigError, DataError
from privsec.privacy.lower_bounds import clopper_pearson, clopper_pearson_scores, gdp, gdp_epsilon, gdp_scores
from tests.oracles.lower_bounds import lower_end, upper_end

RUNS = {"design": "independent_runs"}
WAYS = ("ranks", "split", "bonferroni", 0.5)


def counts(n=60):
    return st.tuples(st.integers(0, n), st.integers(0, n))


@pytest.mark.parametrize(("n", "golden"), [(100, 3.28), (1000, 5.60), (5000, 7.21)])
def test_golden_ceilings(n, golden):
    bound = clopper_pearson(n, n, 0, n, delta=1e-5, **RUNS)
    assert bound.estimate.value == bound.ceiling == pytest.approx(golden, abs=0.005)


@pytest.mark.parametrize(
    ("k_t", "n1", "k_f", "n0"),
    [(30, 40, 5, 50), (0, 9, 0, 9), (9, 9, 9, 9), (0, 9, 9, 9), (20, 20, 0, 30), (1, 1, 0, 1)],
)
def test_both_ends_are_those_of_exact_binomial_tails(k_t, n1, k_f, n0):
    tpr, fpr = lower_end(k_t, n1, Fraction(1, 40)), upper_end(k_f, n0, Fraction(1, 40))
    ratios = [a / b for a, b in ((tpr - 0.01, fpr), (1 - fpr - 0.01, 1 - tpr)) if a > 0]
    expected = math.log(max([1.0, *ratios]))
    assert clopper_pearson(k_t, n1, k_f, n0, delta=0.01, **RUNS).estimate.value == pytest.approx(expected, abs=1e-9)


def test_it_reads_the_test_both_ways():
    """A test that is almost never wrong about non-members shows through TPR / FPR, its mirror through TNR / FNR."""
    there = clopper_pearson(40, 100, 0, 100, **RUNS).estimate.value
    assert there > 0.5
    assert clopper_pearson(100, 100, 60, 100, **RUNS).estimate.value == pytest.approx(there, abs=1e-12)


@given(counts(), st.floats(0, 0.5), st.floats(0.01, 0.2))
def test_monotone(k, delta, alpha):
    def value(k_t, k_f, delta=delta, alpha=alpha):
        bound = clopper_pearson(k_t, 60, k_f, 60, delta=delta, alpha=alpha, **RUNS)
        assert 0 <= bound.estimate.value <= bound.ceiling
        return bound.estimate.value

    here = value(*k)
    assert value(min(k[0] + 1, 60), k[1]) >= here >= value(k[0], min(k[1] + 1, 60))
    assert value(*k, delta=delta + 0.1) <= here <= value(*k, alpha=alpha * 1.5) + 1e-12


@given(counts())
def test_gdp_is_never_an_absolute_value(k):
    """A test that is worse than chance shows nothing, however significantly."""
    bound = gdp(*(k[0], 60), *(k[1], 60), delta=1e-5, **RUNS).estimate.value
    assert bound == 0 if k[0] <= k[1] else bound >= 0


def test_gdp_is_the_epsilon_of_the_mu_between_both_ends():
    from scipy.stats import norm

    mu = norm.ppf(lower_end(80, 100, Fraction(1, 40))) - norm.ppf(upper_end(20, 100, Fraction(1, 40)))
    assert gdp(80, 100, 20, 100, delta=1e-5, **RUNS).estimate.value == pytest.approx(gdp_epsilon(mu, 1e-5), rel=1e-6)
    assert gdp(0, 100, 100, 100, delta=1e-5, **RUNS).estimate.value == 0


def test_ranks_count_one_side_and_know_the_other():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(2, 1, 150), rng.normal(0, 1, 130)
    above = [(sum(inside > np.sort(outside)[-k - 1]), k) for k in (0, 4, 16, 64)]
    below = [(150 - k, 130 - sum(outside < np.sort(inside)[k])) for k in (0, 4, 16, 64)]
    each = [clopper_pearson(int(t), 150, int(f), 130, alpha=0.05 / 8, **RUNS) for t, f in above + below]
    bound = clopper_pearson_scores(np.concatenate([inside, outside]), np.arange(280) < 150, **RUNS)
    assert bound.estimate.value == pytest.approx(max(one.estimate.value for one in each), abs=1e-12)
    assert 0 < bound.estimate.value < bound.ceiling == each[0].ceiling


@pytest.mark.parametrize("threshold", WAYS)
@pytest.mark.parametrize("function", [clopper_pearson_scores, gdp_scores])
def test_every_way_to_choose_finds_a_leak_and_reaches_its_ceiling(function, threshold):
    rng = np.random.default_rng(0)
    member = rng.random(2000) < 0.5
    leaky = function(member + rng.normal(0, 0.3, 2000), member, delta=1e-5, threshold=threshold, **RUNS)
    perfect = function(member * 1.0, member, delta=1e-5, threshold=threshold, **RUNS)
    assert 0.5 < leaky.estimate.value < leaky.ceiling
    assert perfect.estimate.value == pytest.approx(perfect.ceiling) == pytest.approx(leaky.ceiling)


@pytest.mark.parametrize("threshold", ["ranks", "split", "bonferroni"])
def test_only_the_order_of_the_scores_counts(threshold):
    rng = np.random.default_rng(1)
    member = rng.random(500) < 0.5
    scores = rng.normal(member * 2.0)
    plain, stretched = (
        clopper_pearson_scores(s, member, threshold=threshold, seed=3, **RUNS) for s in (scores, np.exp(scores))
    )
    assert plain == stretched


@pytest.mark.parametrize("threshold", ["ranks", "split", "bonferroni"])
def test_constant_scores_show_nothing(threshold):
    member = np.arange(400) < 200  # in order: a tie broken by position would separate them perfectly
    assert clopper_pearson_scores(np.zeros(400), member, threshold=threshold, **RUNS).estimate.value == 0


def test_answers_of_two_values_still_show_what_they_know():
    """Randomized response: a threshold within a group of ties keeps the ratio of the rates."""
    rng = np.random.default_rng(0)  # and 0 is the bound's default seed too: its ties must not follow these coins
    member = rng.random(4000) < 0.5
    answer = (rng.random(4000) < np.where(member, 0.88, 0.12)).astype(float)
    assert 1.5 < clopper_pearson_scores(answer, member, **RUNS).estimate.value < 2.0  # log(.88 / .12) = 1.99


def test_five_records_and_infinite_scores_are_judged():
    bound = clopper_pearson_scores([math.inf, 1, 0, -math.inf, math.nan], [1, 1, 0, 0, 1], **RUNS)
    assert (bound.estimate.value, bound.estimate.n) == (0, 4)
    assert 0 <= bound.ceiling < 1


def test_it_is_a_proof_for_independent_runs_alone():
    proof = clopper_pearson(90, 100, 5, 100, **RUNS)
    rough = clopper_pearson(90, 100, 5, 100, design="records")
    assert (proof.grade, proof.estimate.note) == ("proof", "")
    assert rough.grade == "heuristic" and "heuristic" in rough.estimate.note
    assert rough.estimate.value == proof.estimate.value == proof.estimate.low and proof.estimate.high == math.inf


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"delta": 1.0}, "delta"),
        ({"alpha": 0.5}, "alpha"),
        ({"alpha": 0.0}, "alpha"),
        ({"design": "independent_run"}, "Did you mean 'independent_runs'"),
        ({"threshold": "splits"}, "Did you mean 'split'"),
        ({"threshold": math.nan}, "threshold"),
    ],
)
def test_wrong_arguments_are_named(wrong, text):
    with pytest.raises(ConfigError, match=text):
        clopper_pearson_scores([1.0, 0.0], [True, False], **{**RUNS, **wrong})


def test_a_gaussian_has_no_epsilon_at_delta_0():
    with pytest.raises(ConfigError, match="1e-5"):
        gdp_scores([1.0, 0.0], [True, False], delta=0.0, **RUNS)


@pytest.mark.parametrize(
    ("scores", "member", "text"),
    [
        ([1.0, 2.0], [True, True], "2 scored members and 0"),
        ([1.0, math.nan], [True, False], "1 scores are NaN"),
        ([], [], "0 scored members"),
        ([1.0, 2.0, 3.0], [True, False], "shapes"),
        ([[1.0, 2.0]], [[True, False]], "shapes"),
        (["yes", "no"], [True, False], "numbers"),
        ([1.0, 2.0], ["in", "out"], "True or False"),
        ([1.0, 2.0], [2, 1], "True or False"),
        ([1.0, 2.0], [0.0, math.nan], "True or False"),
    ],
)
def test_scores_that_cannot_be_judged(scores, member, text):
    with pytest.raises(DataError, match=text):
        clopper_pearson_scores(scores, member, **RUNS)


@pytest.mark.parametrize("wrong", [(3, 2, 0, 1), (-1, 2, 0, 1), (0, 0, 0, 1), (0.5, 1, 0, 1)])
def test_counts_that_cannot_be(wrong):
    with pytest.raises(DataError, match="whole numbers"):
        clopper_pearson(*wrong, **RUNS)


def test_a_split_needs_two_of_each():
    with pytest.raises(DataError, match="ranks"):
        clopper_pearson_scores([1.0, 2.0, 3.0], [True, False, False], threshold="split", **RUNS)
