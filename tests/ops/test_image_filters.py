import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from privsec.ops.image_filters import LUMINANCE, jpeg, median, on_grid, steps_of, straight_through
from tests.oracles import defended

RNG = np.random.default_rng(0)


def smooth(count, rows, columns, channels):
    """Random images with structure, as real ones have."""
    noise = RNG.normal(size=(count, rows, columns, channels))
    images = scipy.ndimage.gaussian_filter(noise, (0, 2, 2, 0))
    return (0.5 + images / (4 * images.std())).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize(("shape", "quality"), [((8, 8, 1), 75), ((13, 17, 3), 20), ((6, 6, 1), 90)])
def test_jpeg_quantizes_every_block_of_every_channel(shape, quality):
    images = smooth(3, *shape)
    expected = np.stack([defended.jpeg(image, steps_of(quality)) for image in images])
    found = np.asarray(jpeg(images, quality))
    # A coefficient that lies on a boundary of two steps may go either way in float32.
    assert np.mean(np.abs(found - expected) > 1e-4) < 0.02


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_is_what_a_real_encoder_does_to_gray_images(quality):
    image = np.round(smooth(1, 32, 24, 1)[0] * 255) / 255
    file = io.BytesIO()
    Image.fromarray((image[..., 0] * 255).astype(np.uint8)).save(file, "jpeg", quality=quality)
    real = np.asarray(Image.open(file), np.float64) / 255
    ours = np.asarray(jpeg(image[None].astype(np.float32), quality))[0, ..., 0]
    # Its integer arithmetic and its rounding to bytes; now and then a coefficient falls on the other side.
    assert np.mean(np.abs(ours - real) * 255 > 2) < 0.02


def test_steps_scale_with_the_quality():
    assert np.array_equal(steps_of(50), LUMINANCE)
    assert (steps_of(100) == 1).all()
    assert steps_of(1).max() == 255 and steps_of(25)[0, 0] == 32 and steps_of(75)[0, 0] == 8
    coarse, fine = (np.abs(np.asarray(jpeg(image := smooth(1, 16, 16, 1), q)) - image).mean() for q in (5, 95))
    assert coarse > 3 * fine


@pytest.mark.parametrize("size", [2, 3, 4])
def test_median_of_each_window(size):
    images = RNG.uniform(size=(2, 7, 5, 3)).astype(np.float32)
    expected = scipy.ndimage.median_filter(images, size=(1, size, size, 1), mode="reflect")
    np.testing.assert_array_equal(median(images, size), expected)


def test_a_grid_holds_its_ends_and_is_nowhere_further_than_half_a_step():
    x = jnp.linspace(-0.5, 1.5, 301)
    rounded = on_grid(x, 5)
    assert set(np.unique(on_grid(x[(x >= 0) & (x <= 1)], 5))) == {0, 0.25, 0.5, 0.75, 1}
    assert float(jnp.max(jnp.abs(rounded - x))) <= 0.125 + 1e-6


def test_straight_through_keeps_the_value_and_passes_the_gradient():
    x, weight = jnp.array([0.2, 0.7]), jnp.array([2.0, -3.0])
    passed = straight_through(lambda x: on_grid(x, 3))
    value, gradient = jax.value_and_grad(lambda x: jnp.sum(weight * passed(x) ** 2))(x)
    assert float(value) == -0.75
    # The outer derivative is taken at the changed point.
    np.testing.assert_allclose(gradient, 2 * weight * jnp.array([0.0, 0.5]))
    assert not jax.grad(lambda x: jnp.sum(on_grid(x, 3)))(x).any()
