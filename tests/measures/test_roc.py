from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.errors import DataError
from privsec.measures.roc import Curve, auc, balanced_accuracy, null_tpr, roc, tpr_at_fpr
from tests.oracles import measures as oracle


@st.composite
def scored(draw):
    """Scores on a coarse grid (so that they tie, also across sides) for at least one member and one non-member."""
    n = draw(st.integers(2, 40))
    scores = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    member = draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))
    return np.array(scores, float), np.array([True, False, *member])


@settings(deadline=None)
@given(scored())
def test_roc_is_the_naive_one(case):
    scores, member = case
    fpr, tpr, thresholds = roc(scores, member)
    np.testing.assert_allclose(np.stack([fpr, tpr], 1), oracle.roc_points(scores, member), rtol=1e-12)
    assert thresholds[0] == np.inf and (np.diff(thresholds) < 0).all()


@settings(deadline=None)
@given(scored())
def test_auc_agrees_with_pair_counting_and_scikit_learn(case):
    from sklearn.metrics import roc_auc_score, roc_curve

    scores, member = case
    assert auc(scores, member) == pytest.approx(oracle.auc(scores, member), abs=1e-12)
    assert auc(scores, member) == pytest.approx(roc_auc_score(member, scores), abs=1e-12)
    for ours, theirs in zip(roc(scores, member), roc_curve(member, scores, drop_intermediate=False), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@settings(deadline=None)
@given(scored())
def test_only_the_order_of_scores_matters(case):
    scores, member = case
    assert auc(np.exp(scores) - 3, member) == auc(scores, member)
    assert auc(-scores, member) == pytest.approx(1 - auc(scores, member), abs=1e-12)
    assert balanced_accuracy(scores**3, member) == pytest.approx(balanced_accuracy(scores, member), nan_ok=True)


@settings(deadline=None)
@given(scored(), st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
def test_tpr_is_the_largest_step_and_grows_with_fpr(case, rates):
    scores, member = case
    negatives = int((~member).sum())
    tpr = [tpr_at_fpr(scores, member, rate) for rate in sorted(rates)]
    for rate, value in zip(sorted(rates), tpr, strict=True):
        if math.floor(rate * negatives + 1e-9) < 1:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(oracle.tpr_at(scores, member, math.floor(rate * negatives + 1e-9)))
    resolved = [value for value in tpr if not math.isnan(value)]
    assert resolved == sorted(resolved)


@settings(deadline=None)
@given(scored())
def test_a_record_that_was_not_attacked_is_as_if_absent(case):
    scores, member = case
    padded, bits = np.concatenate([scores, [np.nan] * 4]), np.concatenate([member, [True, False, False, True]])
    assert auc(padded, bits) == auc(scores, member)
    np.testing.assert_array_equal(roc(padded, bits), roc(scores, member))


def test_a_constant_score_finds_nobody_at_a_low_rate():
    member = np.arange(1000) < 500
    scores = np.ones(1000)  # sorted members first: an uncollapsed tie group would read TPR 100%
    assert auc(scores, member) == 0.5
    assert tpr_at_fpr(scores, member, 0.01) == 0.0
    assert balanced_accuracy(scores, member) == 0.5


def test_scores_saturated_at_one_lose_the_low_rates():
    rng = np.random.default_rng(0)
    member = np.arange(4000) < 2000
    z = rng.standard_normal(4000) + 9.0 * member + 3
    from scipy.special import ndtr

    assert tpr_at_fpr(z, member, 0.001) > 0.99
    assert tpr_at_fpr(ndtr(z), member, 0.001) == pytest.approx(tpr_at_fpr(np.minimum(z, 8.3), member, 0.001), abs=0.02)
    assert tpr_at_fpr(np.round(ndtr(z), 2), member, 0.001) == 0.0


def test_infinite_scores_are_scores():
    scores, member = np.array([np.inf, np.inf, 1.0, -np.inf]), np.array([True, False, True, False])
    assert auc(scores, member) == (0.5 + 1 + 0 + 1) / 4


@pytest.mark.parametrize(("n", "rate", "resolved"), [(1000, 0.001, True), (999, 0.001, False), (100, 0.01, True)])
def test_a_rate_below_one_false_positive_is_not_a_number(n, rate, resolved):
    scores, member = np.arange(2.0 * n), np.arange(2 * n) >= n
    assert math.isnan(tpr_at_fpr(scores, member, rate)) != resolved


def test_no_interpolation_between_steps():
    scores = np.array([5.0, 4.0, 4.0, 4.0, 3.0])
    member = np.array([True, True, True, False, False])
    assert tpr_at_fpr(scores, member, 0.99) == 1.0
    assert math.isnan(tpr_at_fpr(scores, member, 0.49))
    assert Curve.of(np.append(scores, 4.0), np.append(member, False)).tpr_at(0.4) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "member"), [([1.0, 2.0], [True, True]), ([np.nan, 2.0], [True, False]), ([1.0], [True, False])]
)
def test_what_has_no_roc_is_refused(scores, member):
    with pytest.raises(DataError, match=r"members|shapes"):
        roc(np.array(scores), np.array(member))


@pytest.mark.parametrize("n", [100, 150, 1000])
def test_the_null_of_tpr_is_its_mean_for_guesses(n):
    rng = np.random.default_rng(n)
    member = np.arange(2 * n) < n
    tpr = np.array([tpr_at_fpr(rng.standard_normal(2 * n), member, 0.01) for _ in range(1500)])
    assert abs(tpr.mean() - null_tpr(n, 0.01)) < 4 * tpr.std() / math.sqrt(len(tpr))
    if n < 1000:  # and the nominal rate is not
        assert tpr.mean() - 0.01 > 4 * tpr.std() / math.sqrt(len(tpr))


def test_balanced_accuracy_of_noise_is_a_half_where_the_best_threshold_flatters():
    rng = np.random.default_rng(3)
    member = np.arange(200) < 100
    honest, flattering = [], []
    for _ in range(800):
        scores = rng.standard_normal(200)
        fpr, tpr, _ = roc(scores, member)
        honest.append(balanced_accuracy(scores, member))
        flattering.append((1 + np.max(tpr - fpr)) / 2)
    assert abs(np.mean(honest) - 0.5) < 4 * np.std(honest) / math.sqrt(800)
    assert np.mean(flattering) > 0.53


def test_balanced_accuracy_of_a_perfect_attack():
    member = np.arange(400) % 2 == 0
    assert balanced_accuracy(np.where(member, 2.0, -1.0), member) == 1.0
    assert balanced_accuracy(member + np.random.default_rng(0).random(400) / 2, member) > 0.99


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter_to_the_curve(random):
    rng = np.random.default_rng(random.randrange(2**32))
    scores, member = rng.integers(0, 9, 60).astype(float), np.arange(60) < 25
    shuffle = rng.permutation(60)
    np.testing.assert_array_equal(roc(scores[shuffle], member[shuffle]), roc(scores, member))
