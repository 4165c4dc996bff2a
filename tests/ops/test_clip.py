from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.recipe import Batch, Model
from privsec.nets import NETS
from privsec.nets.adapt import from_nnx
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.layers import Dense
from privsec.nets.mlp import MLP
from privsec.nets.wide_resnet import WideResNet
from privsec.ops.clip import MICROBATCH, clip_factor, clipped_sum, padded
from privsec.training.gradients import cross_entropy
from tests.oracles import training as oracle

CASES = {
    "mlp": (MLP(hidden=(5, 4)), (6,)),
    "softmax regression": (MLP(hidden=()), (6,)),
    "cnn": (CNN(channels=(3, 4), dense=(5,)), (8, 8, 1)),
    "wide_resnet": (WideResNet(depth=10, groups=4), (8, 8, 3)),
}
CLASSES, SIZE = 3, 5


def one_hot(labels) -> jax.Array:
    return jax.nn.one_hot(jnp.asarray(labels), CLASSES)


@functools.cache
def built(case):
    net, shape = CASES[case]
    model, rng = model_of(net, shape, CLASSES), np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((SIZE, *shape)), jnp.float32)
    batch = Batch(x, 0.9 * one_hot(rng.integers(0, CLASSES, SIZE)) + 0.1 / CLASSES, jnp.asarray([1.0, 1, 0, 1, 1]))
    return model, jax.jit(model.init)(jax.random.key(0)), batch


@functools.cache
def program(model: Model):
    return jax.jit(lambda params, batch, clip_norm: clipped_sum(model, cross_entropy, params, batch, clip_norm))


def assert_trees_agree(found, expected, rtol=1e-5):
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale), found, expected)


def norm_of(tree) -> float:
    return float(np.sqrt(sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(tree))))


@functools.cache
def gradients(case):
    model, params, batch = built(case)
    return oracle.gradients(model, cross_entropy, params, batch)


@pytest.mark.parametrize(
    ("case", "tapped"), [*((case, True) for case in CASES), ("mlp", False)], ids=[*CASES, "a model without taps"]
)
def test_equals_one_gradient_a_record(case, tapped):
    model, params, batch = built(case)
    if not tapped:
        model = replace(model, tapped=None)
    clip, norms = program(model), oracle.norms(gradients(case))
    for clip_norm in (np.inf, float(np.median(norms)), 0.01):
        found, found_norms = clip(params, batch, clip_norm)
        assert_trees_agree(found, oracle.clipped_sum(gradients(case), batch.weight, clip_norm))
        np.testing.assert_allclose(found_norms, norms, rtol=1e-5)


def test_every_built_in_net_is_among_the_cases():
    assert {type(net) for net, _ in CASES.values()} == set(NETS.specs.values())


@pytest.mark.parametrize("case", CASES)
def test_inside_a_population_each_model_clips_as_alone(case):
    """Stacked parameters, each with a clip norm of its own, as models are trained in one program."""
    model, params, batch = built(case)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.7 * leaf + 0.01]), params)
    clip_norms = jnp.asarray([0.05, 0.5])
    together, norms = jax.jit(jax.vmap(program(model), in_axes=(0, None, 0)))(stacked, batch, clip_norms)
    for m, clip_norm in enumerate(clip_norms):
        own = jax.tree.map(lambda leaf, m=m: leaf[m], stacked)
        each = oracle.gradients(model, cross_entropy, own, batch)
        found = jax.tree.map(lambda leaf, m=m: leaf[m], together)
        assert_trees_agree(found, oracle.clipped_sum(each, batch.weight, float(clip_norm)))
        np.testing.assert_allclose(norms[m], oracle.norms(each), rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    clip_norm=st.floats(1e-3, 1e3),
    size=st.floats(1e-3, 1e3),
    record=st.integers(0, SIZE - 1),
    tapped=st.booleans(),
)
def test_no_record_contributes_more_than_the_clip_norm(clip_norm, size, record, tapped):
    _, params, batch = built("mlp")
    batch = batch._replace(x=batch.x * size, weight=jnp.zeros(SIZE).at[record].set(1.0))
    clipped, norms = _one(tapped)(params, batch, clip_norm)
    assert norm_of(clipped) <= clip_norm * (1 + 1e-5)
    assert norm_of(clipped) == pytest.approx(min(clip_norm, float(norms[record])), rel=1e-4)


