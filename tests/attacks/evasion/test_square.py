"""Square: its schedule and proposals, and that it finds from scores what is there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.square import Square, energy_moved, first_change, side_schedule, square
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.targets import from_callable

SHAPE, CLASSES = (6, 6, 2), 3
started = jax.jit(first_change, static_argnums=(1, 2))


def test_sides_of_the_schedule():
    sides = side_schedule((28, 28, 1), 10000, 0.8, False, "linf")
    assert list(dict.fromkeys(sides.tolist())) == [25, 18, 13, 9, 6, 4, 3, 2, 1]
    changes = [0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert sides[changes].tolist() == [25, 18, 13, 9, 6, 4, 3, 2, 2, 1]
    assert sides[np.array(changes[1:]) - 1].tolist() == [25, 18, 13, 9, 6, 4, 3, 2, 2]
    assert np.array_equal(side_schedule((28, 28, 1), 5000, 0.8, False, "linf"), sides[:5000])
    assert np.array_equal(side_schedule((28, 28, 1), 5000, 0.8, True, "linf"), sides[::2])
    windows = side_schedule((28, 28, 1), 10000, 0.8, False, "l2")
    assert np.all(windows % 2 == 1) and windows.min() == 3
    assert side_schedule((10,), 100, 0.8, False, "linf")[[0, 11, 51]].tolist() == [8, 4, 2]


def test_squares_lie_anywhere_and_have_one_sign_a_channel():
    keys = jax.random.split(jax.random.key(0), 300)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: square(key, 2, SHAPE)))(keys))
    assert np.all((drawn != 0).sum(axis=(1, 2)) == 4)
    assert np.all(np.abs(drawn.sum(axis=(1, 2))) == 4)
    assert np.all((drawn != 0).any(axis=(0, 3)))  # the last row and column too
    flat = np.asarray(jax.jit(jax.vmap(lambda key: square(key, 3, (8,))))(keys))
    assert np.all((flat != 0).sum(axis=1) == 3) and np.all((flat > 0).any(axis=0) & (flat < 0).any(axis=0))


@pytest.mark.parametrize("shape", [(7, 6, 2), (12,)])
def test_energy_is_moved_and_stays(shape):
    move = jax.jit(jax.vmap(lambda key, change: energy_moved(key, change, 3, 0.7), in_axes=(0, 0)))
    keys = jax.random.split(jax.random.key(0), 40)
    change = 0.7 * np.asarray(jax.vmap(lambda key: started(key, shape, "l2"))(keys))
    np.testing.assert_allclose(np.linalg.norm(change.reshape(40, -1), axis=1), 0.7, rtol=1e-5)
    moved = np.asarray(move(keys, change))
    np.testing.assert_allclose(np.linalg.norm(moved.reshape(40, -1), axis=1), 0.7, rtol=1e-4)
    untouched = np.isclose(moved, change, atol=1e-5).reshape(40, -1, shape[-1] if len(shape) == 3 else 1).all(axis=2)
    window = 9 if len(shape) == 3 else 3
    assert np.all(untouched.sum(axis=1) >= np.prod(shape[:2]) - 2 * window)
    assert (np.prod(shape[:2]) - untouched.sum(axis=1)).mean() > window


def test_starts_have_the_size_of_the_ball():
    stripes = np.asarray(started(jax.random.key(0), SHAPE, "linf"))
    assert np.all(np.abs(stripes) == 1) and np.all(stripes == stripes[:1])
    for shape in ((28, 28, 3), (3, 4, 1), (9,)):
        assert np.linalg.norm(started(jax.random.key(0), shape, "l2")) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_finds_from_scores_what_a_gradient_would(norm):
    """What tells the classes apart is what squares are made of: brightness, or a bright spot above a dark one."""
    rng, shape = np.random.default_rng(0), (6, 6, 1)
    pattern = np.full(shape, 1 / 6)
    if norm == "l2":
        pattern = np.zeros(shape)
        pattern[2, 2], pattern[4, 2] = 1.0, -1.0
    weights = pattern[..., None] * np.array([-1.0, 0.0, 1.0]) + 0.05 * rng.normal(size=(*shape, CLASSES))
    weights = jnp.asarray(weights.reshape(-1, CLASSES), jnp.float32)
    model = Model(lambda key: weights, lambda w, x: x.reshape(len(x), -1) @ w, CLASSES, shape)
    target = Target.of(model, weights)
    x = rng.normal(0.0, 0.5, size=(12, 1, 1, 1)) * pattern + rng.uniform(-0.1, 0.1, size=(12, *shape))
    x = x.astype(np.float32)
    y = np.asarray(target.labels(x))
    z = np.asarray(target.logits(x))
    steepness = np.abs(weights[:, :, None] - weights[:, None]).sum(0)
    if norm == "l2":
        steepness = np.linalg.norm(weights[:, :, None] - weights[:, None], axis=0)
    gaps = z[np.arange(12), y][:, None] - z + 1e9 * (np.arange(CLASSES) == y[:, None])
    distance = np.min(gaps / np.maximum(steepness[y], 1e-9), axis=1)
    radius = float(np.median(distance))
    known = Knowledge(num_classes=CLASSES, points=Examples(x, y), box=(np.float32(-3), np.float32(3)))
    found = Square(norm=norm, radius=radius, queries=300).run(target, known, jax.random.key(0))
    fell = np.asarray(target.labels(found.x[0])) != y
    assert not fell[distance > radius].any()
    assert fell[distance < 0.6 * radius].all() and (distance < 0.6 * radius).any()
    delta = (found.x[0] - x).reshape(12, -1)
    size = np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)
    assert size.max() <= radius * (1 + 1e-5) and np.all(delta[~fell] == 0)
    assert np.all(found.gradients == 0) and np.all(found.queries[0, ~fell] == 303)


def test_a_table_behind_a_python_function_falls_and_every_query_is_counted():
    weights = np.random.default_rng(0).normal(size=(8, CLASSES))
    target = from_callable(lambda x: np.float64(x) @ weights, num_classes=CLASSES, shape=(8,), answers="logits")
    x = np.random.default_rng(1).uniform(size=(4, 8)).astype(np.float32)
    y = np.argmax(x @ weights, axis=1)
    known = Knowledge(num_classes=CLASSES, points=Examples(x, y), box=(np.float32(0), np.float32(1)))
    found = Square(radius=1.0, queries=20).run(target, known, jax.random.key(0))
    assert np.all(np.argmax(found.x[0] @ weights, axis=1) != y)
    assert target.spent >= found.queries.sum() > 4
