from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.recipe import Batch
from privsec.defenses.training.trades import TRADES, TradesGradient, divergence
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training.gradients import cross_entropy, mean_gradient
from tests.defenses.training.recipes import RECIPE
from tests.oracles.training import log_softmax

SIZE, KEY = 9, jax.random.key(0)
MODEL = model_of(MLP(hidden=(5,), activation="tanh"), (2, 2, 1), 3)
PARAMS = jax.tree.map(lambda leaf: 3 * leaf, MODEL.init(KEY))
RNG = np.random.default_rng(0)
BATCH = Batch(
    jnp.asarray(RNG.random((SIZE, 2, 2, 1)), jnp.float32),
    jax.nn.one_hot(np.arange(SIZE) % 3, 3),
    jnp.asarray(np.arange(SIZE) < 7, jnp.float32),
)


def rates_of(beta, radius=0.2):
    return {"trades": beta, "trades_radius": radius, "trades_step": radius / 2}


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a, b)


def test_divergence_by_its_definition():
    logits, other = RNG.standard_normal((2, 6, 4)).astype(np.float32) * 3
    log_p, log_q = log_softmax(logits), log_softmax(other)
    expected = (np.exp(log_p) * (log_p - log_q)).sum(1)
    np.testing.assert_allclose(divergence(jnp.asarray(logits), jnp.asarray(other)), expected, rtol=1e-4)


def test_at_beta_zero_the_gradient_is_plain_and_the_defense_none():
    found = TradesGradient(2)(MODEL, cross_entropy, PARAMS, BATCH, rates_of(0.0), KEY)
    same(found, mean_gradient(MODEL, cross_entropy, PARAMS, BATCH, {}, KEY))
    assert TRADES(beta=0).on_recipe(RECIPE) is RECIPE


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_ascent_stays_in_ball_and_box_and_moves_the_answer(norm):
    gradient, rates = TradesGradient(4, norm), rates_of(6.0)
    found = gradient.farthest(MODEL, PARAMS, BATCH.x, rates, KEY)
    moved = np.asarray(found - BATCH.x).reshape(SIZE, -1)
    size = np.abs(moved).max(1) if norm == "linf" else np.linalg.norm(moved, axis=1)
    assert (size <= 0.2 + 1e-6).all() and (found >= 0).all() and (found <= 1).all()
    answer = MODEL.apply(PARAMS, BATCH.x)
    random = jnp.clip(BATCH.x + 0.2 * jax.random.uniform(KEY, BATCH.x.shape, minval=-1), 0, 1)
    apart, by_chance = (divergence(answer, MODEL.apply(PARAMS, x)).mean() for x in (found, random))
    assert apart > 2 * by_chance


def test_the_gradient_is_that_of_loss_and_divergence():
    gradient, rates = TradesGradient(2), rates_of(6.0)
    far = gradient.farthest(MODEL, PARAMS, BATCH.x, rates, KEY)

    def objective(params):
        log_p, log_q = (jax.nn.log_softmax(MODEL.apply(params, x)) for x in (BATCH.x, far))
        losses = -jnp.sum(BATCH.y * log_p, 1) + 6.0 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), 1)
        return jnp.mean(losses[:7])

    found = gradient(MODEL, cross_entropy, PARAMS, BATCH, rates, KEY)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), found, jax.grad(objective)(PARAMS))


def test_the_ascent_follows_the_adapted_model_where_the_model_hides_its_gradient():
    hiding = replace(MODEL, apply=lambda params, x: MODEL.apply(params, jax.lax.stop_gradient(x)), adapted=MODEL)
    found, expected = (TradesGradient(2).farthest(m, PARAMS, BATCH.x, rates_of(6.0), KEY) for m in (hiding, MODEL))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(np.asarray(found - BATCH.x)).max() > 0.1
