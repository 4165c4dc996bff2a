from __future__ import annotations

import math

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.measures.blind import RIDGE, blind_auc, estimate
from tests.oracles import measures as oracle


def halves(rng, targets, n):
    return np.array([rng.permutation(n) < n // 2 for _ in range(targets)])


def records(rng, n, shape=(12,), classes=4):
    return rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, classes, n)


@pytest.mark.parametrize(("n", "shape"), [(60, (3,)), (120, (30,)), (100, (18, 18, 1))])
def test_fair_splits_are_centered_at_a_half(n, shape):
    rng = np.random.default_rng(n)
    x, y = records(rng, n, shape)
    values = blind_auc(x, y, halves(rng, 600, n))
    assert abs(values.mean() - 0.5) < 4 * values.std() / math.sqrt(len(values))


def test_pooling_the_folds_would_have_been_biased():
    """Why the AUC is taken within folds: the mean of the other folds alone, which knows nothing, ranks below chance."""
    rng = np.random.default_rng(1)
    pooled = []
    for member in halves(rng, 300, 60):
        fold = rng.permutation(60) % 5
        pooled.append(oracle.auc(np.array([member[fold != f].mean() for f in fold]), member))
    assert np.mean(pooled) < 0.45


def test_members_from_elsewhere_are_noticed():
    rng = np.random.default_rng(2)
    x, y = records(rng, 400)
    noise = rng.standard_normal((6, 400))
    assert (blind_auc(x, y, x[:, 0] + noise > 0) > 0.65).all()
    assert (blind_auc(np.zeros_like(x), y, y + noise > 1.5) > 0.65).all(), "the label is a feature too"
    wide, y = records(rng, 600, (20, 20, 1))
    wide += 0.3 * (np.arange(600) < 300)[:, None, None, None]
    assert blind_auc(wide, y, np.arange(600)[None] < 300)[0] > 0.9


def test_it_is_ridge_regression():
    rng = np.random.default_rng(3)
    x, y = records(rng, 90, (5,), 3)
    member = x[:, 0] + rng.standard_normal((3, 90)) > 0
    fold = np.random.default_rng(0).permutation(90) % 5
    expected = oracle.blind_auc(x.astype(float), y, member, fold, RIDGE)
    np.testing.assert_allclose(blind_auc(x, y, member), expected, atol=1e-12)


def test_complementary_targets_and_the_scale_of_features_make_no_difference():
    rng = np.random.default_rng(4)
    x, y = records(rng, 80)
    member = halves(rng, 3, 80)
    values = blind_auc(x, y, member)
    np.testing.assert_allclose(blind_auc(x, y, ~member), values, atol=1e-9)
    np.testing.assert_allclose(blind_auc(x * 2.0 ** np.arange(12) + 5, y, member), values, atol=0.01)


def test_constant_features_and_one_class_are_no_trouble():
    rng = np.random.default_rng(5)
    values = blind_auc(np.ones((50, 300), np.float32), np.zeros(50, int), halves(rng, 4, 50))
    np.testing.assert_array_equal(values, 0.5)


def test_a_large_offset_costs_a_wide_record_no_digits():
    rng = np.random.default_rng(9)
    x, y = records(rng, 200, (300,))
    member = halves(rng, 3, 200)
    np.testing.assert_allclose(blind_auc(x.astype(float) + 1e6, y, member), blind_auc(x, y, member), atol=0.01)


def test_a_target_without_both_sides_has_no_value():
    x, y = records(np.random.default_rng(6), 30)
    assert np.isnan(blind_auc(x, y, np.ones((1, 30), bool))).all()


def test_lengths_must_agree():
    x, y = records(np.random.default_rng(7), 30)
    with pytest.raises(DataError, match="30 records"):
        blind_auc(x, y, np.ones((2, 29), bool))


def test_its_estimate_covers_a_half():
    rng = np.random.default_rng(8)
    x, y = records(rng, 200)
    half = halves(rng, 8, 200)
    got = estimate(blind_auc(x, y, np.stack([half, ~half], 1).reshape(16, -1)), np.repeat(np.arange(8), 2))
    assert got.low < 0.5 < got.high and got.n == 8 and got.unit == "AUC"
