from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.ops.noise import gaussian


@pytest.mark.parametrize("seed", [0, 7, 2**31])
@pytest.mark.parametrize("count", [0, 1, 2, 61_086])
@pytest.mark.parametrize("jit", [True, False])
def test_it_is_jax_random_normal_to_the_last_bit(seed, count, jit):
    key = jax.random.fold_in(jax.random.key(seed), 3)
    draw = jax.jit(gaussian, static_argnums=1) if jit else gaussian
    np.testing.assert_array_equal(draw(key, count, 2.0), 2.0 * jax.random.normal(key, (count,)))


def test_a_scale_of_zero_is_no_noise():
    assert not np.any(gaussian(jax.random.key(0), 9, 0.0))
    assert not np.any(jax.jit(gaussian, static_argnums=1)(jax.random.key(0), 9, 0.0))


def test_many_keys_at_once_draw_what_each_draws():
    keys, scales = jax.random.split(jax.random.key(1), 3), jnp.array([0.0, 1.0, 3.0])
    together = jax.vmap(lambda key, scale: gaussian(key, 50, scale))(keys, scales)
    for row, key, scale in zip(together, keys, scales, strict=True):
        np.testing.assert_array_equal(row, gaussian(key, 50, scale))


def test_another_generator_draws_its_own_numbers():
    key = jax.random.key(0, impl="rbg")
    np.testing.assert_array_equal(gaussian(key, 20, 1.5), 1.5 * jax.random.normal(key, (20,)))
