"""Auto-PGD against its oracle, step by step; goals, few classes, random models."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.apgd import APGD, checkpoint_gaps, on_surface
from privsec.attacks.evasion.base import ANY, Points, over_chunks
from privsec.core.attack import Knowledge
from privsec.core.data import Constraints, Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.ops.space import Space
from privsec.targets import from_callable
from tests.oracles import auto_attack as oracle

D = 6


def linear(params, x):
    return x @ params


@functools.cache
def world(classes=4):
    """A linear model of so many classes, and 12 records it recognizes."""
    rng = np.random.default_rng(classes)
    weights = rng.normal(size=(D, classes)).astype(np.float32)
    x = rng.uniform(0.2, 0.8, size=(12, D)).astype(np.float32)
    y = np.argmax(x @ weights, axis=1).astype(np.int32)
    model = Model(lambda key: jnp.zeros((D, classes)), linear, classes, (D,))
    known = Knowledge(num_classes=classes, points=Examples(x, y), box=(np.float32(-9), np.float32(9)))
    return Target.of(model, jnp.asarray(weights)), known, weights


def broken(target, found, known):
    return np.asarray(target.labels(found.x[0])) != known.points.y


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(100, [22, 41, 57, 70, 80, 87, 93, 99]), (10, [2, 3, 4, 5, 6, 7, 8, 9, 10]), (1, [1])],
)
def test_checkpoints(steps, expected):
    gaps = checkpoint_gaps(steps)
    assert (np.flatnonzero(gaps) + 1).tolist() == expected
    assert np.array_equal(np.cumsum(gaps[gaps > 0]), expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_lie_on_the_surface_of_the_ball(norm):
    keys = jax.random.split(jax.random.key(0), 50)
    delta = np.asarray(on_surface(keys, (4, 4, 1), 0.3, norm)).reshape(50, -1)
    size = np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)
    np.testing.assert_allclose(size, 0.3, rtol=1e-5)
    assert abs(delta.mean()) < 0.03  # 800 draws of standard deviation at most 0.18: five standard errors


def waves(x):
    """Two logits of two features, with hills; class 0 always wins by far."""
    return np.stack([6 + 0 * x[..., 0], np.sin(3 * x[..., 0]) + np.cos(4 * x[..., 1]) + x[..., 0] * x[..., 1]], -1)


def waves_pulled_back(x, c):
    by_0 = 3 * np.cos(3 * x[..., 0]) + x[..., 1]
    by_1 = -4 * np.sin(4 * x[..., 1]) + x[..., 0]
    return c[..., 1:] * np.stack([by_0, by_1], -1)


@pytest.mark.parametrize(("norm", "steps"), [("linf", 20), ("l2", 30)])
def test_every_iterate_is_the_oracles(norm, steps):
    visited = []

    def pull_back(x, c):
        visited.append(np.array(x[0], np.float64))
        return waves_pulled_back(np.float64(x), np.float64(c))

    target = from_callable(
        lambda x: waves(np.float64(x)), num_classes=2, shape=(2,), answers="logits", pull_back=pull_back
    )
    clean = np.random.default_rng(0).uniform(0.3, 0.7, 2).astype(np.float32)
    known = Knowledge(num_classes=2, points=Examples(clean[None], np.array([0])), box=(np.float32(0), np.float32(1.2)))
    found = APGD(norm=norm, radius=0.5, steps=steps).run(target, known, jax.random.key(0))

    def loss(x):
        z = waves(x)
        p = 1 / (1 + np.exp(z[0] - z[1]))
        return -np.log1p(-p), waves_pulled_back(x, np.array([-p, p]))

    expected, returns = oracle.apgd(loss, np.float64(clean), visited[0], 0.5, steps, norm, 0.0, 1.2)
    assert returns >= 3
    np.testing.assert_allclose(visited, expected, atol=2e-3)
    assert found.gradients[0, 0] == steps + 1 and found.queries[0, 0] == steps + 2
    assert np.array_equal(found.x[0, 0], clean)  # nothing was found


@pytest.mark.parametrize(("loss", "norm"), [("ce", "linf"), ("dlr_targeted", "l2")])
def test_breaks_what_can_be_broken_on_a_linear_model_and_nothing_else(loss, norm):
    target, known, weights = world()
    distance = np.array([oracle.nearest_boundary(np.float64(weights), x, norm) for x in known.points.x])
    attack = APGD(norm=norm, radius=1.02 * float(np.median(distance)), loss=loss, steps=20, classes=3)
    found = attack.run(target, known, jax.random.key(0))
    fell = broken(target, found, known)
    near = distance < attack.radius
    assert not fell[~near].any()
    assert found.gradients[0, ~near].min() == 21 * (3 if loss == "dlr_targeted" else 1)
    # A point that only just can be broken takes the best class; only the targeted run is sure to try it.
    assert fell[near].mean() >= (1 if loss == "dlr_targeted" else 0.8)
    delta = found.x[0] - known.points.x
    size = np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)
    assert size.max() <= attack.radius * (1 + 1e-5)
    assert np.all(delta[~fell] == 0)


def test_a_point_is_attacked_as_if_it_were_alone():
    target, known, weights = world()
    x, y = (jnp.asarray(part) for part in known.points)
    points = Points(x, y, jnp.full(12, ANY), jax.random.split(jax.random.key(0), 12))
    space = Space(jnp.full(D, -9.0), jnp.full(D, 9.0))
    distance = [oracle.nearest_boundary(np.float64(weights), x, "linf") for x in known.points.x]
    attack = APGD(radius=1.02 * float(np.median(distance)), steps=20, classes=3)  # compiled by the test before
    others = np.array([5, 9, 9, 9, 1, 8, 8, 8, 8, 8, 8, 8])
    together, apart = (over_chunks(attack, target, points.take(rows), space) for rows in (np.arange(12), others))
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one[others], other, rtol=1e-6)


def test_three_classes_fall_back_and_a_goal_is_reached():
    target, known, _ = world(3)
    found = APGD(radius=2.0, loss="dlr_targeted", goal="next", steps=10).run(target, known, jax.random.key(0))
    assert np.array_equal(target.labels(found.x[0]), (known.points.y + 1) % 3)


@pytest.mark.slow
def test_two_classes_fall_back_and_tables_stay_tables():
    target, known, _ = world(2)
    rules = Constraints(
        fixed=np.arange(D) == 0,
        step=np.where(np.arange(D) == 1, 0.5, 0.0),
        offset=np.zeros(D),
        group=np.full(D, -1),
    )
    x = known.points.x.copy()
    x[:, 1] = 0.5
    y = np.asarray(target.labels(x))
    constrained = Knowledge(num_classes=2, points=Examples(x, y), box=known.box, constraints=rules)
    found = APGD(radius=1.2, loss="dlr", steps=10).run(target, constrained, jax.random.key(0))
    fell = np.asarray(target.labels(found.x[0])) != y
    assert fell.mean() > 0.5
    assert np.array_equal(found.x[0, :, 0], x[:, 0])
    np.testing.assert_allclose(found.x[0, :, 1] * 2, np.round(found.x[0, :, 1] * 2), atol=1e-6)


def noisy(params, x, keys):
    return linear(params, x) + 3.0 * jax.vmap(lambda key: jax.random.normal(key, (4,)))(keys)


def test_a_model_that_answers_at_random_is_attacked_on_average():
    target, known, weights = world()
    model = Model(target.model.init, linear, 4, (D,), draw=noisy)
    random = Target.of(model, jnp.asarray(weights))
    x, y = jnp.asarray(known.points.x), known.points.y
    fresh = jax.random.split(jax.random.key(9), 12 * 200).reshape(200, 12)
    right = jax.jit(lambda x: jax.vmap(lambda keys: random.labels(x, keys))(fresh))
    found = APGD(radius=3.0, steps=10, draws=8).run(random, known, jax.random.key(0))
    before, after = (np.mean(right(x) == y) for x in (x, found.x[0]))
    assert after < 0.02 < 0.3 < before
    assert np.all(found.gradients % 8 == 0) and np.all(found.queries % 10 == 0)


@pytest.mark.slow
def test_refusing_is_no_success():
    """The last class says "refused" and wins wherever the first feature is large: that way out is no way."""

    def apply(params, x):
        z = linear(params, x)
        return jnp.concatenate([z, 40 * x[:, :1]], axis=1)

    target, known, weights = world()
    refusing = Target.of(Model(target.model.init, apply, 5, (D,), rejects=True), jnp.asarray(weights))
    x = known.points.x.copy()
    x[:, 0] = -1.0
    y = np.asarray(refusing.labels(x))
    assert y.max() < 4
    told = Knowledge(num_classes=4, points=Examples(x, y), box=known.box)
    found = APGD(radius=3.0, loss="dlr_targeted", steps=20).run(refusing, told, jax.random.key(0))
    labels = np.asarray(refusing.labels(found.x[0]))
    assert np.mean((labels != y) & (labels < 4)) > 0.9
