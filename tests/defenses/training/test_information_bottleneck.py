from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.information_bottleneck import BottleneckGradient, InformationBottleneck
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.mlp import MLP
from privsec.nets.wide_resnet import WideResNet
from privsec.training.gradients import cross_entropy
from privsec.training.loop import train
from privsec.training.standard import Training

SIZE, FEATURES, CLASSES, KEY = 60, 5, 3, jax.random.key(0)
MODEL = model_of(MLP(hidden=(8,), activation="tanh"), (FEATURES,), CLASSES)
RECIPE = Training(learning_rate=0.02, batch_size=20, epochs=40).recipe(SIZE)
Y = np.arange(SIZE) % CLASSES
X = (np.random.default_rng(0).normal(size=(SIZE, FEATURES)) / 2 + 2 * np.eye(CLASSES, FEATURES)[Y]).astype(np.float32)
BATCH = Batch(jnp.asarray(X), jax.nn.one_hot(Y, CLASSES), jnp.ones(SIZE))


def test_the_gradient_is_that_of_a_noisy_last_layer_that_pays():
    params, noise = MODEL.init(KEY), jax.random.normal(KEY, (SIZE, 8))

    def objective(params):
        first, last = params["dense"][0], params["dense"][1]
        features = jnp.tanh(BATCH.x @ first["kernel"] + first["bias"])
        logits = (features + noise) @ last["kernel"] + last["bias"]
        return jnp.mean(cross_entropy(logits, BATCH.y) + 0.3 * jnp.sum(features**2, 1) / 2)

    rates = {"information_bottleneck": 0.3}
    found = BottleneckGradient()(MODEL, cross_entropy, params, BATCH, rates, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, jax.grad(objective)(params))


def test_what_costs_more_is_said_less():
    """Saying nothing costs log C nats of loss, so at a price of beta no more than log C / beta are worth saying."""

    def nats(beta):
        recipe = InformationBottleneck(beta=beta).on_recipe(RECIPE)
        params = train(MODEL, recipe, Examples(X, Y.astype(np.int32)), np.ones(SIZE, bool), KEY).params
        first = params["dense"][0]
        right = np.argmax(MODEL.apply(params, X), 1) == Y
        return np.mean(np.sum(np.tanh(X @ first["kernel"] + first["bias"]) ** 2, 1)) / 2, right.mean()

    (cheap, right), (dear, still), (dearest, _) = nats(1e-4), nats(1.0), nats(10.0)
    assert cheap > np.log(CLASSES) > dear > dearest > 0
    assert dearest < np.log(CLASSES) / 10
    assert min(right, still) > 0.9


@pytest.mark.parametrize("net", [CNN(channels=(2,), dense=(4,)), WideResNet(depth=10, groups=4)], ids=lambda n: n.name)
def test_it_finds_the_last_hidden_layer_of_every_net(net):
    model = model_of(net, (8, 8, 1), CLASSES)
    batch = Batch(jnp.ones((2, 8, 8, 1)), jnp.eye(CLASSES)[:2], jnp.ones(2))
    rates = {"information_bottleneck": 0.3}
    params = jax.eval_shape(model.init, KEY)
    made = jax.eval_shape(lambda params: BottleneckGradient()(model, cross_entropy, params, batch, rates, KEY), params)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize("model", [replace(MODEL, tapped=None), model_of(MLP(hidden=()), (FEATURES,), CLASSES)])
def test_a_model_without_a_hidden_layer_to_see_is_an_error(model):
    with pytest.raises(ConfigError, match="hidden layer"):
        BottleneckGradient()(model, cross_entropy, model.init(KEY), BATCH, {"information_bottleneck": 1.0}, KEY)


def test_free_information_is_no_defense_and_dp_sgd_goes_its_own_way():
    assert InformationBottleneck(beta=0).on_recipe(RECIPE) is RECIPE
    with pytest.raises(ConfigError, match="dp_sgd"):
        InformationBottleneck().on_recipe(DPSGD(noise_multiplier=1.0).on_recipe(RECIPE))
