import numpy as np
import pytest

from privsec.ops.robust import trimmed, whitened


@pytest.mark.parametrize("seed", range(3))
def test_a_few_records_far_out_do_not_move_the_bulk(seed):
    rng = np.random.default_rng(seed)
    shape = np.array([[4.0, 1.0], [1.0, 2.0]])
    x = rng.multivariate_normal([1, -2], shape, 2000)
    x[:150] = rng.normal([30, 30], 1, (150, 2))
    mean, covariance = trimmed(x, 0.15)
    np.testing.assert_allclose(mean, [1, -2], atol=0.25)
    np.testing.assert_allclose(covariance, shape, atol=0.6)
    assert np.linalg.norm(np.cov(x.T) - shape) > 20


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_what_is_trimmed_of_normal_records_does_not_shrink_them(share):
    x = np.random.default_rng(0).normal(size=(5000, 4)) * 3
    np.testing.assert_allclose(trimmed(x, share)[1], 9 * np.eye(4), atol=1.0)


def test_whitened_records_vary_alike():
    x = np.random.default_rng(0).normal(size=(300, 3)) @ np.array([[5.0, 1, 0], [0, 2, 1], [0, 0, 0.1]])
    white = whitened(x, x.mean(axis=0), np.cov(x.T, bias=True))
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(3), atol=1e-8)
