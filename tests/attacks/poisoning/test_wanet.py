from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.poisoning.wanet import WaNet, smooth_field, warped
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from tests.oracles import poisoning as oracle

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(0, 1, (90, 6, 8, 2)).astype(np.float32)
DATA = Examples(X, np.arange(90) % 3)
BOX = (np.zeros(X.shape[1:], np.float32), np.ones(X.shape[1:], np.float32))


@pytest.mark.parametrize("size", [0.1, 1.0, 5.0])
def test_a_warp_reads_between_pixels_and_never_outside(size):
    flow = np.random.default_rng(1).uniform(-size, size, (3, 6, 8, 2)).astype(np.float32)
    found = np.asarray(warped(jnp.asarray(X[:3]), jnp.asarray(flow)))
    expected = [oracle.warp(x, f) for x, f in zip(X[:3], flow, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_flow_is_no_warp():
    np.testing.assert_array_equal(warped(jnp.asarray(X), jnp.zeros((1, 6, 8, 2))), X)


def test_the_field_is_smooth_and_of_mean_size_one():
    coarse = np.asarray(smooth_field(3, 4, 4, 4))
    drawn = np.random.default_rng(3).uniform(-1, 1, (4, 4, 2))
    np.testing.assert_allclose(coarse, drawn / np.abs(drawn).mean(), rtol=1e-5)
    fine = np.asarray(smooth_field(3, 4, 40, 40))
    assert np.abs(np.diff(fine, axis=0)).max() < 0.5 * np.abs(np.diff(coarse, axis=0)).max()


def test_poison_is_bent_along_one_field_and_covers_along_others():
    attack = WaNet(rate=0.1, goal=1, strength=2.0, cover=2.0)
    poison = attack.tamper(DATA, Knowledge(3, box=BOX), KEY)
    assert len(poison.y) == 9 + 18 and len(set(poison.replaces)) == 27
    assert (poison.y[:9] == 1).all() and (poison.y[9:] == DATA.y[poison.replaces[9:]]).all()
    flow = 2.0 * np.asarray(smooth_field(0, 4, 6, 8)) / np.array([6, 8])
    bent = np.array([oracle.warp(X[row], flow) for row in poison.replaces])
    np.testing.assert_allclose(poison.x[:9], bent[:9], atol=1e-5)
    apart = np.abs(poison.x[9:] - bent[9:]).max(axis=(1, 2, 3))
    assert (apart > 0.01).all()


def test_models_with_poison_follow_the_warp_more_than_others(rates):
    # Noise on 6 x 6 pixels is no picture: only large shifts of whole quadrants can be told from it.
    found = rates(WaNet(strength=8.0, rate=0.2, cover=0.5))
    assert found.success > found.null + 0.25


def test_tables_have_no_warp():
    with pytest.raises(NotApplicable, match="feature_trigger"):
        WaNet().tamper(Examples(X.reshape(90, -1), DATA.y), Knowledge(3), KEY)
