from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.ops import leave_out


@st.composite
def banks(draw):
    models, records, targets = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    offset = draw(st.sampled_from([0.0, 1e4]))
    values = (rng.normal(size=(models, records)) * 3 + offset).astype(np.float32)
    return values, rng.random((models, records)) < 0.5, rng.random((targets, models)) < 0.7, rng


@given(banks())
@settings(max_examples=60, deadline=None)
def test_statistics_are_those_of_each_target_and_record_alone(drawn):
    values, chosen, usable, _ = drawn
    found = leave_out.moments(values, chosen, usable)
    log_mean = leave_out.log_mean_exp(values - values.mean(), chosen, usable)
    for t, n in np.ndindex(found.count.shape):
        mine = values[usable[t] & chosen[:, n], n].astype(np.float64)
        assert found.count[t, n] == len(mine)
        if len(mine):
            np.testing.assert_allclose(found.mean[t, n], mine.mean(), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(found.squares[t, n], ((mine - mine.mean()) ** 2).sum(), rtol=1e-9, atol=1e-9)
            mine = (values - values.mean())[usable[t] & chosen[:, n], n].astype(np.float64)
            np.testing.assert_allclose(log_mean[t, n], np.log(np.exp(mine).mean()), rtol=1e-9, atol=1e-9)
        else:
            assert log_mean[t, n] == -np.inf
    assert leave_out.fewest(chosen, usable) == found.count.min()


@given(banks())
@settings(max_examples=60, deadline=None)
def test_a_withheld_pair_does_not_matter(drawn):
    values, chosen, usable, rng = drawn
    values, chosen = np.concatenate([values] * 5), np.concatenate([chosen] * 5)
    usable = np.concatenate([usable] * 5, axis=1)
    usable[:, :2] = False
    other_values, other_chosen = values.copy(), chosen.copy()
    other_values[:2] = rng.normal(size=values[:2].shape) * 1e8
    other_chosen[:2] = ~chosen[:2]
    for mine, tampered in zip(
        leave_out.moments(values, chosen, usable), leave_out.moments(other_values, other_chosen, usable), strict=True
    ):
        np.testing.assert_allclose(mine, tampered, rtol=1e-9, atol=1e-9)
    mine = leave_out.log_mean_exp(values, chosen, usable)
    tampered = leave_out.log_mean_exp(other_values, other_chosen, usable)
    np.testing.assert_allclose(mine, tampered, rtol=1e-9, atol=1e-9)


def test_constants_have_no_spread_at_all():
    values = np.full((30, 5), 0.1, np.float32)
    chosen = np.random.default_rng(0).random((30, 5)) < 0.5
    found = leave_out.moments(values, chosen, np.ones((2, 30), bool))
    assert (found.squares == 0).all() and (found.mean == np.float64(np.float32(0.1))).all()


def test_log_mean_exp_neither_overflows_nor_underflows():
    for level in (-5000.0, 5000.0):
        values = np.array([[level], [level + 1.0]])
        found = leave_out.log_mean_exp(values, np.ones((2, 1), bool), np.ones((1, 2), bool))
        assert found.item() == pytest.approx(level + np.log((1 + np.e) / 2), rel=1e-12)
