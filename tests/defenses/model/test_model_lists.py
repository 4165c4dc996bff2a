"""Lists of model defenses compose left to right, round models of any kind."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.target import Target
from privsec.defenses.model.feature_squeezing import FeatureSqueezing
from privsec.defenses.model.input_noise import InputNoise
from privsec.defenses.model.input_rounding import InputRounding
from privsec.defenses.model.knn_detector import KNNDetector
from privsec.defenses.model.mahalanobis import Mahalanobis
from privsec.defenses.model.randomized_smoothing import RandomizedSmoothing
from privsec.ops.image_filters import on_grid
from tests.defenses.model.toys import CLASSES, linear, records, weights

PARAMS, PUBLIC = weights(), records(200)
X = jnp.asarray(records(50, seed=3).x)


def defended(model, *defenses, params=PARAMS):
    for defense in defenses:
        params = defense.on_params(model, params, PUBLIC, jax.random.key(0))
        model = defense.on_model(model)
    return Target.of(model, params)


def test_the_last_of_a_list_meets_the_input_first():
    target = defended(linear(), InputRounding(levels=3), InputRounding(levels=4))
    np.testing.assert_array_equal(target.logits(X), linear().apply(PARAMS, on_grid(on_grid(X, 4), 3)))
    assert jax.grad(lambda x: jnp.sum(target.adapted.logits(x)[:, 0]))(X).any()


def test_what_is_behind_stays_random_rejecting_and_adapted():
    target = defended(linear(), InputNoise(sigma=0.05), Mahalanobis(), InputRounding(levels=9))
    model = target.model
    assert model.rejects and model.num_classes == CLASSES + 1 and model.draw is not None
    assert model.adapted is not None and model.adapted.draw is not None

    @jax.jit
    def ask(x, keys):
        gradient = jax.grad(lambda x: jnp.sum(target.adapted.logits(x, keys)[:, 0]))(x)
        return target.labels(x, keys), target.adapted.labels(x, keys), gradient

    keys = jax.random.split(jax.random.key(1), len(X))
    labels, known, gradient = map(np.asarray, ask(X, keys))
    assert np.mean(labels == known) > 0.9
    assert np.isfinite(gradient).all() and gradient[labels < CLASSES].any(axis=1).all()
    assert 0 < np.mean(labels == CLASSES) < 0.5
    far, *_ = ask(X - 9, keys)
    assert (np.asarray(far) == CLASSES).mean() > 0.9


def test_a_smoothed_detector_votes_on_refusals_too():
    target = defended(linear(), Mahalanobis(), RandomizedSmoothing(sigma=0.1, draws=8, samples=40, guesses=10))
    assert target.model.rejects
    labels, radius = target.model.certify(target.params, X[:3] - 9, jax.random.key(0))
    assert (np.asarray(labels) == CLASSES).all() and (np.asarray(radius) > 0).all()


def test_nothing_before_a_filter_or_a_detector_keeps_a_certificate():
    smoothed = RandomizedSmoothing().on_model(linear())
    assert smoothed.certify is not None
    for defense in (InputRounding(), InputNoise(), Mahalanobis()):
        assert defense.on_model(smoothed).certify is None


def test_a_detector_judges_an_adapted_model_of_other_numbers_by_the_numbers_it_was_fitted_to():
    """As behind distillation: the adapted model decides alike, with logits over a temperature."""
    model = linear(tapped=False)
    cooled = replace(model, apply=lambda params, x: model.apply(params, x) / 50)
    target = defended(replace(model, adapted=cooled), KNNDetector(k=1), params=weights(scale=20.0))
    squeezed = defended(replace(model, adapted=cooled), FeatureSqueezing(bits=3), params=weights(scale=20.0))
    for one in (target, squeezed):
        served, known = jax.jit(lambda target: (target.logits(X), target.adapted.logits(X)))(one)
        np.testing.assert_array_equal(known.argmax(-1), served.argmax(-1))
        assert np.abs(known[:, :CLASSES]).max() < 5


@pytest.mark.parametrize(
    "defense",
    [InputNoise(), FeatureSqueezing(), RandomizedSmoothing(draws=2, samples=3, guesses=2)],
    ids=lambda defense: defense.name,
)
def test_a_model_outside_of_jax_is_defended_too(defense):
    outside, inside = (defended(linear(outside=outside, tapped=False), defense) for outside in (True, False))
    assert not outside.traceable
    few = X[:5]
    np.testing.assert_allclose(outside.logits(few), jax.jit(inside.logits)(few), rtol=1e-3, atol=1e-3)
    if outside.model.certify:
        labels, _ = outside.model.certify(outside._params, few, jax.random.key(0))
        assert labels.shape == (5,)


def test_a_stack_of_defended_models_answers_like_each_alone():
    model, detector = linear(), Mahalanobis()
    made = detector.on_model(model)
    each = [detector.on_params(model, weights(seed=s), PUBLIC, jax.random.key(s)) for s in range(2)]
    stack = Target.of(made, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))
    assert stack.size == 2
    together = jax.jit(lambda stack: stack.logits(X))(stack)
    for t in range(2):
        np.testing.assert_allclose(together[t], made.apply(each[t], X), rtol=1e-3, atol=1e-3)
