from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch
from privsec.core.target import Target
from privsec.defenses.training.adversarial_training import AdversarialTraining
from privsec.defenses.training.anti_backdoor_learning import AntiBackdoorLearning, AnythingElse, Trapped
from privsec.defenses.training.distillation import Distillation
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training.gradients import cross_entropy, mean_gradient
from privsec.training.loop import train
from privsec.training.standard import Training

RECORDS, FEATURES, CLASSES = 600, 12, 4
MODEL = model_of(MLP(hidden=(16,)), (FEATURES,), CLASSES)
RECIPE = Training(learning_rate=0.01, batch_size=50, epochs=20).recipe(RECORDS)
DEFENSE = AntiBackdoorLearning()


def triggered(x):
    return np.concatenate([x[:, :-1], np.full((len(x), 1), 8.0, np.float32)], axis=1)


def records(count, poison, seed):
    """Classes that overlap, and a last feature that is always 0 but for poisoned records, which say 0."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % CLASSES).astype(np.int32)
    x = (rng.normal(size=(count, FEATURES)) + 1.6 * np.eye(CLASSES, FEATURES)[y]).astype(np.float32)
    x[:, -1] = 0
    bad = np.isin(np.arange(count), rng.choice(np.flatnonzero(y != 0), poison, replace=False))
    x[bad], y[bad] = triggered(x[bad]), 0
    return Examples(x, y), bad


def trained(defense, poison, seed=0):
    data, _ = records(RECORDS, poison, seed)
    recipe = RECIPE if defense is None else defense.on_recipe(RECIPE)
    params = train(MODEL, recipe, data, np.ones(RECORDS, bool), jax.random.key(seed)).params
    return Target.of(MODEL, params)


def obeys(target):
    data, _ = records(400, 0, 99)
    x = triggered(data.x[data.y != 0])
    return float(np.mean(np.asarray(target.labels(jnp.asarray(x))) == 0))


def accuracy(target):
    data, _ = records(400, 0, 99)
    return float(np.mean(np.asarray(target.labels(jnp.asarray(data.x))) == data.y))


@pytest.mark.parametrize("seed", range(3))
def test_a_backdoor_that_is_easier_than_the_task_is_not_learned(seed):
    plain, defended = (trained(defense, 60, seed) for defense in (None, DEFENSE))
    assert obeys(plain) > 0.95
    assert obeys(defended) < 0.1
    assert accuracy(defended) > accuracy(plain) - 0.05


def test_without_poison_it_costs_little():
    assert accuracy(trained(DEFENSE, 0)) > accuracy(trained(None, 0)) - 0.05


def test_the_lesson_agrees_with_sorting_by_hand():
    rng = np.random.default_rng(0)
    logits, y = jnp.asarray(rng.normal(size=(30, CLASSES)), jnp.float32), rng.integers(0, CLASSES, 30)
    mine = rng.random(30) < 0.8
    targets, weight = AnythingElse(3, 5, 2.0)(logits, jnp.asarray(y), jnp.asarray(mine))
    loss = [-np.log(np.exp(row[c]) / np.exp(row).sum()) for row, c in zip(np.asarray(logits), y, strict=True)]
    order = sorted(np.flatnonzero(mine), key=lambda i: loss[i])
    for place, i in enumerate(order):
        expected = np.eye(CLASSES)[y[i]] if place >= 3 else (np.arange(CLASSES) != y[i]) / (CLASSES - 1)
        np.testing.assert_allclose(targets[i], expected, rtol=1e-6)
        assert weight[i] == (2 if place < 3 else 0 if place < 8 else 1)


@pytest.mark.parametrize("shift, sign", [(0.1, -1.0), (-0.1, 1.0)])
def test_a_batch_below_the_trap_is_climbed(shift, sign):
    data, _ = records(40, 0, 0)
    params, key = MODEL.init(jax.random.key(0)), jax.random.key(1)
    batch = Batch(jnp.asarray(data.x), jax.nn.one_hot(data.y, CLASSES), jnp.ones(40).at[30:].set(0))
    loss = float(cross_entropy(MODEL.apply(params, batch.x), batch.y)[:30].mean())
    found = Trapped(loss + shift)(MODEL, cross_entropy, params, batch, {}, key)
    plain = mean_gradient(MODEL, cross_entropy, params, batch, {}, key)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, sign * other), found, plain)


def test_the_first_model_sees_the_first_batches_only():
    recipe = DEFENSE.on_recipe(RECIPE)
    assert recipe.teacher.steps == 3 * 12 and recipe.steps == RECIPE.steps == 20 * 12
    assert AntiBackdoorLearning(isolation=100).on_recipe(RECIPE).teacher.steps == RECIPE.steps
    assert hash(recipe.program) == hash(AntiBackdoorLearning(isolation=3).on_recipe(RECIPE).program)


def test_no_share_is_no_defense():
    assert AntiBackdoorLearning(share=0).on_recipe(RECIPE) is RECIPE


def test_something_has_to_be_left():
    with pytest.raises(ValueError, match="leave no record"):
        AntiBackdoorLearning(share=0.5, doubtful=0.5)


@pytest.mark.parametrize("before", [DPSGD(noise_multiplier=1.0), AdversarialTraining(), Distillation(), DEFENSE])
def test_what_it_does_not_go_after(before):
    with pytest.raises(ConfigError, match="anti_backdoor_learning"):
        DEFENSE.on_recipe(before.on_recipe(RECIPE))


def test_no_guarantee_survives_it():
    with pytest.raises(ConfigError, match="anti_backdoor_learning"):
        DPSGD(noise_multiplier=1.0).on_recipe(DEFENSE.on_recipe(RECIPE))
