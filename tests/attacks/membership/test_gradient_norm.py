from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.membership import gradient_norm
from privsec.attacks.membership.gradient_norm import GradientNorm, log_gradient_norms
from privsec.attacks.membership.lira import likelihood_ratio
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import AccessError
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.mlp import MLP
from privsec.training.gradients import cross_entropy
from tests.attacks.membership.banks import pairs, usable_of
from tests.oracles import whitebox as oracle

CLASSES = 4
RNG = np.random.default_rng(0)
LINEAR = model_of(MLP(hidden=()), (6,), CLASSES)
DEEP = model_of(MLP(hidden=(7, 5), activation="tanh"), (6,), CLASSES)
RECORDS = Examples(RNG.normal(size=(21, 6)).astype(np.float32), RNG.integers(0, CLASSES, 21).astype(np.int32))


def stack_of(model, models=2):
    params = [model.init(jax.random.key(m)) for m in range(models)]
    return Target.of(model, jax.tree.map(lambda *leaves: jnp.stack(leaves), *params))


def test_softmax_regression_by_hand():
    target = stack_of(LINEAR)
    found = log_gradient_norms(target, RECORDS)
    assert found.shape == (2, 21, 1) and found.dtype == np.float64
    layer = target.params["dense"][0]
    for t, n in np.ndindex(2, 21):
        whole, _ = oracle.linear_gradient_norm(layer["kernel"][t], layer["bias"][t], RECORDS.x[n], RECORDS.y[n])
        assert found[t, n, 0] == pytest.approx(np.log(whole), abs=1e-5)


@pytest.mark.parametrize("by_layer", [False, True])
def test_every_record_alone(by_layer, monkeypatch):
    monkeypatch.setattr(gradient_norm, "CHUNK", 8)  # three chunks, the last one padded
    target = stack_of(DEEP)
    found = log_gradient_norms(target, RECORDS, by_layer=by_layer)
    y = jax.nn.one_hot(RECORDS.y, CLASSES)
    for t in range(2):
        slow = oracle.layer_norms(DEEP, cross_entropy, target[t].params, RECORDS.x, y)
        assert slow.shape == (21, 3)
        expected = slow if by_layer else np.sqrt((slow**2).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(found[t], np.log(expected), atol=1e-4)


def test_an_image_net_and_a_model_that_hides_its_layers():
    model = model_of(CNN(channels=(4,), dense=(8,)), (8, 8, 1), CLASSES)
    hidden = Model(model.init, model.apply, CLASSES, (8, 8, 1))
    records = Examples(RNG.normal(size=(9, 8, 8, 1)).astype(np.float32), RECORDS.y[:9])
    params = model.init(jax.random.key(3))
    tapped, plain = (log_gradient_norms(Target.of(made, params), records) for made in (model, hidden))
    np.testing.assert_allclose(tapped, plain, atol=1e-4)
    layers = log_gradient_norms(Target.of(model, params), records, by_layer=True)
    np.testing.assert_allclose(np.log(np.exp(2 * layers).sum(-1)) / 2, tapped[..., 0], atol=1e-4)


def test_a_norm_too_small_for_float32_keeps_its_digits():
    """A margin of 300: the gradient of the loss is about e^-300, and float32 ends at e^-103."""
    params = {"dense": {0: {"kernel": jnp.zeros((6, CLASSES)), "bias": jnp.array([300.0, 0.0, 0.0, 0.0])}}}
    target = Target.of(LINEAR, jax.tree.map(jnp.asarray, params))
    records = Examples(np.array([[1.0, 0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0, 0]], np.float32), np.zeros(2, np.int32))
    found = log_gradient_norms(target, records)[0, :, 0]
    # The others share the rest of the probability equally: |dm| = sqrt(1 + 3 / 9) sqrt(1 + |x|^2).
    expected = -300 + np.log(3) + 0.5 * np.log((1 + 1 / 3) * (1 + np.array([1.0, 4.0])))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_scores():
    models = 10
    target = stack_of(DEEP, models).restrict(Access.WEIGHTS)
    included, usable = pairs(models, 20, RNG), usable_of(models)
    candidates = RECORDS.take(np.arange(20))
    knowledge = Knowledge(CLASSES, candidates, None, target, included, usable)
    norms = log_gradient_norms(target, candidates, by_layer=True)
    for attack, expected in (
        (GradientNorm(calibrated=False), -log_gradient_norms(target, candidates)[..., 0]),
        (GradientNorm(calibrated=False, by_layer=True), -norms.mean(-1)),
        (
            GradientNorm(by_layer=True),
            np.mean(
                [likelihood_ratio(v, v, included, usable, variance="shrunk") for v in np.moveaxis(norms, -1, 0)], axis=0
            ),
        ),
    ):
        np.testing.assert_allclose(attack.run(target, knowledge, jax.random.key(0)).scores, expected, atol=1e-9)


def test_weights_are_needed():
    target = stack_of(LINEAR).restrict(Access.GRADIENTS)
    with pytest.raises(AccessError, match="weights"):
        GradientNorm(calibrated=False).run(target, Knowledge(CLASSES, RECORDS), jax.random.key(0))
