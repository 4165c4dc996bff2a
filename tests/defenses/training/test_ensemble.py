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
from privsec.defenses.training.distillation import Distillation
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.ensemble import Ensemble, MembersGradient, joint
from privsec.training.gradients import cross_entropy, mean_gradient
from privsec.training.loop import train
from privsec.training.standard import Training
from tests.defenses.training.recipes import CLASSES, FEATURES, MODEL

RECORDS, KEY = 40, jax.random.key(0)
RECIPE = Training(optimizer="sgd", momentum=0, learning_rate=0.1, batch_size=10, epochs=3).recipe(RECORDS)
RNG = np.random.default_rng(0)
DATA = Examples(
    RNG.normal(size=(RECORDS, FEATURES)).astype(np.float32), (np.arange(RECORDS) % CLASSES).astype(np.int32)
)
X = jnp.asarray(DATA.x)
BATCH = Batch(X, jax.nn.one_hot(DATA.y, CLASSES), jnp.ones(RECORDS))


def member(params, m):
    return jax.tree.map(lambda leaf: leaf[m], params)


@pytest.fixture(scope="module")
def trained():
    defense = Ensemble(members=3)
    model = defense.on_model(MODEL)
    return model, train(model, defense.on_recipe(RECIPE), DATA, np.ones(RECORDS, bool), KEY).params


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_the_mean_of_the_members_logits_answers(trained, backend, monkeypatch):
    model, params = trained
    each = [MODEL.apply(member(params, m), X) for m in range(3)]
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    np.testing.assert_allclose(model.apply(params, X), np.mean(each, axis=0), atol=1e-6)
    assert min(np.abs(each[a] - each[b]).max() for a, b in [(0, 1), (0, 2), (1, 2)]) > 0.01


def test_each_member_follows_its_own_gradient():
    model = joint(MODEL, 3)
    params = model.init(KEY)
    found = MembersGradient(mean_gradient)(model, cross_entropy, params, BATCH, {}, KEY)
    for m in range(3):
        alone = mean_gradient(MODEL, cross_entropy, member(params, m), BATCH, {}, KEY)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), member(found, m), alone)


def test_a_stack_of_ensembles_is_a_target(trained):
    model, params = trained
    stack = Target.of(model, jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params))
    assert stack.logits(X).shape == (2, RECORDS, CLASSES)
    np.testing.assert_allclose(stack[0].logits(X), model.apply(params, X), atol=1e-6)


def test_what_hides_a_members_gradient_is_uncovered_in_each():
    model = Ensemble(members=2).on_model(Distillation(temperature=5).on_model(MODEL))
    params = model.init(KEY)
    np.testing.assert_allclose(model.adapted.apply(params, X), model.apply(params, X) / 5, atol=1e-6)


def test_one_member_is_no_ensemble_and_equal_ones_are_one_model():
    one = Ensemble(members=1)
    assert one.on_recipe(RECIPE) is RECIPE and one.on_model(MODEL) is MODEL
    assert Ensemble(members=2).on_model(MODEL) is Ensemble(members=2).on_model(MODEL)


def test_members_may_be_trained_adversarially():
    recipe = Ensemble().on_recipe(AdversarialTraining().on_recipe(RECIPE))
    assert recipe.gradient.inner == AdversarialTraining().on_recipe(RECIPE).gradient


@pytest.mark.parametrize(
    ("first", "match"), [(DPSGD(noise_multiplier=1.0), "privacy budget"), (Ensemble(), "write one ensemble")]
)
def test_what_it_does_not_go_with(first, match):
    with pytest.raises(ConfigError, match=match):
        Ensemble().on_recipe(first.on_recipe(RECIPE))


def test_a_recipe_for_an_ensemble_wants_one():
    with pytest.raises(ConfigError, match="on_model"):
        train(MODEL, Ensemble().on_recipe(RECIPE), DATA, np.ones(RECORDS, bool), KEY)
