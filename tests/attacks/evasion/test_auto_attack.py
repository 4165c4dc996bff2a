"""AutoAttack: never weaker than a component, points dropped once broken, and what its default says."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.auto_attack import AutoAttack
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.ops.space import inside_ball

D, CLASSES, COUNT = 5, 4, 20


def apply(params, x):
    return jnp.sin(3 * x @ params[0]) @ params[1]


@functools.cache
def world():
    rng = np.random.default_rng(3)
    shapes = (D, 16), (16, CLASSES)
    params = tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    target = Target.of(Model(lambda key: params, apply, CLASSES, (D,)), params)
    x = rng.uniform(size=(COUNT, D)).astype(np.float32)
    y = np.asarray(target.labels(x)).astype(np.int32)
    y[0] = (y[0] + 1) % CLASSES
    return target, Knowledge(num_classes=CLASSES, points=Examples(x, y), box=(np.float32(0), np.float32(1)))


ATTACK = AutoAttack(radius=0.04, steps=8, queries=30)


def fallen(found):
    target, known = world()
    return np.asarray(target.labels(np.asarray(found.x).reshape(COUNT, D))) != known.points.y


def test_the_defaults_are_the_standard():
    ce, towards, fab, square = AutoAttack(radius=0.3, goal="any").components
    assert (ce.loss, ce.steps, ce.restarts) == ("ce", 100, 1)
    assert (towards.loss, towards.steps, towards.restarts, towards.classes) == ("dlr_targeted", 100, 1, 9)
    assert (fab.targeted, fab.steps, fab.restarts, fab.classes) == (True, 100, 1, 9)
    assert (square.queries, square.share, square.rescale) == (5000, 0.8, False)
    ce, dlr = AutoAttack(version="rand", norm="l2", goal=3).components
    assert (ce.loss, dlr.loss, ce.draws, dlr.draws, ce.restarts) == ("ce", "dlr", 20, 20, 1)
    assert {(part.norm, part.goal) for part in (ce, dlr)} == {("l2", 3)}


def test_drops_what_is_broken_and_is_never_weaker_than_a_component():
    target, known = world()
    _, points, space = ATTACK._setup(known, jax.random.key(0))
    found, broken_by = ATTACK.in_turn(target, points, space)
    fell = fallen(found)
    assert np.array_equal(fell, broken_by >= 0)
    assert 0.2 < fell.mean() < 0.95
    assert broken_by[0] == 0 and found.queries[0] == 1 and found.gradients[0] == 0
    assert np.array_equal(np.asarray(found.x)[~fell], known.points.x[~fell])
    assert np.all(inside_ball(jnp.asarray(found.x), points.x, ATTACK.radius, "linf"))
    first = broken_by == 1
    assert found.gradients[first].max() <= 9 < found.gradients[broken_by < 0].min()
    assert np.all(found.queries[broken_by < 0] > 30)
    # What its first component breaks alone it breaks too: the keys differ, so all but a point on the edge.
    alone = fallen(ATTACK.components[0].assault(target, points, space))
    assert (alone & ~fell).sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_accuracy_is_at_most_that_of_each_component(norm):
    target, known = world()
    attack = ATTACK.model_copy(update={"norm": norm})
    _, points, space = attack._setup(known, jax.random.key(0))
    found, _ = attack.in_turn(target, points, space)
    for component in attack.components:
        alone = component.assault(target, points, space)
        near = np.asarray(inside_ball(jnp.asarray(alone.x), points.x, attack.radius, norm))
        assert not (fallen(alone) & near & ~fallen(found)).any()
    whole = attack.perturb(target, points, space)  # one after the other, nothing dropped
    assert np.array_equal(fallen(whole), fallen(found))


def noisy(params, x, keys):
    return apply(params, x) + 1.0 * jax.vmap(lambda key: jax.random.normal(key, (CLASSES,)))(keys)


@pytest.mark.slow
def test_rand_lowers_the_mean_accuracy_of_a_random_model():
    target, known = world()
    random = Target.of(Model(target.model.init, apply, CLASSES, (D,), draw=noisy), target.params)
    keys = jax.random.split(jax.random.key(5), COUNT * 200).reshape(200, COUNT)
    right = jax.jit(lambda x: jnp.mean(jax.vmap(lambda keys: random.labels(x, keys))(keys) == known.points.y))
    found = AutoAttack(radius=0.3, version="rand", steps=8, draws=8).run(random, known, jax.random.key(0))
    assert right(found.x[0]) < 0.3 < 0.5 < right(known.points.x)
