"""FAB: its projection against mathematical programming, its distances against those to planes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.fab import FAB, to_plane
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from tests.oracles import auto_attack as oracle

D, CLASSES = 6, 4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_the_smallest_change_that_reaches_the_plane(norm):
    rng = np.random.default_rng(0)
    count = 12
    low, high = np.zeros((count, 4)), np.tile([1.0, 1.0, 2.0, 0.6], (count, 1))
    x = rng.uniform(low, high)
    x[0], x[1, 0] = high[0], 0.0
    normal = rng.normal(size=(count, 4)) * [1.0, 3.0, 0.2, 1.0]
    normal[2, 1] = 0.0
    most = np.maximum(normal * (high - x), normal * (low - x)).sum(axis=1)
    gap = most * np.linspace(0.05, 1.3, count)  # the last ones are out of reach
    args = (jnp.asarray(part, jnp.float32) for part in (x, normal, gap, low, high))
    found = np.asarray(to_plane(*args, norm))
    for n in range(count):
        d = found[n]
        assert np.all(x[n] + d >= low[n] - 1e-6) and np.all(x[n] + d <= high[n] + 1e-6)
        expected = oracle.to_plane(x[n], normal[n], gap[n], low[n], high[n], norm)
        if gap[n] > most[n]:
            np.testing.assert_allclose(normal[n] @ d, most[n], rtol=1e-5)
            continue
        np.testing.assert_allclose(normal[n] @ d, gap[n], rtol=1e-4, atol=1e-6)
        order = np.inf if norm == "linf" else 2
        np.testing.assert_allclose(np.linalg.norm(d, order), np.linalg.norm(expected, order), rtol=2e-3, atol=1e-5)


def test_projection_goes_either_way_and_nowhere_without_a_plane():
    x, box = jnp.full((3, 2), 0.5), (jnp.zeros((3, 2)), jnp.ones((3, 2)))
    normal = jnp.array([[1.0, -3.0], [1.0, -3.0], [0.0, 0.0]])
    d = to_plane(x, normal, jnp.array([0.8, -0.8, 0.8]), *box, "linf")
    np.testing.assert_allclose(d, [[0.2, -0.2], [-0.2, 0.2], [0, 0]], atol=1e-6)
    d = to_plane(x, normal, jnp.array([1.0, -1.0, 1.0]), *box, "l2")
    np.testing.assert_allclose(d, [[0.1, -0.3], [-0.1, 0.3], [0, 0]], atol=1e-6)


@pytest.mark.parametrize(("norm", "targeted"), [("linf", True), ("l2", False)])
def test_changes_on_a_linear_model_are_the_distances_to_its_boundary(norm, targeted):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(D, CLASSES)).astype(np.float32)
    x = rng.uniform(size=(10, D)).astype(np.float32)
    y = np.argmax(x @ weights, axis=1).astype(np.int32)
    y[0] = (y[0] + 1) % CLASSES  # the model already errs here
    target = Target.of(
        Model(lambda key: jnp.zeros((D, CLASSES)), lambda w, x: x @ w, CLASSES, (D,)), jnp.asarray(weights)
    )
    known = Knowledge(num_classes=CLASSES, points=Examples(x, y), box=(np.float32(-9), np.float32(9)))
    found = FAB(norm=norm, targeted=targeted, steps=10, radius=1e-3).run(target, known, jax.random.key(0))
    assert np.all(np.asarray(target.labels(found.x[0])) != y)
    delta = found.x[0] - x
    size = np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)
    expected = [oracle.nearest_boundary(np.float64(weights), record, norm) for record in x[1:]]
    assert size[0] == 0 and found.gradients[0, 0] == 0
    assert np.all(size[1:] >= np.array(expected) * 0.999)
    np.testing.assert_allclose(size[1:], expected, rtol=0.02)  # steps overshoot by 5% and come back by tenths
    assert np.all(found.gradients[0, 1:] == 30) and np.all(found.queries[0, 1:] == (32 if targeted else 12))
