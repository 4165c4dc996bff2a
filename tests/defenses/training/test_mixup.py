from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.defenses.training.mixup import Mixed, Mixup, partners
from tests.defenses.training.recipes import RECIPE, batch_of

mix = jax.jit(Mixed())
pair = jax.jit(partners)


def weights_of(alpha, draws):
    """The blending weight of `draws` batches, read off two records at 0 and 1."""
    two = jax.tree.map(jnp.asarray, batch_of(2)._replace(x=np.array([[0.0], [1.0]], np.float32)))
    keys = jax.random.split(jax.random.key(5), draws)
    x = np.asarray(jax.jit(jax.vmap(lambda key: Mixed()(two, {"mixup": alpha}, key).x))(keys))[:, :, 0]
    swapped = x[:, 0] != 0
    return x[swapped, 1], swapped


def test_blends_are_convex_and_blend_records_and_targets_alike():
    batch = batch_of(6)
    mixed = mix(batch, {"mixup": 1.0}, jax.random.key(3))
    w = jax.random.beta(jax.random.split(jax.random.key(3))[0], 1.0, 1.0)
    partner = pair(batch.weight > 0, jax.random.split(jax.random.key(3))[1])
    np.testing.assert_allclose(mixed.x, w * batch.x + (1 - w) * batch.x[partner], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mixed.y, w * batch.y + (1 - w) * batch.y[partner], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mixed.y.sum(-1), 1.0, atol=1e-6)
    assert not np.allclose(mixed.x, batch.x)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=9, max_size=9), st.integers(0, 2**31 - 1))
def test_partners_shuffle_real_rows_among_themselves(real, seed):
    real = np.asarray(real)
    partner = np.asarray(pair(real, jax.random.key(seed)))
    assert sorted(partner) == list(range(9))
    assert real[partner[real]].all()
    np.testing.assert_array_equal(partner[~real], np.flatnonzero(~real))


def test_partners_are_uniform():
    real = jnp.array([True, False, True, True])
    drawn = jax.vmap(partners, (None, 0))(real, jax.random.split(jax.random.key(0), 6000))
    _, counts = np.unique(np.asarray(drawn), axis=0, return_counts=True)
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


def test_padding_stays_out_of_the_records():
    batch = batch_of(5, padding=3)
    mixed = mix(batch, {"mixup": 1.0}, jax.random.key(2))
    assert np.abs(mixed.x[:5]).max() <= np.abs(batch.x[:5]).max() + 1e-6
    np.testing.assert_allclose(mixed.x[5:], batch.x[5:], rtol=1e-6)
    np.testing.assert_array_equal(mixed.weight, batch.weight)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_weight_is_beta(alpha):
    weights, swapped = weights_of(alpha, 4000)
    assert abs(swapped.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    if alpha < 1:  # float32 rounds the tails onto 0 and 1; compare inside
        inside = (weights > 0.01) & (weights < 0.99)
        low, high = stats.beta.cdf([0.01, 0.99], alpha, alpha)
        assert (
            stats.kstest(weights[inside], lambda w: (stats.beta.cdf(w, alpha, alpha) - low) / (high - low)).pvalue
            > 1e-3
        )
    else:
        assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_mixing_after_dp_sgd_is_refused_and_before_it_is_marked():
    private = replace(RECIPE, dp_event=DPEvent(0.1, 1.0, 10))
    with pytest.raises(ConfigError, match="guarantee"):
        Mixup().on_recipe(private)
    assert Mixup().on_recipe(RECIPE).transforms[-1].mixes_records
