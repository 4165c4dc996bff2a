import numpy as np
import pytest

from privsec.defenses.data.outlier_removal import OutlierRemoval, distances
from tests.defenses.data.poisoned import backdoored, mislabeled

RNG = np.random.default_rng(0)
MEASURES = ["sphere", "slab", "neighbors"]
SPACES = ["input", "representation"]


def test_distances_by_hand():
    known, known_y = np.array([[0.0, 0], [0, 2], [10, 1]]), np.array([0, 0, 1])
    x, y = np.array([[3.0, 1], [0, 5], [10, 1]]), np.array([0, 0, 1])
    assert distances(x, y, known, known_y, "sphere").tolist() == [3, 4, 0]
    assert distances(x, y, known, known_y, "slab").tolist() == [3, 0, 0]
    np.testing.assert_allclose(distances(x, y, known, known_y, "neighbors", 1), [np.sqrt(10), 3, 0])
    np.testing.assert_allclose(distances(x, y, known, known_y, "neighbors", 9), [np.sqrt(10), 5, 0])


@pytest.mark.parametrize("measure", MEASURES)
def test_a_class_of_which_nothing_is_known_is_measured_by_itself(measure):
    x, y = RNG.normal(size=(50, 3)), np.zeros(50, int)
    x[7] = 20
    far = distances(x, y, np.zeros((0, 3)), np.zeros(0, int), measure)
    assert np.argmax(far) == 7
    assert np.isfinite(distances(x[:1], y[:1], x[:0], y[:0], measure)).all()


@pytest.mark.parametrize(("measure", "space"), [*((m, "input") for m in MEASURES), ("sphere", "representation")])
def test_it_finds_patched_records(measure, space):
    """What is said to be a 7 and is none is far from the defender's own sevens."""
    world = backdoored(0.01)
    detected, left_out, spared = world.found(world.cleaned(OutlierRemoval(measure=measure, space=space)))
    assert detected > 0.9 and left_out > 0.9
    assert spared < 0.1


@pytest.mark.parametrize("space", SPACES)
def test_it_finds_wrong_labels(space):
    world = mislabeled(0.1)
    detected, left_out, spared = world.found(world.cleaned(OutlierRemoval(space=space)))
    assert detected > 0.9 and left_out > 0.75
    assert spared < 0.04


def test_centers_are_of_records_that_nobody_tampered_with():
    """A class of which a third is poison pulls its own center along, and its own neighbors are poison."""
    x, known, y = RNG.normal(size=(90, 2)), RNG.normal(size=(90, 2)), np.zeros(90, int)
    x[:30] += [6, 0]
    for measure in ("sphere", "neighbors"):
        assert np.argsort(-distances(x, y, known, y, measure))[:28].max() < 30
        unaided = distances(x, y, known[:0], y[:0], measure)
        assert np.mean(np.argsort(-unaided)[:30] < 30) < 0.9
