import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from privsec.core.keys import query_keys
from privsec.defenses.outputs.noise import Noise, draw

SECRET = jax.random.key(11)


@functools.partial(jax.jit, static_argnums=0)
def answer(defense, log_scores, x):
    return defense.on_outputs(jnp.broadcast_to(log_scores, (x.shape[0], log_scores.shape[-1])), x, SECRET)


@functools.partial(jax.jit, static_argnums=(0, 2))
def noise_of(mechanism, x, num_classes):
    return draw(mechanism, query_keys(SECRET, x), num_classes)


@jax.jit
def digests(x, secret=SECRET):
    return jax.random.key_data(query_keys(secret, x))


def queries(number, features, seed=0):
    return np.random.default_rng(seed).normal(size=(number, features)).astype(np.float32)


def test_repeating_a_query_repeats_the_answer_so_nothing_averages_away():
    x = queries(1, 8)
    log_scores = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    asked = [np.asarray(answer(Noise(scale=0.1), log_scores, x)) for _ in range(3)]
    batch = answer(Noise(scale=0.1), log_scores, np.repeat(x, 50, 0))
    np.testing.assert_allclose(np.concatenate([*asked, batch]), np.repeat(asked[0], 53, 0), rtol=1e-6)
    assert not np.allclose(asked[0], log_scores, atol=1e-3)


def test_every_other_query_and_every_other_secret_draws_afresh():
    x = queries(500, 6)
    neighbors = x.copy()
    neighbors[:, 3] = np.nextafter(neighbors[:, 3], np.float32(np.inf))
    swapped = x[:, [1, 0, 2, 3, 4, 5]]
    every = [digests(part) for part in (x, neighbors, swapped, -x)] + [digests(x, jax.random.key(12))]
    assert len(np.unique(np.concatenate(every), axis=0)) == 2500


def test_noise_of_neighboring_queries_is_uncorrelated():
    x = queries(4000, 3)
    neighbors = np.nextafter(x, np.float32(np.inf))
    one, other = (np.asarray(noise_of("gaussian", part, 2)) for part in (x, neighbors))
    for column in range(2):
        # Correlation of 4,000 independent pairs: standard deviation 1 / sqrt(4000) = .016.
        assert abs(np.corrcoef(one[:, column], other[:, column])[0, 1]) < 4 * 0.016
    assert abs(np.corrcoef(one[:, 0], one[:, 1])[0, 1]) < 4 * 0.016


def test_an_image_is_its_flat_features_and_minus_zero_is_zero():
    x = queries(2, 12)
    x[:, 4] = 0.0
    minus = x.copy()
    minus[:, 4] = -0.0
    np.testing.assert_array_equal(digests(x.reshape(2, 2, 2, 3)), digests(x))
    np.testing.assert_array_equal(digests(minus), digests(x))


@pytest.mark.parametrize(("mechanism", "law"), [("gaussian", stats.norm), ("laplace", stats.laplace)])
def test_noise_has_its_law(mechanism, law):
    noise = np.asarray(noise_of(mechanism, queries(5000, 4), 4), np.float64).ravel()
    assert stats.kstest(noise, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("mechanism", "spread"), [("gaussian", 1.0), ("laplace", np.sqrt(2.0))])
def test_scale_is_in_units_of_probability(mechanism, spread):
    # Away from 0 and 1 nothing is clipped; with C classes a score's error is n - p * sum(n), of variance
    # (1 - 2p + C p^2) spread^2 at small scales.
    classes, scale = 4, 0.005
    log_scores = jnp.log(jnp.full((1, classes), 1 / classes))
    answered = np.exp(answer(Noise(mechanism=mechanism, scale=scale), log_scores, queries(5000, 4)))
    expected = scale * spread * np.sqrt(1 - 2 / classes + classes / classes**2)
    assert np.std(answered - 1 / classes) == pytest.approx(expected, rel=0.05)


def test_averaging_over_near_queries_cleans_the_answer_as_the_docstring_warns():
    truth = np.array([0.5, 0.3, 0.2])
    near = 1.0 + 1e-6 * queries(2000, 5)
    answered = np.exp(answer(Noise(scale=0.05), jnp.log(truth)[None], near))
    assert np.abs(answered.mean(0) - truth).max() < 0.01 < np.abs(answered - truth).max()
