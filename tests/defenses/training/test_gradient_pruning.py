from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.attacks.inversion.gradient_inversion import GradientInversion
from privsec.core.attack import Knowledge, Updates
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch
from privsec.core.target import Target
from privsec.defenses.training.adversarial_training import AdversarialTraining
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.gradient_pruning import GradientPruning, largest
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training.standard import Training
from tests.defenses.training.recipes import RECIPE

DISTINCT = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-9, 9, width=32))


@settings(max_examples=60, deadline=None)
@given(DISTINCT, st.floats(0, 0.99))
def test_the_smallest_share_is_zero_and_the_rest_is_as_it_was(values, share):
    values = values + 1e-3 * np.arange(values.size, dtype=np.float32).reshape(values.shape)
    kept = np.asarray(largest(jnp.asarray(values), share))
    gone = min(int(np.float32(share) * values.size), values.size - 1)
    order = np.argsort(np.abs(values), axis=None, kind="stable")
    assert np.count_nonzero(kept != values) <= gone
    np.testing.assert_array_equal(kept.ravel()[order[gone:]], values.ravel()[order[gone:]])
    smaller = order[:gone][np.abs(values.ravel()[order[:gone]]) < np.abs(values.ravel()[order[gone]])]
    assert not kept.ravel()[smaller].any()


def test_a_dense_first_layer_tells_all_until_hardly_anything_is_left():
    """The analytic attack reads the record off the unit with the largest gradient, the last to be pruned."""
    model = model_of(MLP(hidden=(32,)), (6, 6, 1), 4)
    params, x = model.init(jax.random.key(0)), np.random.default_rng(0).uniform(0.2, 1, (1, 6, 6, 1))
    batch = Batch(jnp.asarray(x, jnp.float32), jax.nn.one_hot(jnp.array([2]), 4), jnp.ones(1))
    errors = []
    for defense in (GradientPruning(share=0), GradientPruning(share=0.5), GradientPruning(share=0.99)):
        recipe = defense.on_recipe(Training(batch_size=1).recipe(4))
        gradient = recipe.gradient(model, recipe.loss, params, batch, recipe.rates, jax.random.key(1))
        seen = Updates(*(jax.tree.map(lambda leaf: leaf[None], part) for part in (gradient, params)), 1)
        seen = seen._replace(gradients=jax.tree.map(lambda leaf: leaf[:, None], seen.gradients))
        known = Knowledge(4, box=(np.float32(0), np.float32(1)), updates=seen)
        target = Target.of(model, jax.tree.map(lambda leaf: leaf[None], params), checkpoints=(params,))
        found = GradientInversion(method="analytic", targets=1).run(target, known, jax.random.key(2))
        errors.append(float(np.abs(np.asarray(found.x[0, 0]) - x[0]).mean()))
    assert max(errors[:2]) < 1e-4 and errors[2] > 0.1


def test_it_prunes_whatever_gradient_there_is_and_refuses_dp_sgd():
    pruned = GradientPruning().on_recipe(AdversarialTraining().on_recipe(Training(batch_size=10).recipe(40)))
    assert {"gradient_pruning", "adversarial_radius"} <= set(pruned.rates)
    private = DPSGD(noise_multiplier=1.0)
    plain = Training(batch_size=10, epochs=2).recipe(40)
    for first, then in ((private, GradientPruning()), (GradientPruning(), private)):
        with pytest.raises(ConfigError, match="Leave one of the two out"):
            then.on_recipe(first.on_recipe(plain))
    with pytest.raises(ConfigError, match="write one"):
        GradientPruning().on_recipe(pruned)
    assert GradientPruning(share=0).on_recipe(RECIPE) is RECIPE
