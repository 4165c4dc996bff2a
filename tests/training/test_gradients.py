from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from privsec.core.recipe import Batch
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.mlp import MLP
from privsec.training import gradients
from privsec.training.gradients import AdversarialGradient, PrivateGradient, bounds, cross_entropy, mean_gradient
from tests.oracles import training as oracle

FEATURES, CLASSES, SIZE = 4, 3, 11
MODEL = model_of(MLP(hidden=(5,), activation="tanh"), (FEATURES,), CLASSES)
PARAMS = MODEL.init(jax.random.key(0))
KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((SIZE, FEATURES)), jnp.float32)
Y = jax.nn.one_hot(RNG.integers(0, CLASSES, SIZE), CLASSES)
WEIGHTS = {
    "all": np.ones(SIZE),
    "first ones": np.arange(SIZE) < 4,
    "anywhere": np.isin(np.arange(SIZE), [2, 3, 9]),
    "the last": np.arange(SIZE) == SIZE - 1,
    "nobody": np.zeros(SIZE),
}


def batch_of(weight) -> Batch:
    return Batch(X, Y, jnp.asarray(weight, jnp.float32))


def assert_close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


def test_cross_entropy_with_soft_targets():
    logits, y = RNG.standard_normal((5, 3)).astype(np.float32), RNG.dirichlet(np.ones(3), 5)
    found = cross_entropy(jnp.asarray(logits), jnp.asarray(y))
    np.testing.assert_allclose(found, -(y * oracle.log_softmax(logits)).sum(1), rtol=1e-5)


def test_the_mean_is_over_real_records():
    padded = batch_of(WEIGHTS["anywhere"])
    chosen = np.flatnonzero(WEIGHTS["anywhere"])
    alone = Batch(X[chosen], Y[chosen], jnp.ones(len(chosen)))
    assert_close(*(mean_gradient(MODEL, cross_entropy, PARAMS, batch, {}, KEY) for batch in (padded, alone)))
    nobody = mean_gradient(MODEL, cross_entropy, PARAMS, batch_of(WEIGHTS["nobody"]), {}, KEY)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(nobody))


@pytest.fixture(scope="module")
def stacked():
    """Each record's own gradient."""
    return oracle.gradients(MODEL, cross_entropy, PARAMS, batch_of(WEIGHTS["all"]))


@pytest.mark.parametrize("microbatch", [1, 4, SIZE, 64])
def test_microbatches_sum_every_real_record_wherever_it_stands(microbatch, stacked):
    gradient, rates = PrivateGradient(4.0, microbatch), {"clip_norm": 0.7, "noise_multiplier": 0.0}
    private = jax.jit(lambda batch: gradient(MODEL, cross_entropy, PARAMS, batch, rates, KEY))
    together = jax.vmap(private)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(batch_of, WEIGHTS.values())))
    for m, weight in enumerate(WEIGHTS.values()):
        expected = jax.tree.map(lambda leaf: leaf / 4.0, oracle.clipped_sum(stacked, weight, 0.7))
        assert_close(private(batch_of(weight)), expected)
        assert_close(jax.tree.map(lambda leaf, m=m: leaf[m], together), expected)


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize(("clip_norm", "sigma", "expected_batch"), [(1.0, 1.0, 1.0), (0.1, 3.0, 50.0)])
def test_noise_has_the_standard_deviation_it_is_accounted_with(clip_norm, sigma, expected_batch):
    model = model_of(MLP(hidden=(400,)), (FEATURES,), CLASSES)
    params, gradient = model.init(KEY), PrivateGradient(expected_batch)

    def noise(key):
        rates = {"clip_norm": clip_norm, "noise_multiplier": sigma}
        return flat(gradient(model, cross_entropy, params, batch_of(WEIGHTS["nobody"]), rates, key))

    a, b = noise(jax.random.key(2)) * expected_batch / (sigma * clip_norm), noise(jax.random.key(3))
    assert 1e-4 < stats.chi2.cdf(np.sum(a**2), a.size) < 1 - 1e-4
    assert stats.kstest(a, "norm").pvalue > 1e-4
    assert abs(stats.pearsonr(a, b).statistic) < 4 / np.sqrt(a.size)


