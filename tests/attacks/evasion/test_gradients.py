"""What gradients are taken of: the adapted model, at fresh draws, of losses in which being refused is no success."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.base import ANY, Points
from privsec.attacks.evasion.gradients import LOSSES, evaluations, loss_and_gradient, point_loss, step_keys
from privsec.core.access import Access
from privsec.core.errors import AccessError
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.ops.margins import margin
from tests.attacks.evasion.planes import CLASSES, KERNEL, PLANES, D, hidden_gradient, planes, points_of

# Compiled, as attacks are: the losses are made once, so that their programs are shared.
NAMED = {name: point_loss(name) for name in LOSSES}
followed = jax.jit(loss_and_gradient, static_argnames=("loss", "draws"))


def some(target, goal=ANY):
    given = points_of(target)
    keys = jax.random.split(jax.random.key(5), given.size)
    return Points(jnp.asarray(given.x), jnp.asarray(given.y), jnp.full(given.size, goal, jnp.int32), keys)


def noisy(x, key):
    return x + 0.5 * jax.random.normal(key, x.shape)


def drawn(params, x, keys):
    return PLANES.apply(params, jax.vmap(noisy)(x, keys)) ** 3


RANDOM = replace(PLANES, draw=drawn)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("goal", [ANY, 1])
def test_value_and_gradient_are_those_of_the_loss(name, goal):
    target = planes()
    points = some(target, goal)
    value, gradient = followed(target, points.x, points, NAMED[name])

    def one(x, n):
        z = x @ KERNEL
        return LOSSES[name](z[None], points.y[n, None])[0] if goal == ANY else -LOSSES[name](z[None], jnp.array([1]))[0]

    for n in range(4):
        wanted, slope = jax.value_and_grad(one)(points.x[n], n)
        np.testing.assert_allclose(value[n], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient[n], slope, rtol=1e-4, atol=1e-5)


def test_the_mean_over_draws_is_the_mean_of_each_draw():
    target = Target.of(RANDOM, planes()._params)
    points = some(planes())
    keys = step_keys(points, 7)
    value, gradient = followed(target, points.x, points, NAMED["margin"], keys, draws=5)
    for n in range(3):

        def expected(x, n=n):
            each = [
                margin(drawn(target._params, x[None], key[None]), points.y[n, None])[0]
                for key in jax.random.split(keys[n], 5)
            ]
            return sum(each) / 5

        wanted, slope = jax.value_and_grad(expected)(points.x[n])
        np.testing.assert_allclose(value[n], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradient[n], slope, rtol=1e-3, atol=1e-4)
    assert evaluations(target, 5) == 5
    assert evaluations(planes(), 5) == 1


def test_draws_do_not_hang_on_the_batch_and_are_fresh_at_each_step():
    target = Target.of(RANDOM, planes()._params)
    points = some(planes())
    loss = NAMED["ce"]
    alone = points.take(np.array([3]))
    _, together = followed(target, points.x, points, loss, step_keys(points, 2), draws=4)
    _, single = followed(target, alone.x, alone, loss, step_keys(alone, 2), draws=4)
    np.testing.assert_allclose(together[3], single[0], rtol=1e-4, atol=1e-6)
    _, later = followed(target, points.x, points, loss, step_keys(points, 3), draws=4)
    assert not np.allclose(together, later)


def test_the_adapted_model_is_followed_where_there_is_one():
    masked, known = hidden_gradient(1000.0)
    points = some(planes())
    loss = NAMED["ce"]
    _, blind = followed(planes(masked), points.x, points, loss)
    _, seeing = followed(planes(known), points.x, points, loss)
    _, plain = followed(planes(), points.x, points, loss)
    assert np.mean(np.abs(blind).max(axis=1) == 0) > 0.5
    np.testing.assert_array_equal(seeing, plain)


def test_being_refused_is_no_way_to_win():
    """The last class means "refused", and rises fastest: an attack that took it for a wrong class would end there."""

    def apply(params, x):
        z = PLANES.apply(params, x)
        return jnp.concatenate([z, 10.0 * x[:, :1]], axis=1)

    model = Model(PLANES.init, apply, CLASSES + 1, (D,), rejects=True)
    target = Target.of(model, planes()._params)
    points = some(planes())._replace(x=jnp.asarray(points_of(planes()).x).at[:, 0].set(5.0))  # refused
    value, gradient = followed(target, points.x, points, NAMED["margin"])
    others = np.array(points.x @ KERNEL)
    others[np.arange(len(others)), points.y] = -np.inf
    np.testing.assert_allclose(value, others.max(axis=1) - 50.0, rtol=1e-5)
    assert (np.asarray(gradient)[:, 0] < 0).all()
    value, _ = followed(target, points.x, points._replace(goal=jnp.full_like(points.y, 1)), NAMED["margin"])
    assert (np.asarray(value) < -30).all()  # the goal has to beat the refusal
    for name in LOSSES:
        assert np.isfinite(loss_and_gradient(target, points.x, points, NAMED[name])[1]).all()


def test_gradients_take_the_access_to_them():
    with pytest.raises(AccessError):
        loss_and_gradient(planes().restrict(Access.LOGITS), some(planes()).x, some(planes()), NAMED["ce"])
