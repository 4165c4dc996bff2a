import numpy as np
import pytest

from privsec.core import keys
from privsec.defenses.data.knn_sanitization import KNNSanitization, neighbor_votes, strongest_other
from tests.defenses.data.poisoned import accuracy, backdoored, clean, mislabeled
from tests.oracles import cleaning

RNG = np.random.default_rng(0)


def test_votes_are_those_of_the_loops():
    x, y = RNG.normal(size=(50, 3)), RNG.integers(0, 3, 50)
    y[0] = 2
    np.testing.assert_allclose(neighbor_votes(x, y, 7), cleaning.neighbor_shares(x, y, 7, 3))


def test_the_strongest_other_label():
    share, label = strongest_other(np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [1.0, 0, 0]]), np.array([1, 0, 0]))
    assert share.tolist() == [0.3, 0.5, 0] and label[:2].tolist() == [2, 1]
    assert strongest_other(np.ones((3, 1)), np.zeros(3, int))[0].tolist() == [0, 0, 0]  # there is no other class


@pytest.mark.parametrize("space", ["input", "representation"])
def test_it_finds_wrong_labels(space):
    world = mislabeled(0.1)
    detected, left_out, spared = world.found(world.cleaned(KNNSanitization(space=space)))
    assert detected > 0.95 and left_out > 0.9
    assert spared < 0.03


def test_relabeling_brings_most_labels_back():
    world, truth = mislabeled(0.2), clean().data.y
    made = world.cleaned(KNNSanitization(action="relabel"))
    assert made.kept.all() and made.y.dtype == np.int32
    assert np.mean(world.data.y == truth) == 0.8
    assert np.mean(made.y == truth) > 0.95
    before, after = (accuracy(world.fit(y, made.kept, keys.root(3))) for y in (world.data.y, made.y))
    assert after > before


def test_patched_records_stand_out_among_those_they_are_said_to_be():
    world = backdoored(0.01)
    assert world.found(world.cleaned(KNNSanitization()))[1] > 0.5


def test_little_of_clean_data_goes():
    assert np.mean(~clean().cleaned(KNNSanitization()).kept) < 0.03


def test_one_record_has_no_neighbors():
    world = clean()
    one = world._replace(data=world.data.take(np.arange(1)))
    assert one.cleaned(KNNSanitization()).kept.all()
