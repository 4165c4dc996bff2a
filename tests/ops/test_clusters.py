import numpy as np
import pytest

from privsec.ops.clusters import principal, silhouette, two_means
from tests.oracles import cleaning

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(5))
def test_no_two_clusters_are_much_better(seed):
    """Lloyd's steps end where one record more on the other side would not help; few records are never far from best."""
    x = np.random.default_rng(seed).normal(size=(11, 2))
    found, best = two_means(x, RNG), cleaning.best_halves(x)
    assert squares(x, found) <= 1.05 * squares(x, best)
    x[best] += 3
    np.testing.assert_array_equal(two_means(x, RNG), cleaning.best_halves(x))


def squares(x, side):
    return sum(np.sum((part - part.mean(axis=0)) ** 2) for part in (x[side], x[~side]))


def test_principal_axes_keep_the_distances_that_there_are():
    x = RNG.normal(size=(30, 3)) @ RNG.normal(size=(3, 8)) + 5
    reduced = principal(x, 10)
    assert reduced.shape == (30, 3)  # it varies in three directions only
    every = [np.linalg.norm(part[:, None] - part, axis=-1) for part in (x, reduced)]
    np.testing.assert_allclose(*every, atol=1e-9)
    np.testing.assert_allclose(np.diff(reduced.var(axis=0)) < 0, True)
    np.testing.assert_allclose(principal(x, 2, whiten=True).var(axis=0), 1)


def test_whitened_axes_have_the_distances_of_independent_components():
    from sklearn.decomposition import FastICA

    x = RNG.uniform(size=(300, 4)) @ RNG.normal(size=(4, 4))
    components = FastICA(4, whiten="unit-variance", random_state=0).fit_transform(x)
    every = [np.linalg.norm(part[:, None] - part, axis=-1) for part in (components, principal(x, 4, whiten=True))]
    np.testing.assert_allclose(*every, rtol=1e-6, atol=1e-6)


def test_silhouettes_are_those_of_the_loops():
    x, side = RNG.normal(size=(20, 3)), RNG.uniform(size=20) < 0.3
    assert silhouette(x, side, RNG) == pytest.approx(cleaning.silhouette(x, side))
    alone = np.arange(20) == 3
    assert silhouette(x, alone, RNG) == pytest.approx(cleaning.silhouette(x, alone))


def test_what_cannot_be_split():
    same = np.ones((6, 3))
    assert principal(same, 4).shape == (6, 0)
    for x in (same, same[:1], principal(same, 4)):
        assert not two_means(x, RNG).any()
        assert silhouette(x, np.zeros(len(x), bool), RNG) == 0
