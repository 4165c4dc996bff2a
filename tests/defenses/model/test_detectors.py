import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from privsec.core.data import Examples
from privsec.core.errors import DataError
from privsec.core.target import Target
from privsec.defenses.model.detector import joint, refusing, threshold
from privsec.defenses.model.feature_squeezing import FeatureSqueezing
from privsec.defenses.model.knn_detector import KNNDetector, neighbor_distance, of_unit_length
from privsec.defenses.model.mahalanobis import Mahalanobis, distance, gaussian
from privsec.ops.image_filters import median, on_grid
from tests.defenses.model.toys import CLASSES, linear, records, weights
from tests.oracles import defended

MODEL, PARAMS, PUBLIC = linear(), weights(), records(400)
DETECTORS = [Mahalanobis(), KNNDetector(), FeatureSqueezing(bits=2)]
RNG = np.random.default_rng(0)
BY_NAME = pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.name)


@functools.cache
def guarded(detector):
    params = detector.on_params(MODEL, PARAMS, PUBLIC, jax.random.key(0))
    return Target.of(detector.on_model(MODEL), params)


@jax.jit
def answers(target, x):
    return target.logits(x), target.adapted.logits(x)


@BY_NAME
def test_it_refuses_as_many_clean_records_as_it_says_and_leaves_the_others_alone(detector):
    fresh = records(2000, seed=2)
    served, adapted = map(np.asarray, answers(guarded(detector), fresh.x))
    refused = served.argmax(-1) == CLASSES
    # The threshold is from 200 records (400 where nothing is fitted): 3.5 standard errors.
    assert abs(refused.mean() - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 * (1 / 200 + 1 / 2000))
    np.testing.assert_array_equal(adapted.argmax(-1) == CLASSES, refused)
    plain = np.asarray(MODEL.apply(PARAMS, fresh.x))
    np.testing.assert_allclose(served[~refused, :CLASSES], plain[~refused], rtol=1e-5)
    assert (served[refused] == served[refused][0]).all()  # a refusal tells nothing of the record


@pytest.mark.parametrize("detector", DETECTORS[:2], ids=lambda detector: detector.name)
def test_what_is_like_no_known_record_is_refused(detector):
    strange = -3 * records(2000, seed=3).x
    served, _ = answers(guarded(detector), strange)
    assert (np.asarray(served).argmax(-1) == CLASSES).mean() > 0.99


@jax.jit
def less_excessive(target, x):
    def excess(x):
        logits = target.adapted.logits(x)
        return jnp.sum(logits[:, CLASSES] - jnp.max(logits[:, :CLASSES], axis=-1))

    return x - 0.02 * jnp.sign(jax.grad(excess)(x))


@BY_NAME
def test_following_the_joint_logits_makes_refused_records_accepted(detector):
    """Noise made most of them suspicious; the steps go twice as far, so hardly any need stay so."""
    target, x = guarded(detector), jnp.asarray(records(2000, seed=2).x)
    if detector.name != "feature_squeezing":
        x = x + 0.2 * jax.random.normal(jax.random.key(1), x.shape)
    refused = still = np.asarray(answers(target, x)[0]).argmax(-1) == CLASSES
    assert refused.sum() > 30
    for _ in range(20):
        x = less_excessive(target, x)
        still = still & (np.asarray(answers(target, x)[0]).argmax(-1) == CLASSES)
    assert still.sum() < 0.05 * refused.sum()


@BY_NAME
def test_before_it_is_fitted_it_refuses_nothing(detector):
    made = detector.on_model(MODEL)
    served, adapted = answers(Target.of(made, made.init(jax.random.key(0))), records(2000, seed=2).x)
    assert max(np.asarray(served).argmax(-1).max(), np.asarray(adapted).argmax(-1).max()) < CLASSES


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, (4, 3), elements=st.floats(-50, 50, width=32)),
    arrays(np.float32, (4,), elements=st.floats(-2, 2, width=32)),
)
def test_joint_logits_refuse_exactly_where_there_is_excess(logits, excess):
    together = np.asarray(joint(logits, excess, False))
    np.testing.assert_array_equal(together[:, :3], logits)
    differ = logits.max(-1) - logits.mean(-1) > 1e-3 * (1 + np.abs(logits).max())
    clear = differ & (np.abs(excess) > 1e-2)
    np.testing.assert_array_equal((together.argmax(-1) == 3)[clear], (excess > 0)[clear])
    shifted = np.asarray(joint(logits + 8, excess, False))
    np.testing.assert_allclose(shifted - 8, together, atol=2e-3)
    # Of centered logits it is Carlini & Wagner's (1 + D) max z.
    centered = logits - logits.mean(-1, keepdims=True)
    np.testing.assert_allclose(joint(centered, excess, False)[:, 3], (1 + excess) * centered.max(-1), atol=1e-3)


