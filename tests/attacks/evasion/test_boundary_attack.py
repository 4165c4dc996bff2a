from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.boundary_attack import RATE, BoundaryAttack, adapted, on_sphere
from privsec.attacks.evasion.decisions import NOISES
from privsec.core.spec import SpecError
from tests.attacks.evasion.walls import (
    BIAS,
    CONSTANT,
    COUNT,
    WALLS,
    WEIGHTS,
    D,
    X,
    Y,
    attacked,
    knowing,
    metered,
    sizes,
)
from tests.oracles import decision as oracle

ATTACK = BoundaryAttack(queries=2000)


def test_it_ends_near_the_nearest_adversarial_record():
    found, won = attacked(ATTACK)
    assert won.all() and (found.gradients == 0).all() and (found.x >= -1).all() and (found.x <= 2).all()
    assert (found.queries >= 1999).all() and (found.queries <= 2000).all()
    ratio = sizes(found.x, X, "l2") / oracle.linear_distances(WEIGHTS, BIAS, X, "l2").min(axis=1)
    assert (ratio > 1 - 1e-3).all() and np.median(ratio) < 1.05


@pytest.mark.slow
def test_towards_a_goal():
    found, won = attacked(BoundaryAttack(queries=1000, goal="next"))
    assert won.all()
    distances = oracle.linear_distances(WEIGHTS, BIAS, X, "l2")[np.arange(COUNT), found.goal]
    assert (sizes(found.x, X, "l2") >= distances * (1 - 1e-3)).all()


def test_outside_of_jax_it_does_the_same_and_asks_what_it_says():
    attack, given, target = BoundaryAttack(queries=100), knowing(X[:4], Y[:4]), metered(budget=400)
    found, won = attacked(attack, WALLS, given)
    there = attack.run(target, given, jax.random.key(0))
    np.testing.assert_allclose(there.x[0], found.x, atol=1e-5)
    np.testing.assert_array_equal(there.queries[0], found.queries)
    assert target.spent == there.queries.sum() and won.all()


def test_what_is_hopeless_or_wrong_already_comes_back_clean():
    found, won = attacked(ATTACK, CONSTANT, knowing(y=np.zeros(COUNT, np.int32)))
    np.testing.assert_array_equal(found.x, X)
    assert not won.any() and (found.queries == 1 + NOISES).all()
    found, won = attacked(ATTACK, CONSTANT, knowing(y=np.ones(COUNT, np.int32)))
    np.testing.assert_array_equal(found.x, X)
    assert won.all() and (found.queries == 1).all()


def test_a_step_to_the_side_is_at_right_angles_and_stays_on_the_sphere():
    keys, at = jax.random.split(jax.random.key(0), COUNT), jnp.asarray(X + np.linspace(0.1, 2, D, dtype=np.float32))
    side = jnp.linspace(0.01, 0.9, COUNT)
    beside = np.asarray(on_sphere(at, jnp.asarray(X), side, keys, jnp.int32(3)))
    radius = sizes(at, X, "l2")
    np.testing.assert_allclose(sizes(beside, X, "l2"), radius, rtol=1e-4)
    cosine = np.sum((beside - X) * (np.asarray(at) - X), axis=1) / radius**2
    np.testing.assert_allclose(cosine, 1 / np.sqrt(1 + np.asarray(side) ** 2), rtol=1e-4)


def test_step_sizes_rest_where_the_wanted_share_succeeds():
    rng, size = np.random.default_rng(0), jnp.full(2000, 0.1)
    for _ in range(40):  # success is less likely the longer the step: half of the time at 0.3
        size = adapted(size, jnp.asarray(rng.random(2000) < np.exp(-np.asarray(size) * np.log(2) / 0.3)), 0.5)
    assert np.exp(np.log(np.asarray(size)).mean()) == pytest.approx(0.3, rel=RATE / 2)


def test_it_walks_on_spheres_only():
    with pytest.raises(SpecError):
        BoundaryAttack(norm="linf")
