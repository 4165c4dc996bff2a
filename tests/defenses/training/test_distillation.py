from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.defenses.training.distillation import Distillation
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.weight_decay import WeightDecay
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.ops import ascend
from privsec.training.gradients import cross_entropy
from privsec.training.loop import train
from privsec.training.standard import Training

RECORDS, FEATURES, CLASSES, T = 200, 6, 3, 50.0
MODEL = model_of(MLP(hidden=(16,)), (FEATURES,), CLASSES)
RECIPE = Training(learning_rate=0.02, batch_size=50, epochs=60).recipe(RECORDS)
Y = (np.arange(RECORDS) % CLASSES).astype(np.int32)
DATA = Examples(
    (np.random.default_rng(0).normal(size=(RECORDS, FEATURES)) / 2 + 2 * np.eye(CLASSES, FEATURES)[Y]).astype(
        np.float32
    ),
    Y,
)


def target_of(defense) -> Target:
    recipe = defense.on_recipe(RECIPE)
    params = train(MODEL, recipe, DATA, np.ones(RECORDS, bool), jax.random.key(0)).params
    return Target.of(defense.on_model(MODEL), params)


@pytest.fixture(scope="module")
def hot() -> Target:
    return target_of(Distillation(temperature=T))


def median_gap(target: Target) -> float:
    logits = np.sort(np.asarray(target.logits(jnp.asarray(DATA.x))), axis=1)
    return float(np.median(logits[:, -1] - logits[:, -2]))


def test_logits_grow_with_the_temperature(hot):
    warm = target_of(Distillation(temperature=1.0))
    assert median_gap(hot) > T / 4 * median_gap(warm)
    assert median_gap(hot) > 100
    for target in (hot, warm):
        assert np.mean(np.asarray(target.labels(jnp.asarray(DATA.x))) == Y) > 0.95


def test_the_naive_attack_finds_no_slope_and_the_adaptive_one_does(hot):
    x, y = jnp.asarray(DATA.x), jax.nn.one_hot(Y, CLASSES)

    def attacked(source: Target) -> float:
        def loss(points):
            return cross_entropy(source.logits(points), y)

        found = ascend.pgd(loss, x, jax.random.key(1), 2.0, 10, random_start=False)
        return float(np.mean(np.asarray(hot.labels(found)) == Y))

    naive, adaptive = attacked(hot.unaware), attacked(hot.adapted)
    assert naive > 0.6 and adaptive < 0.1
    np.testing.assert_allclose(hot.adapted.logits(x), hot.logits(x) / T, rtol=1e-5)


@dataclass(frozen=True)
class Turned:
    """The loss of records whose labels are turned by one class."""

    def __call__(self, logits, y):
        return cross_entropy(logits, jnp.roll(y, 1, axis=-1))


def test_the_student_sees_the_teachers_labels_and_no_others():
    recipe = Distillation(temperature=1.0).on_recipe(RECIPE)
    turned = replace(recipe, teacher=replace(recipe.teacher, loss=Turned()))
    params = train(MODEL, turned, DATA, np.ones(RECORDS, bool), jax.random.key(0)).params
    labels = np.asarray(Target.of(MODEL, params).labels(jnp.asarray(DATA.x)))
    assert np.mean(labels == (Y + 1) % CLASSES) > 0.95


def test_teacher_and_student_are_trained_at_the_temperature():
    recipe = Distillation(temperature=4.0).on_recipe(RECIPE)
    logits, y = jnp.asarray([[4.0, 0.0, -8.0]]), jnp.asarray([[0.2, 0.3, 0.5]])
    expected = cross_entropy(logits / 4, y)
    for one in (recipe, recipe.teacher):
        np.testing.assert_allclose(one.loss(logits, y), expected)
    np.testing.assert_allclose(recipe.lesson(logits, y, None)[0], jax.nn.softmax(logits / 4))


def test_the_model_is_made_once():
    first, second = Distillation(temperature=4.0), Distillation(temperature=4)
    assert first.on_model(MODEL) is second.on_model(MODEL)
    assert hash(first.on_recipe(RECIPE).program) == hash(second.on_recipe(RECIPE).program)
    assert first.on_recipe(RECIPE).with_rates(learning_rate=0.5).program == first.on_recipe(RECIPE).program


def test_no_temperature_is_no_defense():
    none = Distillation(temperature=None)
    assert none.on_recipe(RECIPE) is RECIPE and none.on_model(MODEL) is MODEL


@pytest.mark.parametrize(
    "defenses",
    [
        (DPSGD(noise_multiplier=1.0), Distillation()),
        (Distillation(), DPSGD(noise_multiplier=1.0)),
        (DPSGD(noise_multiplier=0.0), Distillation()),
        (Distillation(), Distillation()),
    ],
)
def test_what_it_does_not_go_with(defenses):
    first, second = defenses
    with pytest.raises(ConfigError, match="distillation"):
        second.on_recipe(first.on_recipe(RECIPE))


def test_a_defense_before_it_is_the_teachers_too_and_one_after_is_not():
    decayed = Distillation().on_recipe(WeightDecay().on_recipe(RECIPE))
    assert decayed.teacher.optimizer == decayed.optimizer != RECIPE.optimizer
    after = WeightDecay().on_recipe(Distillation().on_recipe(RECIPE))
    assert after.teacher.optimizer == RECIPE.optimizer != after.optimizer
