from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.poisoning.badnets import patched
from privsec.core import keys
from privsec.core.errors import DataError
from privsec.core.target import Target
from privsec.defenses.model.strip import Strip, entropy
from tests.defenses.data.poisoned import BOX, GOAL, MODEL, backdoored
from tests.defenses.model.toys import CLASSES, linear, records, weights
from tests.oracles import cleaning

KEY = jax.random.key(0)


def test_entropy_is_in_bits_and_between_none_and_that_of_a_guess():
    p = np.random.default_rng(0).dirichlet(np.full(8, 0.2), 200).astype(np.float32)
    found = np.asarray(entropy(p))
    assert found.min() >= 0 and found.max() <= 3
    assert entropy(np.eye(8, dtype=np.float32)).tolist() == [0] * 8
    assert entropy(np.full((1, 8), 0.125, np.float32)).tolist() == [3.0]


def evidence(model, params, x, clean, **settings):
    detector = Strip(**settings)
    inner = {"net": params, "clean": jnp.asarray(clean)}

    def apply(params, x):
        return model.apply(params["net"], x)

    return np.asarray(detector.look(replace(model, apply=apply), False)(inner, jnp.asarray(x))[1])[:, 0]


def test_it_is_the_mean_entropy_over_blends_of_the_loops():
    for shape in ((4,), (2, 2, 1)):
        model = linear(shape=shape)
        x, clean = (v.x.reshape(-1, *shape) for v in (records(20), records(6, seed=4)))
        found = evidence(model, weights(), x, clean, blends=6)
        expected = cleaning.strip_entropy(lambda v, model=model: np.asarray(model.apply(weights(), v)), x, clean)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def obeying(x):
    """A model that follows the third feature wherever it is large, and else cannot decide."""
    sure = jnp.where(x[:, 2] > 0.4, 50.0, 0.0)
    return jnp.zeros((len(x), CLASSES)).at[:, 1].set(sure)


def test_a_record_that_decides_under_every_other_one_has_the_least_entropy():
    """Summed over blends instead of classes, as elsewhere, the same record would have the most of all."""
    model = replace(linear(), apply=lambda params, x: obeying(x), tapped=None, layers=())
    clean = np.zeros((8, 4), np.float32)
    x = np.zeros((2, 4), np.float32)
    x[1, 2] = 2
    plain, triggered = evidence(model, None, x, clean, blends=8)
    assert plain == pytest.approx(np.log2(CLASSES)) and triggered == pytest.approx(0, abs=1e-6)
    detector = Strip(blends=8)
    suspicion = detector.suspicion(detector.unfitted(1, CLASSES), jnp.array([[plain], [triggered]]))
    assert suspicion.tolist() == pytest.approx([0, np.log2(CLASSES)], abs=1e-6)


def test_it_refuses_what_obeys_a_trigger():
    world = backdoored(0.05)
    bad = world.fit(world.data.y, np.ones(1000, bool), keys.root(5))
    detector = Strip()
    own, fresh = world.public.take(np.arange(400)), world.public.take(np.arange(400, 797))
    guarded = Target.of(detector.on_model(MODEL), detector.on_params(MODEL, bad._params, own, KEY))
    x = jnp.asarray(fresh.x)
    refused = np.asarray(guarded.labels(patched(x[fresh.y != GOAL], 3, "bottom_right", BOX))) == 10
    alarms = np.asarray(guarded.labels(x)) == 10
    assert refused.mean() > 0.95
    assert alarms.mean() < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 * (1 / 368 + 1 / 397))


def test_blends_are_not_what_the_threshold_is_set_on():
    public = records(400)
    detector = Strip(blends=50, fpr=0.1)
    params = detector.on_params(linear(), weights(), public, KEY)
    assert params["inner"]["clean"].shape == (50, 4)
    again = detector.on_params(linear(), weights(), public, KEY)
    np.testing.assert_array_equal(params["inner"]["clean"], again["inner"]["clean"])
    with pytest.raises(DataError, match="lower blends"):
        Strip(blends=400).on_params(linear(), weights(), public, KEY)


def test_a_model_outside_of_jax_can_be_asked():
    model = linear(outside=True)
    detector = Strip(blends=3)
    params = detector.on_params(model, weights(), records(40), KEY)
    target = Target.of(detector.on_model(model), params)
    assert np.asarray(target.labels(records(5).x)).shape == (5,)
