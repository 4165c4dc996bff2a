from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.measures.intervals import (
    clopper_pearson,
    cluster_mean,
    clustered,
    delong,
    holm,
    paired_difference,
    share_difference,
    wilson,
)
from tests.oracles import measures as oracle


def pairs(count, seeds=1):
    """Cluster and seed ids of `count` pairs of targets in each of `seeds` seeds; cluster ids recur in every seed."""
    return np.tile(np.repeat(np.arange(count), 2), seeds), np.repeat(np.arange(seeds), 2 * count)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 200), (3, 50), (200, 200), (137, 1000)])
def test_clopper_pearson_inverts_the_binomial(k, n):
    from scipy.stats import binomtest

    expected = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-10)


def test_clopper_pearson_at_its_edges():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert clopper_pearson(0, 10)[0] == 0.0
    assert clopper_pearson(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="between 0"):
        clopper_pearson(3, 2)


def test_wilson_and_newcombe_on_published_figures():
    # Newcombe 1998: 56/70 - 48/80 has the method-10 interval [0.0524, 0.3339]; Wilson's for 81/263 is [0.2553, 0.3662].
    assert [float(end) for end in share_difference(56, 70, 48, 80)] == pytest.approx([0.0524, 0.3339], abs=1e-4)
    assert [float(end) for end in wilson(81, 263)] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    low, high = share_difference([16, 0], [16, 16], [0, 0], [16, 16])
    assert (low < 0.8).all() and high[0] == 1.0 and high[1] > 0.1


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_delong_is_the_naive_one(inside, outside, seed):
    scores = np.random.default_rng(seed).integers(0, 5, inside + outside).astype(float)
    member = np.arange(inside + outside) < inside
    value, error = delong(scores, member)
    assert value == pytest.approx(oracle.auc(scores, member))
    assert error == pytest.approx(oracle.delong_error(scores, member), abs=1e-12)


def test_one_seed_is_students_t_over_pair_means():
    from scipy.stats import t

    rng = np.random.default_rng(0)
    values = rng.random(16)
    means = values.reshape(8, 2).mean(axis=1)
    low, high = t.interval(0.95, 7, means.mean(), means.std(ddof=1) / math.sqrt(8))
    got = clustered(values, pairs(8)[0])
    assert (got.value, got.low, got.high, got.n) == pytest.approx((values.mean(), low, high, 8))


def test_the_larger_of_the_two_errors_counts():
    clusters, seeds = pairs(4, 3)
    apart = cluster_mean(np.array([0.1, 0.5, 0.9])[seeds], clusters, seeds)
    assert apart.error == pytest.approx(0.4 / math.sqrt(3)) and apart.df == pytest.approx(2)
    noise = np.tile([0.4, 0.4, 0.6, 0.6, 0.4, 0.4, 0.6, 0.6], 3)
    alike = cluster_mean(noise, clusters, seeds)
    assert alike.error == pytest.approx(np.std([0.4, 0.6] * 2, ddof=1) / math.sqrt(12)) and alike.df == 9


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_mean_does_not_depend_on_order_or_on_names(seed):
    rng = np.random.default_rng(seed)
    (clusters, seeds), values = pairs(4, 2), rng.random(16)
    shuffle = rng.permutation(16)
    named = np.array(["d", "a", "c", "b"])[clusters]
    left, right = (
        cluster_mean(values, clusters, seeds),
        cluster_mean(values[shuffle], named[shuffle], seeds[shuffle] + 7),
    )
    assert left == pytest.approx(right)
    assert left.value == pytest.approx(values.mean())


@pytest.mark.parametrize(("count", "seeds"), [(8, 1), (4, 2), (8, 3)])
def test_coverage_on_skewed_dependent_targets(count, seeds):
    rng = np.random.default_rng(count * seeds)
    clusters, seed = pairs(count, seeds)
    shared, own = rng.gamma(2, size=(2000, count * seeds, 1)), rng.gamma(2, size=(2000, count * seeds, 2))
    values = ((shared + own) / 2).reshape(2000, -1)  # mean 2; skewness of a pair's mean about 0.9
    ends = np.array([clustered(row, clusters, seed)[1:3] for row in values])
    covered = np.mean((ends[:, 0] <= 2) & (2 <= ends[:, 1]))
    assert covered > 0.93 - 2 * math.sqrt(0.93 * 0.07 / 2000)


def test_coverage_when_seeds_differ_more_than_their_pairs():
    rng = np.random.default_rng(5)
    clusters, seed = pairs(8, 3)
    values = 0.3 * np.repeat(rng.standard_normal((1000, 24)), 2, axis=1) + rng.standard_normal((1000, 3))[:, seed]
    ends = np.array([clustered(row, clusters, seed)[1:3] for row in values])
    assert np.mean((ends[:, 0] <= 0) & (0 <= ends[:, 1])) > 0.91


def test_one_pair_has_no_interval():
    got = clustered([0.7, 0.8], [0, 0], bounds=(0, 1))
    assert (got.value, got.low, got.high, got.n) == (0.75, 0, 1, 1)
    assert "one pair: no interval" in got.note


def test_a_pair_a_seed_has_an_interval_over_seeds():
    got = cluster_mean([0.7, 0.8, 0.6, 0.7], [0, 0, 0, 0], [0, 0, 1, 1])
    assert got.df == 1 and got.error == pytest.approx(0.05)


def test_missing_values_are_left_out_and_said():
    got = clustered([0.5, 0.6, np.nan, 0.7], [0, 0, 1, 1])
    assert got.value == pytest.approx(0.6) and got.note == "1 of 4 targets gave no value"
    assert not clustered([np.nan, np.nan], [0, 0]).resolved


def test_targets_that_agree_are_not_certain():
    got = clustered(np.zeros(16), pairs(8)[0], bounds=(0, 1), trials=200)
    assert got.low == 0 and got.high == pytest.approx(clopper_pearson(0, 200)[1])
    stretched = clustered(np.full(16, -0.25), pairs(8)[0], bounds=(-0.25, 1), trials=200)
    assert stretched.high == pytest.approx(1.25 * got.high - 0.25)


def test_the_interval_stays_in_the_range_of_the_measure():
    got = clustered([1.0, 1.0, 0.5, 0.5], [0, 0, 1, 1], bounds=(0, 1))
    assert (got.low, got.high) == (0, 1)


def test_a_paired_difference_cancels_what_the_targets_share():
    rng = np.random.default_rng(1)
    clusters, _ = pairs(8)
    base = np.repeat(rng.normal(0.7, 0.1, 8), 2)
    defended = base - 0.05 + rng.normal(0, 0.005, 16)
    got = paired_difference(defended, base, clusters, unit="AUC")
    assert got.low < -0.05 < got.high < -0.04 and got.unit == "AUC"
    assert cluster_mean(defended - base, clusters).p_value < 1e-6
    assert cluster_mean(np.zeros(16), clusters).p_value == 1
    assert cluster_mean([0.3, 0.4], [0, 0]).p_value == 1


def test_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(2)
    clusters, seeds = pairs(4, 2)
    p = [cluster_mean(np.repeat(rng.standard_normal(8), 2), clusters, seeds).p_value for _ in range(1500)]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p):
    adjusted, order = holm(p), np.argsort(p, kind="stable")
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, i in enumerate(order):
            if p[i] * (len(p) - rank) > alpha:
                break
            rejected.add(int(i))
        assert rejected == set(np.flatnonzero(adjusted <= alpha).tolist())


def test_holm_does_not_count_what_was_not_compared():
    np.testing.assert_allclose(holm([0.02, np.nan, 0.5]), [0.04, np.nan, 0.5])
