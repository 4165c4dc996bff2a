import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.defenses.model.input_noise import InputNoise
from privsec.defenses.model.randomized_smoothing import RandomizedSmoothing, radii, votes
from tests.defenses.model.toys import linear, records, weights

MODEL, PARAMS = linear(), weights()
X = jnp.asarray(records(64).x)
# Two classes, the border at x_0 = 0: smoothed, the distance |x_0| is the exact radius.
BORDER = linear(2, classes=2)
ALONG = {"last": {"bias": jnp.zeros(2), "kernel": jnp.array([[-9.0, 9.0], [0.0, 0.0]])}}


def test_golden_values():
    assert stats.norm.cdf(radii(np.array([990]), 1000, 0.001, 1.0))[0] == pytest.approx(0.976036, abs=1e-6)
    best = [radii(np.array([n]), n, 0.001, 1.0)[0] for n in (1000, 10_000, 100_000)]
    np.testing.assert_allclose(best, [2.463, 3.199, 3.811], atol=5e-4)


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_a_radius_is_that_of_the_lower_confidence_bound(alpha):
    counts = np.arange(0, 101)
    bound = np.nan_to_num(stats.beta.ppf(alpha, counts, 101 - counts))
    expected = np.where(bound > 0.5, 0.25 * stats.norm.ppf(np.maximum(bound, 0.5)), 0)
    np.testing.assert_allclose(radii(counts, 100, alpha, 0.25), expected, rtol=1e-9)
    assert radii(np.array([57]), 100, alpha, 0.25)[0] == 0


def test_certificates_hold_as_often_as_they_say():
    """The true radius is known; it may be exceeded with probability alpha a record, and is nearly reached."""
    sigma, alpha = 0.5, 0.05
    defense = RandomizedSmoothing(sigma=sigma, guesses=20, samples=200, alpha=alpha)
    distance = np.tile(np.linspace(-1, 1, 21), 60).astype(np.float32)
    x = np.stack([distance, np.ones_like(distance)], axis=1)
    labels, radius = map(np.asarray, defense.on_model(BORDER).certify(ALONG, x, jax.random.key(0)))
    certified = labels >= 0
    wrong = certified & ((labels != (distance > 0)) | (radius > np.abs(distance)))
    assert wrong.mean() < alpha + 3.5 * np.sqrt(alpha * (1 - alpha) / len(x))
    assert wrong.mean() > 0.01  # exact, not only safe
    assert (radius[~certified] == 0).all() and (radius[certified] > 0).all()
    assert certified[np.abs(distance) < 0.01].mean() < 3 * alpha  # nothing to say on the border
    medium = np.isclose(np.abs(distance), 0.5)
    assert np.median(radius[medium]) > 0.35


def test_no_change_within_a_certified_radius_changes_the_vote():
    defense = RandomizedSmoothing(sigma=0.3, samples=500, draws=300)
    target = Target.of(defense.on_model(MODEL), PARAMS)
    labels, radius = target.model.certify(PARAMS, X, jax.random.key(1))
    direction = jax.random.normal(jax.random.key(2), X.shape)
    direction = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
    ideal = votes(MODEL, PARAMS, X + radius[:, None] * direction, jax.random.key(3), 0.3, 2000).argmax(-1)
    stated = np.asarray(labels) >= 0
    assert stated.mean() > 0.3
    np.testing.assert_array_equal(np.asarray(ideal)[stated], np.asarray(labels)[stated])


def test_answers_are_votes_on_fresh_noise():
    sigma, draws = 0.5, 400
    made = RandomizedSmoothing(sigma=sigma, draws=draws).on_model(BORDER)
    x = jnp.stack([jnp.linspace(-1, 1, 9), jnp.zeros(9)], axis=1)
    share = stats.norm.cdf(np.linspace(-1, 1, 9) / sigma)
    draw = jax.jit(made.draw)
    first, second = (np.asarray(draw(ALONG, x, jax.random.split(jax.random.key(k), 9))) for k in (0, 1))
    error = np.sqrt(share * (1 - share) / draws) + 1 / draws
    for logits in (first, second, np.asarray(made.apply(ALONG, x))):
        assert (np.abs(np.exp(logits[:, 1]) - share) < 4 * error).all()
        np.testing.assert_allclose(np.exp(logits).sum(-1), 1, rtol=1e-5)
    assert not np.array_equal(first, second)


def test_the_adapted_face_is_the_mean_of_probabilities_over_the_same_noise():
    defense = RandomizedSmoothing(sigma=0.4, draws=8)
    target = Target.of(defense.on_model(MODEL), PARAMS)
    keys = jax.random.split(jax.random.key(0), len(X))
    seen = []

    def spy(params, x):
        seen.append(x)
        return MODEL.apply(params, x)

    with jax.disable_jit():  # each noisy copy passes by
        spied = Model(MODEL.init, spy, MODEL.num_classes, MODEL.shape)
        defense.on_model(spied).draw(PARAMS, X, keys)
    scores = np.mean([jax.nn.softmax(MODEL.apply(PARAMS, x)) for x in seen], axis=0)
    found = jax.jit(lambda target: target.adapted.scores(X, keys))(target)
    np.testing.assert_allclose(found, scores, rtol=1e-4)
    noise = (np.stack(seen) - np.asarray(X)) / 0.4
    assert abs(noise.std() - 1) < 3.5 / np.sqrt(2 * noise.size)  # nothing is clipped
    assert not np.allclose(noise[0], noise[1]) and not np.allclose(noise[0, 0], noise[0, 1])


def test_a_vote_has_no_gradient_and_the_mean_of_probabilities_has():
    target = Target.of(RandomizedSmoothing(sigma=0.4, draws=8).on_model(MODEL), PARAMS)

    @jax.jit
    def gradients(x):
        return [jax.grad(lambda x, t=t: jnp.sum(t.log_scores(x)[:, 0]))(x) for t in (target, target.adapted)]

    naive, adaptive = gradients(X)
    assert not naive.any()
    assert np.isfinite(adaptive).all() and adaptive.any(axis=1).all()


def test_a_random_model_is_smoothed_over_its_own_draws_too():
    """Noise in front of noise is more noise: the certificate of sigma_2 counts votes at sqrt(s1^2 + s2^2)."""
    inner = InputNoise(sigma=0.3).on_model(BORDER)
    x = jnp.tile(jnp.array([[0.25, 0.0]]), (40, 1))
    share = votes(inner, ALONG, x, jax.random.key(0), 0.4, 100)[:, 1].sum() / 4000
    expected = stats.norm.cdf(0.25 / 0.5)
    assert abs(float(share) - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)


def test_certificates_do_not_hang_on_who_else_is_certified(monkeypatch):
    made = RandomizedSmoothing(sigma=0.3, samples=50).on_model(MODEL)
    whole = made.certify(PARAMS, X, jax.random.key(0))
    assert [part.shape for part in whole] == [(64,), (64,)]
    assert [part.dtype for part in whole] == [jnp.int32, jnp.float32]
    monkeypatch.setattr("privsec.defenses.model.randomized_smoothing.CHUNK", 48)
    parts = made.certify(PARAMS, X, jax.random.key(0))
    assert np.mean(np.asarray(parts[0]) == np.asarray(whole[0])) > 0.8
