from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.ops.ascend import descend, pgd, project_ball, project_box, steepest

KEY = jax.random.key(0)
W = jnp.array([0.7, -0.2, 0.0, 1.5])


def linear(x):
    return x @ W


def test_one_fgsm_step_on_a_linear_model_is_the_best_perturbation():
    x = jax.random.uniform(KEY, (5, 4))
    found = pgd(linear, x, KEY, radius=0.1, steps=1, step_size=0.1, random_start=False)
    np.testing.assert_allclose(found, x + 0.1 * np.sign(W), rtol=1e-6)


def test_pgd_from_a_random_start_reaches_the_optimum_of_a_linear_model():
    x = jax.random.uniform(KEY, (5, 4))
    found = pgd(linear, x, KEY, radius=0.1, steps=20)
    np.testing.assert_allclose(linear(found) - linear(x), 0.1 * np.abs(W).sum(), rtol=1e-4)
    found = pgd(linear, x, KEY, radius=0.1, steps=20, norm="l2", random_start=False)
    np.testing.assert_allclose(linear(found) - linear(x), 0.1 * np.linalg.norm(W), rtol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_loss_rises_with_the_radius_and_the_point_stays_in_ball_and_box(norm):
    weights = jax.random.normal(KEY, (6, 3))
    x = jax.random.uniform(jax.random.key(1), (8, 6))

    def loss(points):
        return -jax.nn.log_softmax(jnp.tanh(points) @ weights)[:, 0]

    @jax.jit
    def attack(radius):
        return pgd(loss, x, jax.random.key(2), radius, 40, norm=norm, box=(jnp.float32(0), jnp.float32(1)))

    before = np.full(8, -np.inf)
    for radius in (0.0, 0.01, 0.05, 0.1, 0.3, 1.0):
        found = attack(radius)
        delta = found - x
        length = np.abs(delta).max(1) if norm == "linf" else np.linalg.norm(delta, axis=1)
        assert np.all(length <= radius + 1e-6)
        assert np.all((found >= 0) & (found <= 1))
        assert np.all(loss(found) >= before - 1e-3)
        before = np.asarray(loss(found))


def test_no_gradient_flows_through_the_result():
    assert not jnp.any(jax.grad(lambda x: jnp.sum(pgd(linear, x, KEY, 0.1, 3)))(jnp.ones((2, 4))))


def test_a_clip_inside_the_differentiated_function_stalls_where_a_projection_does_not():
    """Every pixel lies outside by a rounding error: through a clip there is no gradient, yet the point can move."""
    outside = jnp.full((1, 4), 1.0 + 1e-3)
    box = (jnp.float32(0), jnp.float32(1))

    def loss(x):
        return -jnp.sum(x, axis=1)

    assert not jnp.any(jax.grad(lambda x: jnp.sum(loss(project_box(x, box))))(outside))
    evaluate = jax.value_and_grad(lambda x: (-jnp.sum(loss(x)), -loss(x)), has_aux=True)
    found = descend(lambda x, _: (evaluate(x)[0][1], evaluate(x)[1]), outside, KEY, optax.sgd(0.1), 30, box)
    np.testing.assert_allclose(found.x, 0.0)
    np.testing.assert_allclose(pgd(loss, outside, KEY, 0.5, 10, box=box, random_start=False), 0.501, rtol=1e-5)


vectors = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)
@given(vectors, vectors, st.floats(0, 4))
def test_projection_is_the_nearest_point_of_the_ball(x, center, radius):
    x, center = jnp.array([x], jnp.float32), jnp.array([center], jnp.float32)
    delta = np.asarray(x, np.float64) - np.asarray(center)
    length = np.linalg.norm(delta)
    nearest = center + delta * (min(1.0, radius / length) if length else 1.0)
    np.testing.assert_allclose(project_ball(x, center, radius, "l2"), nearest, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        project_ball(x, center, radius, "linf"), np.clip(x, center - radius, center + radius), rtol=1e-4, atol=1e-4
    )


def test_the_steepest_step_has_unit_norm_and_a_zero_gradient_gives_none():
    g = jnp.array([[3.0, -4.0], [0.0, 0.0]])
    np.testing.assert_allclose(steepest(g, "l2"), [[0.6, -0.8], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(steepest(g, "linf"), [[1, -1], [0, 0]])


def square(x, _):
    return jnp.sum(x**2, axis=1), 2 * x


def test_descent_returns_the_best_point_it_visited_when_steps_are_far_too_long():
    start = jnp.array([[1.0, 1.0]])
    diverging = descend(square, start, KEY, optax.sgd(1.5), 10)  # x -> -2 x
    np.testing.assert_array_equal(diverging.x, start)
    assert diverging.cost[0] == 2.0


def test_each_prompt_stops_alone_and_counts_its_own_evaluations():
    start = jnp.array([[1.0], [100.0], [0.01]])
    together = descend(square, start, KEY, optax.sgd(0.25), 50, enough=1e-3)  # the cost falls fourfold a step
    np.testing.assert_array_equal(together.steps, [6, 13, 1])
    assert np.all(together.cost <= 1e-3)
    for k in range(3):
        alone = descend(square, start[k : k + 1], KEY, optax.sgd(0.25), 50, enough=1e-3)
        np.testing.assert_array_equal(alone.x[0], together.x[k])
        assert alone.steps[0] == together.steps[k]


def test_patience_ends_a_descent_that_no_longer_improves():
    stuck = descend(lambda x, _: (jnp.zeros(len(x)), x), jnp.ones((2, 3)), KEY, optax.sgd(0.1), 100, patience=7)
    np.testing.assert_array_equal(stuck.steps, [8, 8])
    assert descend(square, jnp.ones((1, 1)), KEY, optax.sgd(0.01), 100, patience=7).steps[0] == 100


def test_a_cost_that_is_not_a_number_is_never_the_best():
    def cliff(x, _):
        return jnp.where(x[:, 0] < 0.5, jnp.nan, x[:, 0]), jnp.ones_like(x)

    found = descend(cliff, jnp.ones((1, 1)), KEY, optax.sgd(0.2), 10)
    np.testing.assert_allclose(found.x, 0.6, rtol=1e-5)