def test_an_attacker_is_led_to_where_there_is_no_excess_and_not_to_where_all_classes_are_alike():
    """d (z_refused - max z) is along the excess alone, at the scale of the logits; nothing is won by equal logits."""
    logits, excess = jnp.array([[3.0, 1.0, -1.0]]), jnp.array([0.7])

    def margin(logits, excess):
        together = joint(logits, excess, False)
        return jnp.sum(together[:, -1] - jnp.max(together[:, :-1], axis=-1))

    by_logits, by_excess = jax.grad(margin, (0, 1))(logits, excess)
    assert not by_logits.any()
    assert by_excess.tolist() == [2.0]


def test_two_refusals_are_one():
    logits = jnp.array([[1.0, 2.0, 9.0], [1.0, 2.0, -9.0], [1.0, 2.0, -9.0]])
    excess = jnp.array([-1.0, 1.0, -1.0])
    assert np.asarray(joint(logits, excess, True)).argmax(-1).tolist() == [2, 2, 1]
    assert np.asarray(refusing(logits, excess > 0, True)).argmax(-1).tolist() == [2, 2, 1]
    assert refusing(logits, excess > 0, False).shape == (3, 4)


def test_a_threshold_covers_the_next_record_as_often_as_it_says():
    exceeded = [RNG.normal() > threshold(RNG.normal(size=39), 0.1) for _ in range(4000)]
    assert abs(np.mean(exceeded) - 0.1) < 3.5 * np.sqrt(0.09 / 4000)
    with pytest.raises(DataError, match="at least 19"):
        threshold(np.zeros(18), 0.05)
    assert threshold(np.arange(19.0), 0.05) == 18


def test_mahalanobis_is_the_distance_by_the_inverse_covariance():
    features = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 5)) + 40
    y = RNG.choice([0, 2], 60)  # class 1 has no record
    queries = features[:20] + RNG.normal(size=(20, 5))
    found = distance(gaussian(features, y, 3, 0.2), queries.astype(np.float32))
    np.testing.assert_allclose(found, defended.mahalanobis(features, y, queries, 0.2), rtol=1e-3)
    dead = features * [1, 1, 1, 0, 0]
    assert np.isfinite(distance(gaussian(dead, y, 3, 0.01), queries.astype(np.float32))).all()


def test_the_distance_to_the_kth_neighbor():
    known, queries = RNG.normal(size=(30, 4)).astype(np.float32), RNG.normal(size=(9, 4)).astype(np.float32)
    for k in (1, 3):
        found = neighbor_distance(queries, of_unit_length(known), k)
        np.testing.assert_allclose(found, defended.neighbor(known, queries, k), rtol=1e-4, atol=1e-6)
    assert np.isfinite(jax.grad(lambda q: jnp.sum(neighbor_distance(q, of_unit_length(known), 1)))(0 * queries)).all()
    with pytest.raises(DataError, match="lower k"):
        KNNDetector(k=30).on_params(MODEL, PARAMS, PUBLIC.take(np.arange(50)), jax.random.key(0))


def test_squeezing_looks_at_the_squeezer_that_changes_most():
    model, params = linear(36, shape=(6, 6, 1)), weights(36)
    x = records(20, 36).x.reshape(-1, 6, 6, 1)
    detector = FeatureSqueezing(bits=3, median=3)
    found = detector.suspicion({}, detector.look(model, False)(params, x)[1])
    scores, coarse, smooth = (
        np.asarray(jax.nn.softmax(model.apply(params, v))) for v in (x, on_grid(x, 8), median(x, 3))
    )
    expected = np.maximum(np.abs(scores - coarse).sum(-1), np.abs(scores - smooth).sum(-1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    # A table has no neighbors to take a median of.
    assert len(FeatureSqueezing().squeezers(MODEL)) == 1


def test_half_of_the_records_fit_and_the_other_half_sets_the_threshold():
    """In-sample distances are too small where features outnumber records, and would give a third of false alarms."""
    model, params = linear(40), weights(40, scale=0.1)
    public, fresh = records(80, 40), records(1000, 40, seed=5)
    detector = Mahalanobis(shrinkage=0.01)
    target = Target.of(detector.on_model(model), detector.on_params(model, params, public, jax.random.key(0)))
    # The threshold is the largest but one of 40: by the Beta law of its rank, above 14% with probability 1e-2.
    assert np.mean(np.asarray(target.labels(fresh.x)) == CLASSES) < 0.14
    fitted = detector.fit(public.x, public.y, CLASSES)
    own, others = (np.asarray(detector.suspicion(fitted, jnp.asarray(x))) for x in (public.x, fresh.x))
    assert np.mean(others > threshold(own, 0.05)) > 0.3


def test_no_false_alarms_allowed_is_no_detector():
    off = Mahalanobis(fpr=0)
    assert off.on_model(MODEL) is MODEL
    assert off.on_params(MODEL, PARAMS, Examples(PUBLIC.x[:2], PUBLIC.y[:2]), jax.random.key(0)) is PARAMS
