from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.errors import ConfigError
from privsec.core.spec import SpecError
from privsec.training.standard import Optimizer, Training


def steps_of(optimizer: Optimizer, steps: int) -> np.ndarray:
    """How far each of `steps` unit gradients moves a parameter."""
    transformation = optimizer({"learning_rate": 0.5})
    moved, state = [], transformation.init(jnp.zeros(()))
    for _ in range(steps):
        update, state = transformation.update(jnp.ones(()), state, jnp.zeros(()))
        moved.append(float(update))
    return np.array(moved)


def test_a_constant_schedule_is_constant():
    np.testing.assert_allclose(steps_of(Optimizer("sgd", 0.0, None), 4), -0.5)
    np.testing.assert_allclose(steps_of(Optimizer("adam", 0.0, None), 4), -0.5, rtol=1e-4)


def test_a_cosine_reaches_zero_at_the_end_and_half_in_the_middle():
    moved = steps_of(Optimizer("sgd", 0.0, 10), 12)
    np.testing.assert_allclose(moved[:11], -0.25 * (1 + np.cos(np.pi * np.arange(11) / 10)), atol=1e-6)
    np.testing.assert_allclose(moved[10:], 0, atol=1e-7)
    assert (np.diff(moved[:11]) > 0).all()


def test_momentum_adds_up():
    np.testing.assert_allclose(steps_of(Optimizer("sgd", 0.5, None), 3), [-0.5, -0.75, -0.875])


def test_a_recipe_counts_its_steps():
    recipe = Training(batch_size=8, epochs=3, learning_rate=0.2).recipe(20)
    assert (recipe.steps, recipe.records, recipe.batch_size, recipe.rates) == (9, 20, 8, {"learning_rate": 0.2})
    assert recipe.dp_event is None and recipe.patience is None


def test_a_batch_larger_than_the_training_set_is_an_error():
    with pytest.raises(ConfigError, match="batch_size is 100, more than the 20 records"):
        Training().recipe(20)


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": 0}, {"learning_rate": float("inf")}, {"momentum": 1}, {"batch_size": 0}, {"optimizer": "sdg"}],
    ids=str,
)
def test_impossible_values_are_errors(wrong):
    with pytest.raises(SpecError):
        Training(**wrong)


def test_recipes_that_differ_in_numbers_are_one_program():
    plain = Training().recipe(1000)
    assert plain.program == Training(learning_rate=0.5).recipe(1000).program
    assert hash(plain.program) == hash(Training(learning_rate=0.5).recipe(1000).program)
    for other in ({"epochs": 2}, {"batch_size": 7}, {"optimizer": "sgd"}, {"schedule": "cosine"}):
        assert Training(**other).recipe(1000).program != plain.program
    assert plain.with_rates(extra=1.0).program != plain.program
