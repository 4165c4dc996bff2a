"""Records of which a network's weights are made: the formula, a planted sum, and networks that were really trained."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.attacks import ATTACKS
from privsec.attacks.inversion.kkt_reconstruction import (
    KKTReconstruction,
    margins,
    stationarity,
    weighted_gradients,
)
from privsec.core import keys
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import AccessError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.defenses.training.weight_decay import WeightDecay
from privsec.measures.inversion import InversionTruth, estimates, measure
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import many
from privsec.training.standard import Training
from tests.oracles import kkt as oracle

LINEAR = Model(lambda key: jnp.zeros((2, 2)), lambda theta, x: x @ theta.T, 2, (2,))
CLASSES, FEATURES, SIZE, TARGETS = 5, 12, 10, 8
UNIT = (np.float32(0), np.float32(1))


def perceptron(params, x):
    first, bias, second = params
    return jax.nn.relu(x @ first + bias) @ second


def drawn(rng, records=4, features=3, hidden=5, classes=3):
    params = tuple(rng.normal(size=shape) for shape in ((features, hidden), hidden, (hidden, classes)))
    x, y = rng.normal(size=(records, features)), rng.integers(0, classes, records)
    return params, x, y, rng.exponential(size=(records, classes))


def as_jax(*values):
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.int32 if v.dtype.kind == "i" else jnp.float32), values)


@pytest.mark.parametrize("seed", range(3))
def test_margins_sums_and_stationarity_are_those_of_the_slow_version(seed):
    params, x, y, multipliers = drawn(np.random.default_rng(seed))
    model = Model(lambda key: None, perceptron, 3, (3,))
    sums = oracle.weighted_gradients(*params, x, y, multipliers)
    given_, records, labels, weights = as_jax(params, x, y, multipliers)
    for found, expected in zip(weighted_gradients(model, given_, records, labels, weights), sums, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    found = stationarity(model, given_, records, labels, weights)
    np.testing.assert_allclose(found, oracle.stationarity(params, sums), rtol=1e-4)
    logits = perceptron(given_, records)
    slow = [[float(row[label]) - float(z) for z in row] for row, label in zip(logits, y, strict=True)]
    np.testing.assert_allclose(margins(logits, labels), slow, rtol=1e-5, atol=1e-5)


def test_a_max_margin_model_of_two_classes_is_stationary_with_its_multipliers():
    # min |W|^2 with (w_y - w_other) x >= 1 at +-e_1: w_0 = e_1 / 2 = -w_1, and both multipliers are 1/4.
    theta = jnp.array([[0.5, 0.0], [-0.5, 0.0]])
    x, y, quarter = jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([0, 1]), jnp.full((2, 2), 0.25)
    assert float(stationarity(LINEAR, theta, x, y, quarter)) == 0
    assert float(stationarity(LINEAR, theta, x, y, 2 * quarter)) == 1
    assert float(stationarity(LINEAR, theta, x, 1 - y, quarter)) == 4


def test_a_max_margin_model_of_three_classes_takes_a_multiplier_for_every_rival():
    # Three unit vectors at 120 degrees: W = 2/3 of them by symmetry, every rival is at margin 1, and each l is 2/9.
    angle = 2 * np.pi * np.arange(3) / 3
    x, y = jnp.asarray(np.stack([np.cos(angle), np.sin(angle)], axis=1), jnp.float32), jnp.arange(3)
    model = replace(LINEAR, num_classes=3)
    np.testing.assert_allclose(margins(x @ (2 / 3 * x).T, y) + jnp.eye(3), 1, rtol=1e-5)
    assert float(stationarity(model, 2 / 3 * x, x, y, jnp.full((3, 3), 2 / 9))) < 1e-12
    strongest_alone = jnp.roll(jnp.eye(3), 1, axis=1)
    found = [float(stationarity(model, 2 / 3 * x, x, y, each * strongest_alone)) for each in np.linspace(0.1, 0.6, 51)]
    assert min(found) > 0.1


@functools.cache
def homogeneous(depth):
    """Stationarity of ReLU networks of 3 features, 3 classes and so many layers without biases, compiled."""

    def apply(params, x):
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer)
        return x @ params[-1]

    return jax.jit(functools.partial(stationarity, Model(lambda key: None, apply, 3, (3,))))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.3, 3.0),
    share=st.floats(0.0, 1.0),
    depth=st.sampled_from([2, 3]),
)
def test_invariances(seed, scale, share, depth):
    rng = np.random.default_rng(seed)
    widths = [3, *[4] * (depth - 1), 3]
    layers = [jnp.asarray(rng.normal(size=s), jnp.float32) for s in itertools.pairwise(widths)]
    _, x, y, weights = as_jax(*drawn(rng))
    base = float(homogeneous(depth)(layers, x, y, weights))

    def same(params, x, y, weights):
        np.testing.assert_allclose(float(homogeneous(depth)(params, x, y, weights)), base, rtol=2e-3, atol=1e-5)

    order = rng.permutation(len(y))
    same(layers, x[order], y[order], weights[order])
    same(layers, x, y, weights + 7 * jax.nn.one_hot(y, 3))  # the column of the own class does not count
    halves = jnp.concatenate([share * weights, (1 - share) * weights])
    same(layers, jnp.tile(x, (2, 1)), jnp.tile(y, 2), halves)  # a record may be split in two
    renamed = rng.permutation(3)
    back = np.argsort(renamed)
    same([*layers[:-1], layers[-1][:, back]], x, jnp.asarray(renamed)[y], weights[:, back])
    # Homogeneous of degree L: gradients grow as a^(L - 1), parameters as a.
    same([scale * layer for layer in layers], x, y, weights * scale ** (2 - depth))


def test_a_planted_sum_is_taken_apart():
    """Logits linear in the parameters: then any weighted sum of gradients is a network stationary at these records."""
    rng = np.random.default_rng(0)
    inner, shift = (
        jnp.asarray(rng.normal(size=(4, 300)) * 2, jnp.float32),
        jnp.asarray(rng.normal(size=300), jnp.float32),
    )
    model = Model(lambda key: jnp.zeros((300, 3)), lambda theta, x: jnp.tanh(x @ inner + shift) @ theta, 3, (4,))
    x = jnp.asarray(rng.uniform(size=(6, 4)), jnp.float32)
    y = jnp.repeat(jnp.arange(3), 2)
    weights = jnp.asarray(rng.uniform(0.5, 1.5, size=(6, 3)), jnp.float32)
    theta = weighted_gradients(model, jnp.zeros((300, 3)), x, y, weights)
    attack = KKTReconstruction(per_class=2, steps=3000)
    found = attack.run(Target.of(model, theta), Knowledge(3, box=UNIT), keys.root(1))
    distance = np.abs(np.asarray(found.x)[0, :, None] - np.asarray(x)).max(axis=-1)
    assert np.all(np.argmin(distance, axis=1) // 2 == np.arange(3))
    assert np.all(distance.min(axis=1) < 0.02)


class Victims:
    """A stack of networks, trained on complementary halves of random records with random classes."""

    def __init__(self, strength: float, start: float) -> None:
        rng = np.random.default_rng(0)
        self.y = np.tile(np.arange(CLASSES), 2 * SIZE // CLASSES).astype(np.int32)
        self.x = rng.random((2 * SIZE, FEATURES)).astype(np.float32)
        half = np.stack([rng.permuted(np.arange(2 * SIZE).reshape(-1, CLASSES), axis=0) for _ in range(TARGETS // 2)])
        half = np.array([np.isin(np.arange(2 * SIZE), rows[: len(rows) // 2]) for rows in half])
        self.member = np.stack([half, ~half], axis=1).reshape(TARGETS, -1)
        net = model_of(MLP(hidden=(64,)), (FEATURES,), CLASSES)
        self.model = replace(net, init=lambda key: jax.tree.map(lambda leaf: start * leaf, net.init(key)))
        recipe = Training(optimizer="sgd", learning_rate=0.3, schedule="cosine", batch_size=SIZE, epochs=5000).recipe(
            SIZE
        )
        recipe = WeightDecay(strength=strength).on_recipe(recipe)
        self.params = many.train_stack(self.model, recipe, Examples(self.x, self.y), self.member, keys.root(0))

    def reconstructed(self):
        """One record of each class and network."""
        knowledge = Knowledge(CLASSES, box=UNIT)
        return KKTReconstruction(per_class=2).run(Target.of(self.model, self.params), knowledge, keys.root(2))

    def judged(self, evidence, x):
        """The measures of the family, of how near the evidence is to members among `x`."""
        accepted = np.broadcast_to(np.asarray(evidence.y), (2, TARGETS, CLASSES))  # only nearness counts here
        truth = InversionTruth(x, self.y, self.member, accepted, x[:CLASSES], accepted[:, 0])
        return measure(evidence, truth)


@pytest.mark.parametrize(("strength", "start"), [(1e-3, 1.0), (0.0, 0.1)], ids=["weight decay", "small start"])
def test_trained_networks_give_back_their_records_and_nothing_of_others(strength, start):
    victims = Victims(strength, start)
    evidence = victims.reconstructed()
    leaked = estimates(victims.judged(evidence, victims.x))
    assert leaked["advantage"].value > 0.8
    assert leaked["advantage"].low > 0.3
    assert leaked["nn_gap"].low > 0.05

    rng = np.random.default_rng(5)
    null = [victims.judged(evidence, rng.random(victims.x.shape).astype(np.float32)) for _ in range(20)]
    for name, far in (("advantage", 0.2), ("nn_gap", 0.02)):
        means = [found[name].mean() for found in null]
        error = np.std(means, ddof=1) / np.sqrt(len(means))
        assert error < far / 3
        assert abs(np.mean(means)) < 3.5 * error


def test_classes_that_are_not_asked_for_still_explain_the_weights():
    model, knowledge = model_of(MLP(hidden=(4,)), (3,), 4), Knowledge(4, box=UNIT)
    target = Target.of(model, model.init(keys.root(0)))
    everything, some = (
        KKTReconstruction(steps=20, per_class=2, classes=classes).run(target, knowledge, keys.root(1))
        for classes in (None, (3, 1))
    )
    assert some.y.tolist() == [3, 1]
    np.testing.assert_allclose(some.x, everything.x[:, [3, 1]], atol=1e-6)
    assert (float(everything.queries), float(some.queries)) == (2 * 20 + 1, 4 * 20 + 1)
    for name in ("x", "confidence"):
        assert np.all(np.isfinite(getattr(everything, name)))


def test_a_network_without_a_slope_is_an_answer_too():
    """Dead ReLUs and zero parameters: every ratio stays finite."""
    model = model_of(MLP(hidden=(4,)), (3,), 2)
    target = Target.of(model, jax.tree.map(jnp.zeros_like, model.init(keys.root(0))))
    found = KKTReconstruction(steps=5).run(target, Knowledge(2, box=UNIT), keys.root(1))
    assert np.all(np.isfinite(found.x)) and np.all((found.x >= 0) & (found.x <= 1))


def test_what_cannot_be_done_says_why():
    attack, knowledge = KKTReconstruction(steps=1), Knowledge(2, box=UNIT)
    theta = jnp.ones((2, 2))
    with pytest.raises(NotApplicable, match="int32"):
        attack.run(Target.of(LINEAR, theta.astype(jnp.int32)), knowledge, keys.root(0))
    with pytest.raises(NotApplicable, match="smallest and largest value"):
        attack.run(Target.of(LINEAR, theta), Knowledge(2), keys.root(0))
    with pytest.raises(NotApplicable, match="classes 0 to 1"):
        attack.model_copy(update={"classes": (2,)}).run(Target.of(LINEAR, theta), knowledge, keys.root(0))
    with pytest.raises(AccessError):
        attack.run(Target.of(LINEAR, theta).restrict(Access.GRADIENTS), knowledge, keys.root(0))
    assert ATTACKS.parse({"name": "kkt_reconstruction"}) == KKTReconstruction()
