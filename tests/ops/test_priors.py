from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.ops.priors import mean_square, total_variation
from tests.oracles import inversion as oracle

IMAGES = arrays(np.float32, (3, 4, 2), elements=st.floats(-2, 2, width=32))


@settings(max_examples=25, deadline=None)
@given(IMAGES, st.floats(-3, 3), st.floats(-3, 3))
def test_total_variation_is_the_oracles_and_ignores_brightness_but_not_contrast(image, contrast, brightness):
    expected = oracle.total_variation(image)
    np.testing.assert_allclose(total_variation(jnp.asarray(image)), expected, rtol=1e-5, atol=1e-6)
    moved = total_variation(jnp.asarray(contrast * image + brightness))
    np.testing.assert_allclose(moved, abs(contrast) * expected, rtol=1e-4, atol=1e-5)


def test_total_variation_is_of_each_image_and_means_the_same_at_twice_the_resolution_of_noise():
    batch = np.random.default_rng(0).random((3, 6, 5, 2), np.float32)
    np.testing.assert_allclose(total_variation(batch), [oracle.total_variation(image) for image in batch], rtol=1e-5)
    coarse, fine = (np.random.default_rng(1).random((1, n, n, 1), np.float32) for n in (64, 128))
    np.testing.assert_allclose(total_variation(coarse), total_variation(fine), rtol=0.03)


def test_the_gradient_is_zero_and_finite_where_neighbors_agree():
    flat = jnp.full((4, 4, 1), 0.3)
    assert not jnp.any(jax.grad(total_variation)(flat))


def test_mean_square_of_images():
    images = np.random.default_rng(2).random((3, 4, 4, 2), np.float32)
    np.testing.assert_allclose(mean_square(jnp.asarray(images)), np.mean(images**2, axis=(1, 2, 3)), rtol=1e-6)
