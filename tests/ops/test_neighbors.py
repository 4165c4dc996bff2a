import numpy as np
import pytest

from privsec.ops import neighbors
from tests.oracles import cleaning

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("count", [40, 700])  # one part, and several
def test_the_nearest_of_all_others(count):
    x = RNG.normal(size=(count, 3)) + 100
    distance, row = neighbors.nearest(x, None, 4)
    every = np.linalg.norm(x[:, None] - x, axis=-1)
    np.fill_diagonal(every, np.inf)
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :4], rtol=1e-9)
    np.testing.assert_array_equal(row, np.argsort(every, axis=1)[:, :4])


def test_copies_are_at_distance_zero_and_not_oneself():
    x = np.repeat(1e3 * RNG.normal(size=(5, 8)), 2, axis=0)
    distance, row = neighbors.nearest(x, None, 1)
    assert (distance == 0).all()
    assert row.ravel().tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]


def test_fewer_than_k_are_all():
    assert neighbors.nearest(np.zeros((3, 2)), None, 9)[0].shape == (3, 2)
    assert neighbors.nearest(np.zeros((3, 2)), np.ones((1, 2)), 9)[1].tolist() == [[0], [0], [0]]
    assert neighbors.nearest(np.zeros((1, 2)), None, 1)[0].shape == (1, 0)


def test_pairs_within_a_radius_and_who_stands_for_whom():
    x = RNG.uniform(size=(600, 2))
    pairs = neighbors.pairs_within(x, 0.02)
    every = np.argwhere(np.triu(np.linalg.norm(x[:, None] - x, axis=-1) <= 0.02, 1))
    np.testing.assert_array_equal(pairs, every)
    assert len(pairs) > 50
    assert neighbors.first_of_their_kind(pairs, 600).tolist() == cleaning.groups(x, 0.02)


def test_the_typical_distance_of_two():
    assert neighbors.typical_distance(np.array([[0.0], [3.0]]), RNG) == 3
    assert neighbors.typical_distance(np.array([[0.0]]), RNG) == 0


def test_groups_in_conflict():
    found = neighbors.in_conflict(np.array([0, 1, 0, 3, 1]), np.array([5, 6, 5, 0, 7]))
    assert found.tolist() == [False, True, False, False, True]
