import numpy as np
import pytest

from privsec.defenses.data.spectral_signatures import spectral_scores
from privsec.defenses.data.spectre import Spectre, entropy_scores, spectre_scores
from privsec.measures.poisoning import detected
from tests.defenses.data.poisoned import backdoored
from tests.oracles import cleaning

SEEDS = range(4)
ONE_CLASS = np.zeros(400, int)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 4.0])
def test_scores_are_those_of_the_matrix_exponential(alpha):
    x = np.random.default_rng(0).normal(size=(60, 5)) * [2, 1.5, 1, 1, 0.5] + 0.3
    np.testing.assert_allclose(entropy_scores(x, alpha), cleaning.quantum_entropy(x, alpha), rtol=1e-9)


def hidden(seed, poison=40, shift=6.0):
    """A class that varies most where the poison is not; the poison is shifted where the class hardly varies."""
    rng = np.random.default_rng(seed)
    r = rng.normal(size=(400, 12)) * np.array([20, 10, 8, 6, *[1] * 8])
    who = np.arange(400) < poison
    r[who, 5] += shift
    return r @ np.linalg.qr(rng.normal(size=(12, 12)))[0], who


@pytest.mark.parametrize("seed", SEEDS)
def test_it_finds_what_the_class_s_own_spread_hides(seed):
    r, poison = hidden(seed)
    scores, plain = spectre_scores(r, ONE_CLASS, 0.15), spectral_scores(r, ONE_CLASS)
    assert detected(scores[poison], scores[~poison]) > 0.9
    assert detected(plain[poison], plain[~poison]) < 0.2


def test_of_poison_like_the_rest_it_finds_as_much_as_of_the_rest():
    found = []
    for seed in range(40):
        r, who = hidden(seed, shift=0.0)
        scores = spectre_scores(r, ONE_CLASS, 0.15)
        found.append(detected(scores[who], scores[~who]))
    assert abs(np.mean(found) - 0.05) < 3 * np.std(found) / np.sqrt(len(found))


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_do_not_hang_on_the_axes_the_records_are_written_in(seed):
    r, _ = hidden(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(12, 12)))[0]
    np.testing.assert_allclose(
        spectre_scores(7 * r @ turn + 3, ONE_CLASS, 0.15), spectre_scores(r, ONE_CLASS, 0.15), rtol=1e-6
    )


def test_records_that_are_all_the_same_are_not_suspicious():
    assert not spectre_scores(np.ones((9, 3)), np.zeros(9, int), 0.2).any()
    assert np.isfinite(spectre_scores(np.eye(3)[[0, 1, 1]], np.zeros(3, int), 0.3)).all()


def test_it_finds_a_backdoor_from_one_class():
    world = backdoored(0.02, source=4)
    found, left_out, spared = world.found(world.cleaned(Spectre()))
    assert found > 0.8 and left_out > 0.75
    assert spared < 0.15
