from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.evidence import Predictions
from privsec.measures.attributes import MEASURES, AttributeTruth, estimates, exhibits, measure, surest_right
from tests.oracles import attributes as oracle


def log_posteriors(rng, *shape):
    return np.log(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))


KINDS = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=16))
def test_the_surest_guesses_are_counted_as_if_ties_were_broken_at_random(people):
    kinds, values = np.array(people).T
    right = np.argmax(KINDS[kinds], axis=1) == values
    expected = oracle.ppv_at_the_surest(KINDS[kinds].tolist(), values.tolist())
    assert surest_right(np.log(KINDS[kinds]), right) == pytest.approx(expected)


def test_golden_values():
    """Ten records, the surest one right: PPV 1; imputation's surest one wrong: all of what it leaves open is gained."""
    scores = np.log(np.full((10, 2), 0.5))
    scores[0] = np.log([0.9, 0.1])
    imputed = np.log(np.full((10, 2), 0.5))
    imputed[1] = np.log([0.2, 0.8])
    values = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    truth = AttributeTruth(values, np.arange(10)[None] < np.array([[5], [9]]))
    found = measure(Predictions(np.stack([scores, imputed]), imputed, 2.0), truth)
    assert found["ppv"].tolist() == [1, 0] and found["ppv_imputed"].tolist() == [0, 0]
    assert found["advantage"].tolist() == [1, 0]
    np.testing.assert_allclose(found["accuracy"], [0.6, 0.5])
    np.testing.assert_allclose(found["accuracy_gain"], [0.1, 0])
    np.testing.assert_allclose(found["member_gap"], [0.2, 0])
    assert set(found) == set(MEASURES)


def test_imputation_itself_has_no_advantage_and_one_that_is_always_right_leaves_one_record_open():
    rng = np.random.default_rng(0)
    imputed = log_posteriors(rng, 50, 3)
    values = np.argmax(imputed, axis=1)
    truth = AttributeTruth(values, rng.random((2, 50)) < 0.5)
    found = measure(Predictions(np.stack([imputed, imputed[:, ::-1]]), imputed, 3.0), truth)
    assert found["advantage"][0] == 0
    assert -5 <= found["advantage"][1] < 0
    told = estimates(found)
    assert told["advantage"].low <= told["advantage"].value <= told["advantage"].high <= 1
    assert all(each.low <= each.value <= each.high for each in told.values())


def test_targets_that_agree_are_no_certainty():
    truth = AttributeTruth(np.zeros(100, int), np.ones((4, 100), bool))
    scores = np.broadcast_to(np.log([0.9, 0.1]), (4, 100, 2))
    told = estimates(measure(Predictions(scores, scores[0], 2.0), truth))
    assert told["ppv"].value == 1 and told["ppv"].low < 0.75
    assert told["advantage"].value == 0 and told["advantage"].low < -0.1 < 0.1 < told["advantage"].high
    assert not told["member_gap"].resolved  # everybody was trained on


def test_the_table_of_values():
    scores = np.log(np.array([[[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]]))
    table = exhibits(Predictions(scores, scores[0], 3.0), AttributeTruth(np.array([0, 1, 1]), np.ones((1, 3), bool)))
    assert table["count"].tolist() == [1, 2, 0]
    np.testing.assert_allclose(table["recall"], [1, 0.5, np.nan])
    np.testing.assert_allclose(table["precision"], [0.5, 1, np.nan])
    np.testing.assert_allclose(table["recall_imputed"], table["recall"])