@functools.cache
def _one(tapped):
    model = built("mlp")[0]
    return program(model if tapped else replace(model, tapped=None))


@pytest.mark.parametrize("tapped", [True, False])
def test_dropped_records_do_not_count(tapped):
    _, params, batch = built("mlp")
    moved = batch._replace(x=batch.x.at[2].set(1e3), y=batch.y.at[2].set(one_hot(0)))
    for a, b in zip(*(jax.tree.leaves(_one(tapped)(params, each, 0.5)[0]) for each in (batch, moved)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("tapped", [True, False])
def test_a_zero_gradient_is_safe(tapped):
    model, params, batch = built("mlp")
    sure = batch._replace(y=jax.nn.softmax(model.apply(params, batch.x)))
    for clip_norm in (1e-3, 1.0, np.inf):
        clipped, norms = _one(tapped)(params, sure, clip_norm)
        assert np.isfinite(norm_of(clipped)) and norm_of(clipped) < 1e-5 and norms.max() < 1e-5
    assert float(clip_factor(jnp.asarray(0.0), 1.0)) == 1.0


@pytest.mark.parametrize("size", [1, MICROBATCH, MICROBATCH + 1])
def test_the_fallback_takes_any_batch_size(size):
    """Also where the model has no gradient at an input of zeros: padding is a real record."""

    def apply(params, x):
        return (x / jnp.linalg.norm(x, axis=1, keepdims=True)) @ params

    rng = np.random.default_rng(0)
    model = Model(lambda key: None, apply, CLASSES, (4,))
    batch = Batch(
        jnp.asarray(rng.standard_normal((size, 4)), jnp.float32),
        one_hot(rng.integers(0, CLASSES, size)),
        jnp.ones(size),
    )
    params = jnp.asarray(rng.standard_normal((4, CLASSES)), jnp.float32)
    found, norms = clipped_sum(model, cross_entropy, params, batch, 0.5)
    each = oracle.gradients(model, cross_entropy, params, batch)
    assert_trees_agree(found, oracle.clipped_sum(each, batch.weight, 0.5))
    np.testing.assert_allclose(norms, oracle.norms(each), rtol=1e-5)


def test_padding_weighs_nothing():
    batch = built("mlp")[2]
    filled = padded(batch, 4)
    assert filled.weight.shape == (8,) and filled.x.shape == (8, 6) and filled.y.shape == (8, CLASSES)
    np.testing.assert_array_equal(filled.weight[SIZE:], 0)
    np.testing.assert_array_equal(filled.x[:SIZE], batch.x)
    assert padded(batch, SIZE).weight.shape == (SIZE,)


def test_layers_that_miss_a_parameter_are_an_error():
    model, params, batch = built("mlp")
    with pytest.raises(ValueError, match="do not cover its parameters"):
        jax.eval_shape(program(replace(model, layers=model.layers[1:])), params, batch, 1.0)
    twice = model.layers[-1]._replace(name=model.layers[0].name)
    with pytest.raises(ValueError, match="do not cover its parameters"):
        jax.eval_shape(program(replace(model, layers=(*model.layers, twice))), params, batch, 1.0)


def test_tied_parameters_are_an_error():
    """Two layers that hold one kernel between them: the gradient is no longer one product of each."""

    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = Dense(3, 3, rngs=rngs), Dense(3, 3, rngs=rngs)
            self.second.kernel = self.first.kernel

        def __call__(self, x, tap):
            return self.second(jax.nn.relu(self.first(x, tap)), tap)

    model = from_nnx(Tied, (3,), 3)
    batch = Batch(jnp.ones((2, 3)), one_hot([0, 1]), jnp.ones(2))
    with pytest.raises(ValueError, match="do not cover its parameters"):
        jax.eval_shape(program(model), model.init(jax.random.key(0)), batch, 1.0)
