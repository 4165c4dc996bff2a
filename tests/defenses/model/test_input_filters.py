import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.defenses.model.input_noise import InputNoise
from privsec.defenses.model.input_rounding import InputRounding
from privsec.defenses.model.jpeg import JPEGFilter
from privsec.ops.ascend import pgd
from privsec.ops.image_filters import jpeg, on_grid
from tests.defenses.model.toys import linear, records, weights

SIDE = 4
MODEL, PARAMS = linear(SIDE * SIDE, shape=(SIDE, SIDE, 1)), weights(SIDE * SIDE)
X = jnp.asarray(records(40, SIDE * SIDE).x.reshape(-1, SIDE, SIDE, 1))
FILTERS = {
    InputRounding(levels=4): functools.partial(on_grid, levels=4),
    JPEGFilter(quality=30): functools.partial(jpeg, quality=30),
}


def loss(model, x):
    """Not linear in the logits, so that its gradient tells where it was taken."""
    return jnp.sum(jax.nn.log_softmax(model.apply(PARAMS, x))[:, 0])


@pytest.mark.parametrize("defense", FILTERS, ids=lambda defense: defense.name)
def test_a_filter_hides_the_gradient_and_its_adapted_face_takes_that_of_the_filtered_point(defense):
    made, change = defense.on_model(MODEL), FILTERS[defense]
    assert made.adapted is not None

    @jax.jit
    def seen(x):
        faces = ((made, x), (made.adapted, x), (MODEL, change(x)))
        return [(model.apply(PARAMS, at), jax.grad(functools.partial(loss, model))(at)) for model, at in faces]

    (logits, hidden), (same, gradient), (expected, inner) = seen(X)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    np.testing.assert_allclose(same, expected, rtol=1e-5)
    assert not hidden.any()
    np.testing.assert_allclose(gradient, inner, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("defense", FILTERS, ids=lambda defense: defense.name)
def test_the_naive_attack_finds_nothing_and_the_adaptive_one_what_there_is(defense):
    target = Target.of(defense.on_model(MODEL), PARAMS)
    y = target.labels(X)

    @functools.partial(jax.jit, static_argnums=1)
    def broken(target, naive):
        followed = target.unaware.adapted if naive else target.adapted

        def error(x):
            return -jnp.take_along_axis(jax.nn.log_softmax(followed.logits(x)), y[:, None], 1)[:, 0]

        return jnp.mean(target.labels(pgd(error, X, jax.random.key(0), 0.4, 5, random_start=False)) != y)

    assert broken(target, True) == 0
    assert broken(target, False) > 0.9


def test_layers_stay_open_behind_a_filter():
    made = InputRounding(levels=4).on_model(MODEL)
    logits, taps = made.tapped(PARAMS, X, None)
    np.testing.assert_array_equal(logits, made.apply(PARAMS, X))
    np.testing.assert_array_equal(taps["last"].inputs, on_grid(X, 4).reshape(len(X), -1))
    assert made.layers == MODEL.layers


def test_jpeg_is_for_images():
    with pytest.raises(ConfigError, match=r"shape \[4\].*input_rounding"):
        JPEGFilter().on_model(linear(4))


def test_noise_is_drawn_for_each_record_from_its_own_key():
    made = InputNoise(sigma=0.5).on_model(MODEL)
    keys = jax.random.split(jax.random.key(0), len(X))
    draw = jax.jit(made.draw)
    logits = draw(PARAMS, X, keys)
    np.testing.assert_allclose(draw(PARAMS, X[::-1], keys[::-1])[::-1], logits, rtol=1e-5, atol=1e-5)
    same = draw(PARAMS, X, jnp.broadcast_to(keys[:1], keys.shape))
    assert not np.allclose(logits[1:], same[1:])
    # Of a linear model: normal with variance sigma^2 |w_c|^2, round the clean logits, not clipped to any box.
    many = jax.random.split(jax.random.key(1), 4000)
    drawn = np.asarray(draw(PARAMS, jnp.ones((4000, SIDE, SIDE, 1)), many))
    error = (drawn - np.asarray(MODEL.apply(PARAMS, jnp.ones((1, SIDE, SIDE, 1))))) / 0.5
    np.testing.assert_allclose(error.std(axis=0), np.linalg.norm(PARAMS["last"]["kernel"], axis=0), rtol=0.06)
    assert np.abs(error.mean(axis=0)).max() < 4 * error.std() / np.sqrt(4000)


def test_the_fixed_version_is_one_draw():
    made = InputNoise(sigma=0.5).on_model(MODEL)
    np.testing.assert_array_equal(made.apply(PARAMS, X), made.apply(PARAMS, X))
    shift = made.apply(PARAMS, X) - MODEL.apply(PARAMS, X)
    assert np.allclose(shift, shift[0], atol=1e-4) and not np.allclose(shift[0], 0, atol=1e-2)


def test_following_the_mean_of_draws_recovers_the_gradient():
    target = Target.of(InputNoise(sigma=0.3).on_model(MODEL), PARAMS)
    assert target.random and target.adapted is target

    def mean_logit(x):
        keys = jax.random.split(jax.random.key(0), 200)
        return jnp.mean(jax.vmap(lambda key: target.logits(x[None], key[None])[0, 0])(keys))

    gradient = jax.jit(jax.grad(mean_logit))(X[0])
    np.testing.assert_allclose(gradient.ravel(), PARAMS["last"]["kernel"][:, 0], rtol=1e-4)