def test_noise_is_added_to_the_clipped_sum():
    gradient, batch = PrivateGradient(4.0), batch_of(WEIGHTS["all"])

    def private(batch, sigma):
        return gradient(MODEL, cross_entropy, PARAMS, batch, {"clip_norm": 0.7, "noise_multiplier": sigma}, KEY)

    noise = private(batch_of(WEIGHTS["nobody"]), 2.0)
    assert_close(private(batch, 2.0), jax.tree.map(jnp.add, private(batch, 0.0), noise))


def rates_of(radius, step=None):
    return {"adversarial_radius": radius, "adversarial_step": radius if step is None else step}


def test_of_a_linear_model_the_worst_inputs_are_the_corners_of_the_ball_within_the_box():
    """Of two classes the loss rises along sign(w_other - w_own), so two steps of one radius reach the corner."""
    model = model_of(MLP(hidden=()), (FEATURES,), 2)
    params, y = model.init(KEY), np.arange(SIZE) % 2
    kernel = np.asarray(params["dense"][0]["kernel"])
    x = np.clip(np.asarray(X), -0.5, 0.5)
    corner = np.clip(x + 0.3 * np.sign(kernel[:, 1 - y] - kernel[:, y]).T, -0.5, 0.5)
    given = Batch(jnp.asarray(x), jax.nn.one_hot(y, 2), jnp.asarray(WEIGHTS["anywhere"], jnp.float32))
    gradient = AdversarialGradient(steps=2, box=(-0.5, 0.5))
    found = gradient(model, cross_entropy, params, given, rates_of(0.3), KEY)
    worst = given._replace(x=jnp.asarray(corner))
    assert_close(found, mean_gradient(model, cross_entropy, params, worst, {}, KEY))


def test_no_radius_leaves_the_plain_gradient():
    batch, gradient = batch_of(WEIGHTS["all"]), AdversarialGradient()
    plain = mean_gradient(MODEL, cross_entropy, PARAMS, batch, {}, KEY)
    assert_close(gradient(MODEL, cross_entropy, PARAMS, batch, rates_of(0.0), KEY), plain)
    far = gradient(MODEL, cross_entropy, PARAMS, batch, rates_of(0.5, 0.25), KEY)
    assert np.linalg.norm(flat(far)) > np.linalg.norm(flat(plain))


def test_the_ascent_follows_the_adapted_model_where_the_model_hides_its_gradient():
    hiding = replace(MODEL, apply=lambda params, x: MODEL.apply(params, jax.lax.stop_gradient(x)), adapted=MODEL)
    batch, gradient = batch_of(WEIGHTS["all"]), AdversarialGradient(steps=2)
    found, expected = (gradient(m, cross_entropy, PARAMS, batch, rates_of(0.5), KEY) for m in (hiding, MODEL))
    assert_close(found, expected)
    blind = gradient(replace(hiding, adapted=None), cross_entropy, PARAMS, batch, rates_of(0.5), KEY)
    assert np.linalg.norm(flat(blind)) < 0.9 * np.linalg.norm(flat(expected))


def test_images_have_a_box_and_tables_none():
    image = model_of(MLP(hidden=()), (2, 2, 1), 2)
    assert [float(side) for side in bounds(image, None)] == [0, 1]
    assert [float(side) for side in bounds(MODEL, (-1.0, 2.0))] == [-1, 2]
    assert bounds(MODEL, None) is None


def test_parts_that_fit_the_cache_have_the_gradient_of_the_whole(monkeypatch):
    model = model_of(CNN(channels=(2,), dense=()), (5, 6, 1), CLASSES)
    params = model.init(KEY)
    x = jnp.asarray(RNG.standard_normal((SIZE, 5, 6, 1)), jnp.float32)

    def compiled():
        return jax.jit(lambda weight: mean_gradient(model, cross_entropy, params, Batch(x, Y, weight), {}, KEY))

    whole, in_parts = compiled(), compiled()
    weights = [jnp.asarray(WEIGHTS[name], jnp.float32) for name in ("all", "anywhere", "nobody")]
    expected = [whole(weight) for weight in weights]
    monkeypatch.setattr(gradients, "CACHED", 4)
    for weight, gradient in zip(weights, expected, strict=True):
        assert_close(in_parts(weight), gradient)
