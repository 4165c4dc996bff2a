import jax
import jax.numpy as jnp
import numpy as np
import optax

from privsec.defenses.training.weight_decay import WeightDecay
from tests.defenses.training.recipes import MODEL, RECIPE, batch_of


def step(recipe, params, batch):
    gradient = recipe.gradient(MODEL, recipe.loss, params, batch, recipe.rates, jax.random.key(0))
    optimizer = recipe.optimizer(recipe.rates)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return optax.apply_updates(params, updates)


def test_one_step_descends_the_penalized_loss():
    params, batch, strength = MODEL.init(jax.random.key(1)), batch_of(8), 0.3

    def penalized(params):
        penalty = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return jnp.mean(RECIPE.loss(MODEL.apply(params, batch.x), batch.y)) + strength / 2 * penalty

    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(penalized)(params))
    after = step(WeightDecay(strength=strength).on_recipe(RECIPE), params, batch)
    for leaf, wanted in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, wanted, rtol=1e-5, atol=1e-6)


def test_the_gradient_that_dp_sgd_clips_is_left_alone():
    assert WeightDecay().on_recipe(RECIPE).gradient is RECIPE.gradient


def test_more_decay_leaves_smaller_weights():
    norms = []
    for strength in (0.0, 0.01, 0.1, 1.0):
        recipe, params = WeightDecay(strength=strength).on_recipe(RECIPE), MODEL.init(jax.random.key(1))
        advance = jax.jit(lambda params, recipe=recipe: step(recipe, params, batch_of(8)))
        for _ in range(200):
            params = advance(params)
        norms.append(float(optax.tree.norm(params)))
    assert norms == sorted(norms, reverse=True) and norms[-1] < 0.5 * norms[0]
