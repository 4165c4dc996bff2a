from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privsec.training import sampling
from privsec.training.sampling import OVERFLOW, Cyclic, Poisson, Shuffled

rows = st.lists(st.booleans(), min_size=1, max_size=30).filter(any).map(np.array)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(deadline=None)
@given(rows, st.integers(1, 12), st.integers(1, 4), st.integers(0, 99))
def test_shuffled_visits_every_member_once_an_epoch_and_nobody_else(row, batch_size, epochs, seed):
    index, weight = Shuffled(epochs, batch_size).draw(rng(seed), row)
    members = np.flatnonzero(row)
    assert index.shape == weight.shape == (epochs * math.ceil(len(members) / batch_size), batch_size)
    assert index.dtype == np.int32 and weight.dtype == np.float32
    for epoch_index, epoch_weight in zip(np.split(index, epochs), np.split(weight, epochs), strict=True):
        assert sorted(epoch_index[epoch_weight == 1]) == members.tolist()
        assert set(np.unique(epoch_weight)) <= {0, 1}


def test_shuffled_epochs_differ_and_follow_the_generator():
    index = Shuffled(2, 50).draw(rng(), np.ones(50, bool)).index
    assert (index[0] != index[1]).any()
    np.testing.assert_array_equal(index, Shuffled(2, 50).draw(rng(), np.ones(50, bool)).index)
    assert (index != Shuffled(2, 50).draw(rng(1), np.ones(50, bool)).index).any()


@settings(deadline=None)
@given(rows, st.integers(1, 12), st.integers(1, 9), st.integers(0, 99))
def test_cyclic_has_so_many_full_batches_and_goes_round_fairly(row, batch_size, steps, seed):
    index, weight = Cyclic(steps, batch_size).draw(rng(seed), row)
    members = np.flatnonzero(row)
    assert index.shape == weight.shape == (steps, batch_size) and (weight == 1).all()
    assert index.dtype == np.int32 and weight.dtype == np.float32
    flat = index.ravel()
    for start in range(0, flat.size, len(members)):
        cycle = flat[start : start + len(members)]
        assert len(set(cycle)) == len(cycle) and set(cycle) <= set(members)


def test_cyclic_of_nobody_is_padding():
    index, weight = Cyclic(3, 2).draw(rng(), np.zeros(5, bool))
    assert index.shape == (3, 2) and not index.any() and not weight.any()


@settings(deadline=None)
@given(rows, st.floats(0.01, 1), st.integers(1, 5), st.integers(0, 99))
def test_poisson_draws_members_at_most_once_a_step(row, rate, steps, seed):
    members = np.flatnonzero(row)
    poisson = Poisson(steps, rate, len(members))
    index, weight = poisson.draw(rng(seed), row)
    assert index.shape == weight.shape == (steps, poisson.width) and poisson.width % 8 == 0
    for step, real in zip(index, weight, strict=True):
        drawn = step[real == 1]
        assert len(set(drawn)) == len(drawn) and set(drawn) <= set(members)
        assert (np.diff(real) <= 0).all(), "real records come first"


def test_rate_one_is_everybody():
    index, weight = Poisson(3, 1.0, 5).draw(rng(), np.array([1, 0, 1, 1, 0, 1, 1], bool))
    for step, real in zip(index, weight, strict=True):
        assert sorted(step[real == 1]) == [0, 2, 3, 5, 6]


def test_poisson_is_an_independent_coin_for_every_record_and_step():
    steps, records, rate = 3000, 40, 0.1
    index, weight = Poisson(steps, rate, records).draw(rng(), np.ones(records, bool))
    seen = np.zeros((steps, records), bool)
    step, slot = np.nonzero(weight)
    seen[step, index[step, slot]] = True

    def plausible(hits: np.ndarray, probability: float) -> bool:
        return stats.binomtest(int(hits.sum()), hits.size, probability).pvalue > 1e-4

    assert plausible(seen, rate)
    each = seen.sum(axis=0)
    surprise = np.sum((each - steps * rate) ** 2) / (steps * rate * (1 - rate))
    assert 1e-4 < stats.chi2.cdf(surprise, records) < 1 - 1e-4
    assert plausible(seen[0::2] & seen[1::2], rate**2), "the same record in neighbouring steps"
    assert plausible(seen[:, 0::2] & seen[:, 1::2], rate**2), "two records in the same step"
    sizes = seen.sum(axis=1)
    spread = np.sum((sizes - records * rate) ** 2) / (records * rate * (1 - rate))
    assert 1e-4 < stats.chi2.cdf(spread, steps) < 1 - 1e-4


@pytest.mark.parametrize("mean", [1, 2, 5, 20, 100, 1000, 10_000])
@pytest.mark.parametrize("records", [10_000, 1_000_000])
def test_padding_is_outgrown_less_often_than_it_says(mean, records):
    poisson = Poisson(1, mean / records, records)
    assert stats.binom.sf(poisson.width, records, mean / records) <= OVERFLOW
    assert poisson.width <= mean + 12 * math.sqrt(mean) + 40
    assert Poisson(1, 1.0, records).width == records


def test_a_batch_that_outgrows_its_padding_is_an_error(monkeypatch):
    monkeypatch.setattr(sampling, "OVERFLOW", 0.999)
    with pytest.raises(RuntimeError, match="does not fit"):
        Poisson(1000, 0.1, 1000).draw(rng(), np.ones(1000, bool))


def test_plans_of_long_trainings_are_quick_and_small():
    start = time.process_time()
    plan = Poisson(3000, 256 / 50_000, 50_000).draw(rng(), np.arange(60_000) % 6 > 0)
    assert plan.index.nbytes + plan.weight.nbytes < 12e6
    plan = Shuffled(100, 256).draw(rng(), np.arange(60_000) % 6 > 0)
    assert plan.index.nbytes + plan.weight.nbytes < 41e6
    assert time.process_time() - start < 4
