"""The decoder that serves as prior of natural records."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.inversion.generator import Generator
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable

KEY = jax.random.key(0)
UNIT = (jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1)))


def curve(count, seed=0):
    """Images on a curved sheet: smooth functions of two numbers."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, (2, count, 1))
    grid = np.linspace(0, 3, 16)
    x = 0.5 + 0.25 * np.sin(grid + 2 * a) * np.cos(grid * b)
    return Examples(x.reshape(count, 4, 4, 1).astype(np.float32), np.zeros(count, np.int32))


def error(decoder, x):
    return float(np.sqrt(np.mean((decoder(decoder.latents(x)) - x) ** 2)))


def test_records_in_a_plane_come_back_and_their_latents_have_covariance_one():
    rng = np.random.default_rng(0)
    flat = 0.5 + 0.1 * rng.normal(size=(60, 3)) @ rng.normal(size=(3, 16)) / 4
    x = np.clip(flat, 0, 1).reshape(-1, 4, 4, 1).astype(np.float32)
    decoder = Generator(latent=10, hidden=0).fitted(Examples(x, np.zeros(60, np.int32)), UNIT, KEY)
    assert decoder.components.shape == (3, 16)  # no more than the records support
    np.testing.assert_allclose(decoder(decoder.latents(x)), x, atol=1e-5)
    latents = np.asarray(decoder.latents(x))
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(latents.T, bias=True), np.eye(3), atol=1e-4)


def test_the_network_helps_where_records_are_curved_and_is_left_out_where_they_are_noise():
    records, unseen = curve(300), curve(100, seed=1).x
    plain, learned = (Generator(latent=2, hidden=width).fitted(records, UNIT, KEY) for width in (0, 64))
    assert error(learned, unseen) < 0.75 * error(plain, unseen)
    noise = np.random.default_rng(0).uniform(size=(40, 4, 4, 1)).astype(np.float32)
    overfitted = Generator(latent=4, hidden=64).fitted(Examples(noise, np.zeros(40, np.int32)), UNIT, KEY)
    assert not np.any(overfitted.network.outer)


def test_records_stay_in_the_box_and_the_gradient_does_not_end_there():
    decoder = Generator(latent=2, hidden=0).fitted(curve(50), (UNIT[0] + 0.45, UNIT[1] - 0.45), KEY)
    z = jnp.array([[40.0, -40.0]])
    x = np.asarray(decoder(z))
    assert np.all((x >= np.float32(0.45)) & (x <= np.float32(0.55)))
    slope = jax.grad(lambda z: jnp.sum(decoder(z) * decoder.components[0].reshape(4, 4, 1)))(z)
    np.testing.assert_allclose(slope[0, 0], np.sum(decoder.components[0] ** 2), rtol=1e-4)


def test_the_same_key_gives_the_same_decoder_and_too_few_records_none():
    one, other = (Generator(latent=2, hidden=8, steps=25).fitted(curve(30), UNIT, KEY) for _ in range(2))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))
    for records in (None, curve(1)):
        with pytest.raises(NotApplicable, match="larger data set"):
            Generator().fitted(records, UNIT, KEY)
    assert error(Generator(latent=1, hidden=8).fitted(curve(2), UNIT, KEY), curve(2).x) < 1e-5  # too few to hold out
