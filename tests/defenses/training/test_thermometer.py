import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch
from privsec.defenses.training.ensemble import Ensemble
from privsec.defenses.training.thermometer import READOUT, Thermometer, code, ramped_code
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.ops.clip import clipped_sum
from privsec.ops.image_filters import on_grid
from privsec.training.gradients import cross_entropy
from tests.defenses.training.recipes import RECIPE

MODEL = model_of(MLP(hidden=(8,)), (5,), 3)
MADE = Thermometer(levels=4).on_model(MODEL)
PARAMS = MADE.init(jax.random.key(0))
X = jax.random.uniform(jax.random.key(1), (16, 5))


def test_it_starts_as_rounding():
    rounded = jax.jit(MODEL.apply)(PARAMS["inner"], on_grid(X, 4))
    np.testing.assert_allclose(jax.jit(MADE.apply)(PARAMS, X), rounded, rtol=1e-4, atol=1e-5)


def test_a_code_is_a_thermometer():
    bits = np.asarray(code(jnp.linspace(-0.2, 1.2, 60), 5))
    assert bits.shape == (60, 4) and set(np.unique(bits)) == {0, 1}
    assert (np.diff(bits, axis=1) <= 0).all()  # filled from below
    assert (np.diff(bits, axis=0) >= 0).all()  # rises with the feature


def test_the_adapted_gradient_is_the_slope_between_neighboring_levels():
    weights = jnp.array([3.0, -1.0, 2.0])
    x = jnp.array([-0.3, 0.1, 0.5, 0.9, 1.2])

    def read(encode, x):
        return jnp.sum(encode(x, 4) @ weights)

    # Read-outs at levels 0, 1/3, 2/3, 1 differ by the weights.
    np.testing.assert_allclose(jax.grad(functools.partial(read, ramped_code))(x), [9, 9, -3, 6, 6], rtol=1e-6)
    assert not jax.grad(functools.partial(read, code))(x).any()
    np.testing.assert_array_equal(ramped_code(x, 4), code(x, 4))


def test_the_adapted_model_decides_alike_and_has_a_gradient():
    @jax.jit
    def seen(x):
        return [
            (model.apply(PARAMS, x), jax.grad(lambda x, m=model: jnp.sum(m.apply(PARAMS, x)[:, 0]))(x))
            for model in (MADE, MADE.adapted)
        ]

    (logits, hidden), (same, gradient) = seen(X)
    np.testing.assert_array_equal(logits, same)
    assert not hidden.any() and gradient.any(axis=1).all()


def test_every_parameter_is_clipped_once():
    """The read-out is one more layer: clipping by layers gives what clipping whole gradients gives."""
    y = jax.nn.one_hot(jnp.arange(16) % 3, 3)
    batch = Batch(X, y, jnp.ones(16))
    whole = replace(MADE, tapped=None, layers=())
    clipped = jax.jit(clipped_sum, static_argnums=(0, 1))
    by_layers, norms = clipped(MADE, cross_entropy, PARAMS, batch, 0.5)
    by_records, same = clipped(whole, cross_entropy, PARAMS, batch, 0.5)
    np.testing.assert_allclose(norms, same, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), by_layers, by_records)
    assert by_layers[READOUT]["kernel"].any()


def test_no_levels_is_no_thermometer():
    assert Thermometer(levels=None).on_model(MODEL) is MODEL
    assert Thermometer(levels=4).on_model(MODEL) is MADE


def test_it_comes_before_an_ensemble_of_such_models():
    thermometer, ensemble = Thermometer(levels=4), Ensemble(members=2)
    assert ensemble.on_recipe(thermometer.on_recipe(RECIPE)) == ensemble.on_recipe(RECIPE)
    with pytest.raises(ConfigError, match="Write the thermometer before"):
        thermometer.on_recipe(ensemble.on_recipe(RECIPE))
