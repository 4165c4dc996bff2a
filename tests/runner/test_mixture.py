"""Whatever an attacker hands over, every model gets as many records as it should, and its twin the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.attack import Poison
from privsec.core.data import Examples
from privsec.core.errors import PrivsecError
from privsec.runner.mixture import mixed

N, M, SIZE = 20, 6, 10


def include_of(seed):
    rng = np.random.default_rng(seed)
    halves = rng.permuted(np.tile(np.arange(N) % 2 == 0, (M // 2, 1)), axis=1)
    return np.stack([halves, ~halves], axis=1).reshape(M, N)


DATA = Examples(np.arange(N, dtype=np.float32)[:, None], np.zeros(N, np.int32))


@st.composite
def poisons(draw):
    """Records that take places, each place once a pair, for all pairs or for one, and others that are added."""
    rows = draw(st.lists(st.integers(0, N - 1), unique=True, max_size=8))
    pairs = draw(st.lists(st.integers(-1, M // 2 - 1), min_size=len(rows), max_size=len(rows)))
    added = draw(st.integers(0, 5))
    replaces = np.array([*rows, *[-1] * added], np.int32)
    pair = np.array([*pairs, *[-1] * added], np.int32)
    x = 100 + np.arange(len(replaces), dtype=np.float32)[:, None]
    counts = draw(st.booleans()) or added > 0
    return Poison.of(x, np.ones(len(replaces)), replaces, pair, counts), added


@given(poisons(), st.integers(0, 99))
def test_every_model_gets_its_records_or_the_poison_in_their_place(drawn, seed):
    poison, added = drawn
    include = include_of(seed)
    mixture = mixed(DATA, include, poison, SIZE + added)
    assert (mixture.include.sum(axis=1) == SIZE + added).all()
    assert mixture.poisoned.sum() == len(poison.y) and not mixture.poisoned[:N].any()
    assert mixture.untouched == bool(poison.counts.all())
    for m in range(M):
        expected = {float(n): n for n in np.flatnonzero(include[m])}
        for a, (row, pair) in enumerate(zip(poison.replaces, poison.pair, strict=True)):
            if pair in (-1, m // 2) and row >= 0 and include[m, row]:
                del expected[float(row)]
                expected[100.0 + a] = a
            elif row < 0:
                expected[100.0 + a] = a
        got = mixture.data.x[mixture.include[m], 0]
        assert sorted(got) == sorted(expected)
        cleaned = mixture.cleaned(m)
        np.testing.assert_array_equal(cleaned.kept, mixture.include[m] & mixture.counts)


@given(poisons(), st.integers(0, 99))
def test_a_pair_has_each_candidate_or_what_took_its_place_exactly_once(drawn, seed):
    poison, added = drawn
    mixture = mixed(DATA, include_of(seed), poison, SIZE + added)
    for p in range(M // 2):
        together = mixture.include[2 * p].astype(int) + mixture.include[2 * p + 1]
        for row in range(N):
            took = (poison.replaces == row) & ((poison.pair == -1) | (poison.pair == p))
            assert together[row] + together[N:][took].sum() == 1
        assert (together[N:][poison.replaces < 0] == 2).all()
        foreign = (poison.pair != -1) & (poison.pair != p)
        assert not together[N:][foreign].any()


def test_without_poison_all_stays_as_it_is():
    include = include_of(0)
    mixture = mixed(DATA, include, None, SIZE)
    assert mixture.data is DATA and mixture.include is include and mixture.untouched and not mixture.poisoned.any()


@pytest.mark.parametrize(
    ("x", "replaces", "records", "reason"),
    [
        (np.zeros((1, 2)), [0], SIZE, "shape"),
        (np.zeros((1, 1)), [N], SIZE, "does not exist"),
        (np.zeros((1, 1)), [-1], SIZE, "not 10"),
    ],
)
def test_poison_that_does_not_fit_is_refused(x, replaces, records, reason):
    with pytest.raises(PrivsecError, match=reason):
        mixed(DATA, include_of(0), Poison.of(x, np.zeros(1), np.array(replaces)), records)


@given(poisons(), st.integers(0, 99))
def test_changes_are_those_of_the_counted_records(drawn, seed):
    """Every added record is one, a replaced one two, and one that is only left out one."""
    poison, added = drawn
    clean, mixture = (mixed(DATA, include_of(seed), p, SIZE + (added if p else 0)) for p in (None, poison))
    given = mixture.include[:, N:] & (poison.replaces >= 0)
    expected = added + (2 if poison.counts.all() else 1) * given.sum(axis=1)
    np.testing.assert_array_equal(mixture.changes(clean), expected)
    np.testing.assert_array_equal(clean.changes(mixture), expected)
    assert not clean.changes(clean).any() and not mixture.changes(mixture).any()


def test_a_relabeled_record_is_one_change_and_an_equal_one_none():
    rows = np.array([2, 3, 5])
    clean = mixed(DATA, np.ones((1, N), bool), None, N)
    x = np.concatenate([DATA.x[[2, 3]], [[5.5]]]).astype(np.float32)
    flipped = mixed(DATA, np.ones((1, N), bool), Poison.of(x, np.array([1, 0, 0]), rows), N)
    assert flipped.changes(clean).tolist() == [1 + 0 + 2]
    left_out = mixed(DATA, np.ones((1, N), bool), Poison.of(DATA.x[rows], DATA.y[rows], rows, counts=False), N)
    assert flipped.changes(left_out).tolist() == [1 + 1 + 1]
