"""A gradient gives its batch away; a gradient of other records, or noise, gives away nothing of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.attacks.inversion import observed_gradient as observed
from privsec.attacks.inversion.gradient_inversion import GradientInversion
from privsec.core.access import Access
from privsec.core.attack import Knowledge, Updates
from privsec.core.data import Examples
from privsec.core.errors import AccessError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.spec import SpecError
from privsec.core.target import Target
from privsec.measures.gradient_inversion import GradientTruth, measure
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.mlp import MLP
from tests.oracles import gradient_inversion as oracle

KEY = jax.random.key(0)
SHAPE, CLASSES = (6, 6, 1), 5
DENSE = model_of(MLP(hidden=(12,), activation="tanh"), SHAPE, CLASSES)
RELU = model_of(MLP(hidden=(40,)), SHAPE, CLASSES)
CONV = model_of(CNN(channels=(16,), dense=(32,), activation="tanh"), SHAPE, CLASSES)
BOX = (np.float32(0), np.float32(1))


def records(count: int, seed: int = 0) -> Examples:
    """Smooth bright and dark patches, and labels."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 3, 3, 1))
    return Examples(np.kron(coarse, np.ones((1, 2, 2, 1))).astype(np.float32), rng.integers(0, CLASSES, count))


def seen(model: Model, data: Examples, batch: int = 1, models: int = 1) -> tuple[Target, Updates]:
    """Untrained models and the gradients of consecutive batches of `data`."""
    shape = (data.size // batch, batch)
    x = jnp.asarray(data.x).reshape(*shape, *SHAPE)
    y = jax.nn.one_hot(data.y, CLASSES).reshape(*shape, CLASSES)

    @jax.jit
    def made(keys):
        start = jax.vmap(model.init)(keys)
        of_batch = jax.vmap(partial(observed.gradient_at, model), (None, 0, 0))
        return start, jax.vmap(lambda params: of_batch(params, x, y))(start)

    start, gradients = made(jax.random.split(KEY, models))
    target = replace(Target.of(model, start), grants=Access.WEIGHTS | Access.UPDATES)
    return target, Updates(gradients, start, batch)


def run(attack, target, updates, **known):
    return attack.run(target, Knowledge(CLASSES, box=BOX, updates=updates, **known), KEY)


def measured(evidence, data, batch=1):
    truth = GradientTruth(np.asarray(data.x), np.asarray(data.y), batch, records(40, seed=9).x)
    return measure(evidence, truth)


@pytest.mark.parametrize("model", [DENSE, RELU], ids=["tanh", "relu"])
def test_a_dense_first_layer_gives_the_record_away_exactly(model):
    data = records(5)
    target, updates = seen(model, data, models=2)
    evidence = run(GradientInversion(method="analytic"), target, updates)
    np.testing.assert_allclose(evidence.x, np.broadcast_to(data.x, (2, *data.x.shape)), atol=1e-5)
    assert np.array_equal(evidence.y, np.broadcast_to(data.y, (2, 5)))
    np.testing.assert_allclose(evidence.confidence, 1, atol=1e-5)
    found = measured(evidence, data)
    assert found["advantage"].tolist() == [1, 1] and found["labels_right"].tolist() == [1, 1]


def test_clipping_does_not_hide_the_record_and_noise_does():
    data = records(5)
    target, updates = seen(RELU, data)
    attack = GradientInversion(method="analytic")
    scaled = updates._replace(gradients=jax.tree.map(lambda leaf: leaf * 0.01, updates.gradients))
    np.testing.assert_allclose(run(attack, target, scaled).x[0], data.x, atol=1e-5)
    leaves, structure = jax.tree.flatten(updates.gradients)
    noise = [jax.random.normal(jax.random.fold_in(KEY, i), leaf.shape) for i, leaf in enumerate(leaves)]
    noisy = updates._replace(gradients=jax.tree.unflatten(structure, noise))
    assert measured(run(attack, target, noisy), data)["advantage"].tolist() == [0]


@given(st.integers(0, 10**6))
def test_formulas_for_softmax_regression(seed):
    rng = np.random.default_rng(seed)
    x, label = rng.uniform(0.1, 1, 4), int(rng.integers(3))
    kernel, bias = rng.normal(size=(4, 3)), rng.normal(size=3)
    dw, db = oracle.softmax_gradient(x, label, kernel, bias)
    assert np.sum(db < 0) == 1 and observed.restored_labels(db, 1).tolist() == [label]
    np.testing.assert_allclose(observed.dense_input(dw.astype(np.float32), db.astype(np.float32)), x, rtol=1e-4)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 1000))
