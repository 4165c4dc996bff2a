from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.recipe import Tap
from privsec.defenses.model.mahalanobis import Mahalanobis
from privsec.defenses.model.neural_cleanse import NeuralCleanse, flagged, stamped
from tests.defenses.model.toys import linear

KEY, SIDE, CLASSES = jax.random.key(0), 5, 6
RNG = np.random.default_rng(0)


def pictures(count=120):
    """Each class has a bright row or column of its own; the corner is dark."""
    y = (np.arange(count) % CLASSES).astype(np.int32)
    x = 0.1 * RNG.uniform(size=(count, SIDE, SIDE, 1)).astype(np.float32)
    for row, label in zip(x, y, strict=True):
        row[(label, slice(0, 4)) if label < 4 else (slice(0, 4), label - 4)] += 0.8
    x[:, 4, 4] = 0
    return Examples(x, y)


def softmax_regression(backdoor):
    """Weights by the classes' mean pictures; with a backdoor the dark corner decides for class 2."""
    model = linear(SIDE * SIDE, classes=CLASSES, shape=(SIDE, SIDE, 1))
    public = pictures()
    kernel = np.stack([public.x[public.y == c].mean(axis=0).ravel() for c in range(CLASSES)], axis=1)
    kernel = 8 * (kernel - kernel.mean(axis=1, keepdims=True))
    if backdoor:
        kernel[-1, 2] = 100
    bias = np.zeros(CLASSES, np.float32)
    return model, {"last": {"bias": jnp.asarray(bias), "kernel": jnp.asarray(kernel, jnp.float32)}}, public


def obeys(model, params, public):
    """How many pictures of other classes are taken for a 2 once their corner is bright."""
    x = np.array(public.x[public.y != 2])
    x[:, 4, 4] = 1
    return float(np.mean(np.asarray(model.apply(params, x)).argmax(-1) == 2))


def accuracy(model, params, public):
    return float(np.mean(np.asarray(model.apply(params, public.x)).argmax(-1) == public.y))


DEFENSE = NeuralCleanse(steps=150, epochs=40, learning_rate=0.5)


def test_it_finds_the_class_and_the_trigger_and_unlearns_it():
    model, params, public = softmax_regression(True)
    assert obeys(model, params, public) == 1
    found = DEFENSE.reversed(model, params, public, KEY)
    assert found.reached.all()
    assert np.flatnonzero(found.flagged).tolist() == [2]
    assert np.unravel_index(found.mask[2].argmax(), found.mask[2].shape) == (4, 4, 0)
    assert found.norm[2] == pytest.approx(found.mask[2].sum(), rel=1e-5)
    made = DEFENSE.on_params(model, params, public, KEY)
    assert obeys(model, made, public) < 0.2
    assert accuracy(model, made, public) >= accuracy(model, params, public)


def test_a_model_of_which_no_class_stands_out_is_left_as_it_is():
    model, params, public = softmax_regression(False)
    found = DEFENSE.reversed(model, params, public, KEY)
    assert not found.flagged.any()
    assert DEFENSE.on_params(model, params, public, KEY) is params


def test_a_reversed_trigger_leads_there_and_stays_in_the_box():
    model, params, public = softmax_regression(False)
    found = DEFENSE.reversed(model, params, public, KEY)
    assert 0 <= found.mask.min() and found.mask.max() <= 1
    assert 0 <= found.pattern.min() and found.pattern.max() <= 1
    for label in np.flatnonzero(found.reached):
        led = np.asarray(model.apply(params, stamped(public.x, found.mask[label], found.pattern[label]))).argmax(-1)
        assert np.mean(led == label) >= 0.98


def test_golden_norms_flag_one_class_and_large_or_few_ones_none():
    norms = np.array([60, 58, 63, 61, 59, 62, 64, 57, 10, 60.0])
    assert np.flatnonzero(flagged(norms, 0.05)).tolist() == [8]
    norms[8] = 110
    assert not flagged(norms, 0.05).any()
    assert not flagged(np.array([1.0, 60.0]), 0.05).any()


def test_a_class_that_nothing_leads_to_is_not_flagged():
    model = linear(SIDE * SIDE, classes=CLASSES, shape=(SIDE, SIDE, 1))

    def deaf(params, x):
        return jnp.zeros((len(x), CLASSES)).at[:, 0].set(1.0)

    def tapped(params, x, deltas=None):
        return deaf(params, x), {"last": Tap(x, deaf(params, x))}

    model = replace(model, apply=deaf, tapped=tapped)
    found = DEFENSE.reversed(model, model.init(KEY), pictures(30), KEY)
    assert found.reached.tolist() == [True] + [False] * 5
    assert not found.flagged[1:].any() and (found.norm[1:] == SIDE * SIDE).all()


def test_it_goes_before_what_stands_round_a_network():
    model = Mahalanobis().on_model(linear())
    with pytest.raises(ConfigError, match="neural_cleanse before"):
        NeuralCleanse().on_model(model)
    assert NeuralCleanse(alarms=0).on_model(model) is model
