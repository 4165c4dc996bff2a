from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.ops import augment

KEY = jax.random.key(3)


def images(rng, side=9):
    return rng.random((5, side, side, 2)).astype(np.float32)


def by_pixel(image, mirrored, down, right):
    """One image, pixel by pixel: reflection about the border pixel."""
    if mirrored:
        image = image[:, ::-1]

    def inside(i, size):
        return abs(i) if i < size else 2 * (size - 1) - i

    height, width = image.shape[:2]
    return np.array(
        [[image[inside(i - down, height), inside(j - right, width)] for j in range(width)] for i in range(height)]
    )


@pytest.mark.parametrize("number", range(augment.QUERIES))
def test_views_of_images_are_mirrored_and_shifted_with_reflection(number):
    x = images(np.random.default_rng(0))
    expected = np.array([by_pixel(image, *augment.SHIFTS[number]) for image in x])
    np.testing.assert_array_equal(np.asarray(augment.view(x, number, KEY)), expected)


def test_there_are_eighteen_different_views_and_the_first_is_the_record():
    x = images(np.random.default_rng(1))
    assert augment.view(x, 0, KEY) is x
    assert len(augment.SHIFTS) == augment.QUERIES == 18
    assert len({np.asarray(augment.view(x, number, KEY)).tobytes() for number in range(18)}) == 18
    for number in (-1, 18):
        with pytest.raises(ValueError, match="views 0 to 17"):
            augment.view(x, number, KEY)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_small_image_is_shifted_by_less_than_its_side(side):
    x = images(np.random.default_rng(2), side)
    for number in range(18):
        seen = np.asarray(augment.view(x, number, KEY))
        assert seen.shape == x.shape and np.isin(seen, x).all()


@pytest.mark.parametrize("width", [1, 30, 446])
def test_a_few_bits_of_each_record_are_flipped(width):
    x = np.random.default_rng(0).integers(0, 2, (40, width)).astype(np.float32)
    x[0], x[1] = 0, 1  # no column is constant
    seen = np.asarray(augment.view(x, 1, KEY))
    assert set(np.unique(seen)) <= {0.0, 1.0}
    assert (np.abs(seen - x).sum(axis=1) == max(round(augment.FLIPS * width), 1)).all()


def test_numbers_get_noise_in_proportion_to_their_column_and_constants_none():
    rng = np.random.default_rng(4)
    columns = [10 * rng.normal(size=4000), rng.normal(size=4000), np.full(4000, 7.0), rng.integers(0, 2, 4000)]
    x = np.stack(columns, axis=1).astype(np.float32)
    seen = np.asarray(augment.view(x, 2, KEY))
    noise = (seen - x)[:, :2] / x[:, :2].std(axis=0)
    np.testing.assert_allclose(noise.std(axis=0), augment.NOISE, rtol=0.05)
    assert (seen[:, 2] == 7.0).all() and (np.abs(seen - x)[:, 3] == 1.0).all()


def test_a_view_hangs_on_its_key_and_number_alone():
    x = np.random.default_rng(5).normal(size=(10, 3)).astype(np.float32)
    asked = ((1, KEY), (1, KEY), (1, jax.random.key(4)), (2, KEY))
    one, same, other, next_one = (np.asarray(augment.view(x, number, key)) for number, key in asked)
    np.testing.assert_array_equal(one, same)
    assert (one != other).all() and (one != next_one).all()
