from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from privsec.ops.smooth import FEWEST, GROUPS, Smoother, falling
from tests.oracles import bavaria as oracle

NUMBERS = st.floats(-100, 100)


@given(arrays(np.float64, st.integers(1, 12), elements=NUMBERS))
def test_falling_is_the_nearest_sequence_that_never_rises(values):
    found = falling(values)
    assert (np.diff(found) <= 1e-9).all()
    np.testing.assert_allclose(found, oracle.decreasing(values), atol=1e-9)
    np.testing.assert_allclose(found.sum(), values.sum(), atol=1e-7)


@given(st.integers(1, 300), st.integers(0, 9))
def test_averages_by_level_against_the_oracle(records, seed):
    rng = np.random.default_rng(seed)
    level, values, at = rng.normal(size=records), rng.normal(size=records), rng.normal(0, 3, 20)
    over = Smoother.of(level)
    np.testing.assert_allclose(over(values), oracle.by_level(level, values), atol=1e-9)
    np.testing.assert_allclose(over(values, at=at), oracle.by_level(level, values, at=at), atol=1e-9)
    np.testing.assert_allclose(over.median(values), oracle.by_level(level, values, of=np.median), atol=1e-9)
    expected = oracle.by_level(level, values, at=at, never_rising=True)
    np.testing.assert_allclose(over.falling(values, at=at), expected, atol=1e-9)
    assert len(over.groups) <= GROUPS and min(map(len, over.groups)) >= min(FEWEST, records)


def test_records_of_one_level_are_averaged_without_an_error():
    assert np.isfinite(Smoother.of(np.zeros(100))(np.arange(100.0))).all()
