"""An answer explained unlike those of its class: against slow formulas, on found records, and against who knows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.attacks.evasion.pgd import PGD
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable
from privsec.core.target import Target
from privsec.data.digits import Digits
from privsec.defenses.model.attribution_detector import AttributionDetector, explanation
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training.loop import train
from privsec.training.standard import Training
from tests.defenses.model.toys import linear, records, weights
from tests.oracles import defended

REFUSED = 10


@pytest.mark.parametrize("shape", [(12,), (4, 3, 1), (2, 2, 3)])
def test_of_a_linear_model_it_is_the_formula(shape):
    model, params = linear(12, shape=shape), weights(12)
    public, fresh = (records(count, 12, seed=seed).x.reshape(count, *shape) for count, seed in ((80, 1), (30, 2)))
    detector = AttributionDetector(baseline=0.2, steps=3)
    look = detector.look(model, False)
    kernel = np.asarray(params["last"]["kernel"], np.float64)
    known, asked = (np.asarray(look(params, jnp.asarray(x))[1]) for x in (public, fresh))
    called = [evidence[:, -1].astype(int) for evidence in (known, asked)]
    slow = [defended.explained(x, kernel, y, 0.2) for x, y in zip((public, fresh), called, strict=True)]
    np.testing.assert_allclose(asked[:, :-1], slow[1], atol=1e-4)
    found = detector.suspicion(detector.fit(known, called[0], 3), jnp.asarray(asked))
    expected = defended.own_mahalanobis(slow[0], called[0], slow[1], called[1], 0.1)
    np.testing.assert_allclose(found, expected, rtol=2e-2)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 5), elements=st.floats(-9, 9, width=32)), st.floats(0.5, 8))
def test_an_explanation_is_a_direction_and_a_length(ways, factor):
    ways = np.where(np.abs(ways).sum(axis=1, keepdims=True) < 1, 1 + ways, ways)
    ways = ways + np.float32(1e-1) * (np.abs(ways).sum(axis=1, keepdims=True) < 1)
    one, larger = np.asarray(explanation(jnp.asarray(ways))), np.asarray(explanation(jnp.asarray(factor * ways)))
    np.testing.assert_allclose(np.linalg.norm(one[:, :-1], axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(larger[:, :-1], one[:, :-1], atol=1e-3)
    np.testing.assert_allclose(larger[:, -1] - one[:, -1], np.log(factor), atol=1e-3)


def test_a_large_picture_is_looked_at_in_cells():
    assert explanation(jnp.ones((2, 32, 20, 3))).shape == (2, 65)
    assert explanation(jnp.ones((2, 5, 6, 3))).shape == (2, 31)


@functools.cache
def digits():
    """A network that knows 600 digits, 700 others for the defender, and the test records that it gets right."""
    data, model = Digits().load(), model_of(MLP(hidden=(64,)), (8, 8, 1), 10)
    rows = np.random.default_rng(0).permutation(data.size)
    fit, public, test = (data.examples(part) for part in (rows[:600], rows[600:1300], rows[1300:]))
    recipe = Training(learning_rate=3e-3, batch_size=50, epochs=30).recipe(600)
    params = train(model, recipe, fit, np.ones(600, bool), jax.random.key(0)).params
    right = np.asarray(model.apply(params, test.x)).argmax(-1) == test.y
    return model, params, public, test.take(np.flatnonzero(right)[:200])


def test_it_notices_found_records_and_not_who_knows_of_it():
    """Far more of what was found without it is refused than of clean records; knowing of it wins some back."""
    model, params, public, test = digits()
    attack, knowledge = PGD(radius=0.15), Knowledge(10, points=test, box=(np.float32(0), np.float32(1)))
    detector = AttributionDetector()
    served = detector.on_params(model, params, public, jax.random.key(0))
    target = Target.of(detector.on_model(model), served)
    before = attack.run(Target.of(model, params), knowledge, jax.random.key(2)).x[0]
    found = attack.run(target, knowledge, jax.random.key(2))
    clean, old, naive, aware = (np.asarray(target.labels(x)) for x in (test.x, before, found.naive[0], found.x[0]))
    assert np.mean(clean == REFUSED) < 0.12 and np.mean(old == REFUSED) > 0.25
    won = [np.mean((labels != test.y) & (labels != REFUSED)) for labels in (naive, aware)]
    assert won[1] > won[0] + 0.1


def test_saliency_is_followed_along_integrated_gradients():
    """Its own slope is zero between the kinks; what is followed has the same value and a slope."""
    model, params, _, test = digits()
    detector = AttributionDetector(method="saliency")
    x = jnp.asarray(test.x[:5])
    plain, followed = (functools.partial(detector.look(model, way), params) for way in (False, True))
    np.testing.assert_allclose(followed(x)[1], plain(x)[1], rtol=1e-4, atol=1e-5)
    slopes = [jax.grad(lambda x, look=look: jnp.sum(look(x)[1][:, :64] ** 3))(x) for look in (plain, followed)]
    assert not np.any(slopes[0]) and np.any(slopes[1], axis=(1, 2, 3)).all()


def test_a_model_outside_of_jax_has_no_explanation():
    with pytest.raises(NotApplicable, match="outside of JAX"):
        AttributionDetector().on_model(linear(outside=True))