def test_labels_of_a_batch_are_counted_off_where_the_mean_answer_is_known(labels, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(5))
    bias = p - np.bincount(labels, minlength=5) / len(labels)
    assert observed.restored_labels(bias, len(labels), p).tolist() == sorted(labels)


@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_the_match_is_the_cosine_whatever_the_gradients_size(scale, seed):
    rng = np.random.default_rng(seed)
    a, b = ([rng.normal(size=shape).astype(np.float32) for shape in ((2, 3), (4,))] for _ in range(2))
    expected = oracle.cosine(a, b)
    assert float(observed.cosine(a, [scale * leaf for leaf in b])) == pytest.approx(expected, abs=1e-5)
    assert float(observed.distance(a, a)) == 0


def test_the_search_finds_images_of_a_network_of_convolutions_and_only_those_behind_the_gradient():
    data = records(2)
    target, updates = seen(CONV, data)
    attack = GradientInversion(steps=400)
    found = measured(evidence := run(attack, target, updates), data)
    assert found["success"].tolist() == [1] and found["advantage"].tolist() == [1]
    assert found["psnr"][0] > 25 and found["match"][0] > 0.99 and found["labels_right"].tolist() == [1]
    assert evidence.x.min() >= 0 and evidence.x.max() <= 1 and evidence.queries == 400

    others = measured(evidence, records(2, seed=5))  # the same pictures, held against records that were not there
    assert others["advantage"].tolist() == [0] and others["psnr"][0] < 15
    again = run(attack, target, updates)
    assert np.array_equal(again.x, evidence.x)
    tenfold = updates._replace(gradients=jax.tree.map(lambda leaf: 10 * leaf, updates.gradients))
    assert measured(run(attack, target, tenfold), data)["psnr"][0] > 25  # a clipped gradient points the same way


@pytest.mark.parametrize("labels", [pytest.param("restored", marks=pytest.mark.slow), "optimized"])
def test_the_distance_of_gradients_finds_records_and_labels_of_a_smooth_network(labels):
    data = records(2)
    target, updates = seen(DENSE, data)
    attack = GradientInversion(method="dlg", labels=labels, steps=60, restarts=2)
    evidence = run(attack, target, updates)
    found = measured(evidence, data)
    assert found["psnr"][0] > 25 and found["labels_right"].tolist() == [1]
    assert evidence.queries == 120


def test_a_batch_comes_back_in_some_order():
    data = records(4, seed=3)
    target, updates = seen(CONV, data, batch=2)
    attack = GradientInversion(batch=2, steps=400)
    evidence = run(attack, target, updates, population=records(60, seed=8))
    found = measured(evidence, data, batch=2)
    assert found["psnr"][0] > found["psnr_public"][0] + 3
    assert found["labels_right"][0] >= 0.5
    assert evidence.x.shape == (1, 4, *SHAPE) and evidence.y.shape == (1, 4)


def test_what_does_not_go_together_is_said():
    target, updates = seen(CONV, records(2))
    with pytest.raises(
        NotApplicable, match=r"dense first layer with a bias, and 'conv/0' sees numbers of shape.*invert_gradients"
    ):
        run(GradientInversion(method="analytic"), target, updates)
    with pytest.raises(NotApplicable, match="shows mixtures"):
        run(GradientInversion(method="analytic", batch=2), target, updates._replace(batch=2))
    with pytest.raises(NotApplicable, match="was given none"):
        run(GradientInversion(), target, None)
    with pytest.raises(NotApplicable, match="neither `box` nor a `population`"):
        GradientInversion().run(target, Knowledge(CLASSES, updates=updates), KEY)
    bare = replace(target, model=replace(CONV, tapped=None, layers=()))
    with pytest.raises(NotApplicable, match="does not say what its layers are"):
        run(GradientInversion(), bare, updates)
    for weaker in (Access.WEIGHTS, Access.UPDATES, Access.LOGITS):
        with pytest.raises(AccessError):
            run(GradientInversion(), replace(target, grants=weaker), updates)
    with pytest.raises(SpecError, match="goes with method: dlg"):
        GradientInversion(labels="optimized")
    assert GradientInversion(batch=4).assumptions["batch size (known)"] == 4
