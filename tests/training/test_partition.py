from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privsec.training import partition


def records(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 2, 3)).astype(np.float32), rng.integers(0, 3, count).astype(np.int32)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 99))
def test_every_record_among_them_is_in_one_part_wherever_it_stands(count, partitions, seed):
    x, y = records(count, seed)
    rng = np.random.default_rng(seed)
    among, order = rng.random(count) < 0.7, rng.permutation(count)
    made = partition.parts(x, y, among, partitions)
    assert len(made) == partitions and sorted(np.concatenate(made)) == np.flatnonzero(among).tolist()
    moved = partition.parts(x[order], y[order], among[order], partitions)
    for one, other in zip(made, moved, strict=True):
        np.testing.assert_array_equal(x[one], x[order][other])
        np.testing.assert_array_equal(y[one], y[order][other])


def test_labels_and_other_records_do_not_move_a_record():
    x, y = records(50)
    before = partition.parts(x, y, np.ones(50, bool), 7)
    after = partition.parts(x, (y + 1) % 3, np.ones(50, bool), 7)
    fewer = partition.parts(x, y, np.arange(50) > 0, 7)
    for one, other, less in zip(before, after, fewer, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one[one > 0], less)


def test_equal_records_are_together_and_parts_are_about_equally_large():
    x, _ = records(6000)
    hashed = partition.digests(np.concatenate([x, x[:5]]))
    assert hashed[:5] == hashed[6000:] and len(set(hashed)) == 6000
    sizes = np.bincount(partition.part_of(hashed[:6000], 10), minlength=10)
    assert stats.chisquare(sizes).pvalue > 1e-4
