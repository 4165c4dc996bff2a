from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.evasion.decisions import NOISES, Ask
from privsec.attacks.evasion.hop_skip_jump import HALVINGS, HopSkipJump, directions, halvings_of, turned
from privsec.core.data import Constraints
from privsec.core.errors import QueryBudgetExceeded
from privsec.core.recipe import Model
from privsec.core.target import Target
from tests.attacks.evasion.walls import (
    BIAS,
    CONSTANT,
    COUNT,
    MODEL,
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

ATTACKS = {
    "l2": HopSkipJump(queries=2000),
    "linf": HopSkipJump(queries=2000, norm="linf"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_ends_near_the_nearest_adversarial_record(name):
    attack = ATTACKS[name]
    found, won = attacked(attack)
    assert won.all() and (found.gradients == 0).all() and (found.x >= -1).all() and (found.x <= 2).all()
    assert (found.queries <= 2000).all() and (found.queries > 1500).all()
    ratio = sizes(found.x, X, attack.norm) / oracle.linear_distances(WEIGHTS, BIAS, X, attack.norm).min(axis=1)
    assert (ratio > 1 - 1e-3).all() and np.median(ratio) < 1.1


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_is_as_good_as_the_loop_of_the_paper(norm):
    two = np.stack([np.zeros(D), WEIGHTS[:, 0], np.full(D, 0.0)], axis=1).astype(np.float32)
    bias = np.array([0, BIAS[0] + 0.1, -99], np.float32)
    y = (X @ two + bias).argmax(axis=1).astype(np.int32)
    target = Target.of(MODEL, (jnp.asarray(two), jnp.asarray(bias)))
    found, won = attacked(ATTACKS[norm], target, knowing(y=y, box=(np.float32(0), np.float32(1))))
    assert won.all() and halvings_of(D, norm) <= HALVINGS
    # So many rounds are what the queries pay for: sum_t 100 sqrt(t), with at most 21 for jumps and searches in each.
    rounds = 8
    assert sum(100 * t**0.5 + 21 for t in range(1, rounds + 1)) < 2000 - 21 - HALVINGS
    assert sum(100 * t**0.5 for t in range(1, rounds + 2)) > 2000 - 100
    rng = np.random.default_rng(1)
    logs = []
    for n in range(COUNT):
        wrong = lambda x, n=n: int((x @ two + bias).argmax()) != y[n]  # noqa: E731
        far = next(x for x in rng.random((1000, D)) if wrong(x))
        naive = oracle.hop_skip_jump(wrong, X[n].astype(np.float64), far, norm, rounds, rng)
        logs.append(np.log(sizes(found.x[n : n + 1], X[n : n + 1], norm)[0] / oracle.size(naive - X[n], norm)))
    assert abs(np.mean(logs)) < 4 * np.std(logs) / np.sqrt(COUNT) + 0.02


def test_outside_of_jax_it_does_the_same_and_asks_what_it_says():
    attack = HopSkipJump(queries=250, directions=20)
    given = knowing(X[:4], Y[:4])
    target = metered(budget=4 * 250)
    found, won = attacked(attack, WALLS, given)
    there = attack.run(target, given, jax.random.key(0))
    np.testing.assert_allclose(there.x[0], found.x, atol=1e-5)
    np.testing.assert_array_equal(there.queries[0], found.queries)
    assert target.spent == there.queries.sum() and won.all()
    with pytest.raises(QueryBudgetExceeded):
        attack.run(metered(budget=300), given, jax.random.key(0))


def test_a_point_is_attacked_as_if_alone():
    attack, key = ATTACKS["l2"], jax.random.key(0)
    _, points, space = attack._setup(knowing(), key)
    given = attack.prepared(WALLS, knowing(), points, space, key)
    whole = attack.assault(WALLS, points, space, *given)
    alone = attack.assault(WALLS, points.take(np.full(COUNT, 3)), space, *(part[np.full(COUNT, 3)] for part in given))
    np.testing.assert_allclose(alone.x, np.tile(whole.x[3], (COUNT, 1)), atol=1e-4)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_directions_are_of_unit_length_and_the_same_whatever_the_block(norm):
    drawn = [directions(jax.random.key(0), first, count, (5, 4), norm) for first, count in ((0, 8), (4, 4))]
    np.testing.assert_array_equal(drawn[0][4:], drawn[1])
    np.testing.assert_allclose(np.linalg.norm(drawn[0].reshape(8, -1), axis=1), 1, rtol=1e-6)


def test_two_points_errors_are_uncorrelated_though_they_share_directions():
    keys, like = jax.random.split(jax.random.key(0), 2000), jnp.zeros((2000, 3))
    signs = turned(keys, jnp.int32(1), like)
    assert (jnp.abs(signs) == 1).all() and (jnp.abs(signs.mean(axis=0)) < 0.1).all()
    assert (jnp.abs(jnp.corrcoef(signs.T) - jnp.eye(3)) < 0.1).all()
    np.testing.assert_array_equal(turned(keys[7:8], jnp.int32(1), like[:1]), signs[7:8])
    assert (turned(keys, jnp.int32(2), like) != signs).any()


def test_in_slices_it_is_the_same_attack(monkeypatch):
    attack, given = HopSkipJump(queries=400, directions=20), knowing()
    in_slices = attack.run(WALLS, given, jax.random.key(0))
    monkeypatch.setattr(Ask, "in_slices", False)
    jax.clear_caches()
    at_once = attack.run(WALLS, given, jax.random.key(0))
    np.testing.assert_allclose(in_slices.x, at_once.x, atol=1e-4)
    np.testing.assert_array_equal(in_slices.queries, at_once.queries)


def test_what_is_hopeless_or_wrong_already_comes_back_clean():
    found, won = attacked(ATTACKS["l2"], CONSTANT, knowing(y=np.zeros(COUNT, np.int32)))
    np.testing.assert_array_equal(found.x, X)
    assert not won.any() and (found.queries == 1 + NOISES).all()  # no record of another class to start from
    found, won = attacked(ATTACKS["l2"], CONSTANT, knowing(y=np.ones(COUNT, np.int32)))
    np.testing.assert_array_equal(found.x, X)
    assert won.all() and (found.queries == 1).all()


BALL = Model(
    lambda key: jnp.zeros(D),
    lambda center, x: jnp.stack([jnp.full(len(x), 0.3), 1 - jnp.linalg.norm(x - center, axis=1)], axis=1),
    2,
    (D,),
)


@pytest.mark.parametrize("goal", ["any", pytest.param(1, marks=pytest.mark.slow)])
def test_where_noise_never_succeeds_it_starts_from_a_record_that_does(goal):
    center = jnp.full(D, 0.9)
    near = np.random.default_rng(0).uniform(0.85, 0.95, (3, D)).astype(np.float32)  # within 0.7 of the center
    x, y = np.concatenate([X[:5], near]), np.array([0] * 5 + [1] * 3, np.int32)
    found, won = attacked(HopSkipJump(goal=goal, source=0), Target.of(BALL, center), knowing(x, y))
    gap = np.linalg.norm(X[:5] - 0.9, axis=1) - 0.7
    assert won.all() and len(won) == 5 and (found.queries <= 1000).all()
    assert (sizes(found.x, X[:5], "l2") < 1.1 * gap).all()


def test_records_of_a_table_stay_valid():
    x = np.round(X * 4) / 4
    x[:, :3] = np.eye(3)[np.arange(COUNT) % 3]
    y = (x @ WEIGHTS + BIAS).argmax(axis=1).astype(np.int32)
    fixed, group = np.zeros(D, bool), np.full(D, -1)
    fixed[5], group[:3] = True, 0
    constraints = Constraints(fixed, np.where(group < 0, 0.25, 0.0), np.zeros(D), group)
    box = (np.where(group < 0, -1, 0).astype(np.float32), np.where(group < 0, 2, 1).astype(np.float32))
    given = knowing(x.astype(np.float32), y, box, constraints=constraints)
    found, won = attacked(HopSkipJump(), knowledge=given)
    assert won.all()
    np.testing.assert_array_equal(found.x[:, 5], given.points.x[:, 5])
    np.testing.assert_allclose(found.x[:, 3:] * 4, np.round(found.x[:, 3:] * 4), atol=1e-5)
    np.testing.assert_array_equal(np.sort(found.x[:, :3], axis=1), np.tile([0, 0, 1], (COUNT, 1)))
