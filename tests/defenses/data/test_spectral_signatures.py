import numpy as np
import pytest

from privsec.defenses.data.spectral_signatures import SpectralSignatures, spectral_scores
from tests.defenses.data.poisoned import backdoored
from tests.oracles import cleaning

RNG = np.random.default_rng(0)


def test_scores_are_those_of_power_iteration():
    r, y = RNG.normal(size=(40, 6)) * [3, 2, 1, 1, 1, 1] + 4, RNG.integers(0, 3, 40)
    np.testing.assert_allclose(spectral_scores(r, y), cleaning.spectral(r, y), rtol=1e-6, atol=1e-9)


def planted(seed):
    """A class far from the origin, as after a rectifier; a tenth of it is shifted across."""
    rng = np.random.default_rng(seed)
    r = rng.normal(size=(500, 20)) + 10 * np.eye(20)[0]
    poison = np.arange(500) < 50
    r[poison] += 8 * np.eye(20)[1]
    return r, poison


@pytest.mark.parametrize("seed", range(3))
def test_centered_scores_find_what_uncentered_ones_miss(seed):
    """The mean is the direction of most squares where nothing is subtracted, and says nothing of poison."""
    r, poison = planted(seed)
    worst = np.argsort(-spectral_scores(r, np.zeros(500, int)))[:75]
    assert poison[worst].sum() == 50
    uncentered = (r @ np.linalg.svd(r, full_matrices=False)[2][0]) ** 2
    assert poison[np.argsort(-uncentered)[:75]].sum() < 25


def test_it_finds_a_backdoor_from_one_class():
    found, left_out, spared = (np.mean(v) for v in zip(*(seen(seed) for seed in (0, 1)), strict=True))
    assert found > 0.8 and left_out > 0.75
    assert spared < 0.15


def seen(seed):
    world = backdoored(0.02, seed, source=4)
    return world.found(world.cleaned(SpectralSignatures(), seed))
