from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.poisoning.targeted import Aim
from privsec.attacks.poisoning.witches_brew import WitchesBrew, mismatch
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from tests.attacks.poisoning import linear
from tests.attacks.poisoning.linear import KEY
from tests.oracles import poisoning as oracle

QUICK = WitchesBrew(steps=60, rate=0.1, restarts=2, surrogates=1, radius=0.2)


@pytest.mark.parametrize("seed", range(3))
def test_the_mismatch_is_one_minus_the_cosine_of_whole_gradients(seed):
    rng = np.random.default_rng(seed)
    params = {"weights": jnp.asarray(rng.normal(size=(linear.D, linear.C)), jnp.float32)}
    base, target = linear.records(7, seed), rng.uniform(size=linear.D).astype(np.float32)
    goal = jnp.asarray([seed % linear.C], jnp.int32)

    def loss(at):
        return -jax.nn.log_softmax(linear.apply(at, jnp.asarray(target)[None]))[0, goal[0]]

    found = mismatch(linear.MODEL, params, jnp.asarray(base.x), jnp.asarray(base.y), jax.grad(loss)(params))
    expected = oracle.mismatch(params["weights"], base.x, base.y, target, int(goal[0]))
    assert float(found) == pytest.approx(expected, abs=1e-5)


def test_crafted_records_match_better_and_stay_near_and_in_the_box():
    model, base = linear.bank()[:1], linear.DATA.take(linear.DATA.y == 1)
    base = base.take(np.arange(6))
    aim = Aim(linear.POINTS.x[0], linear.POINTS.y[0], 1)
    made = np.asarray(QUICK.craft(model, base, aim, tuple(map(jnp.asarray, linear.BOX)), KEY))
    weights = model.params["weights"][0]
    before, after = (oracle.mismatch(weights, x, base.y, aim.x, 1) for x in (base.x, made))
    assert after < before - 0.02
    assert np.abs(made - base.x).max() <= 0.2 + 1e-6 and made.min() >= 0 and made.max() <= 1


def test_each_pair_of_models_has_targets_and_poison_of_its_own():
    attack, known = QUICK.model_copy(update={"targets": 2}), linear.known()
    poison = attack.tamper(linear.DATA, known, KEY)
    count = round(0.1 * 60)
    rows, goals = attack.aims(known, 4)
    assert len(set(rows.ravel())) == 8 and (goals != linear.POINTS.y[rows]).all()
    np.testing.assert_array_equal(poison.y, linear.DATA.y[poison.replaces])
    for p in range(4):
        own = poison.replaces[poison.pair == p]
        assert len(own) == len(set(own)) == 2 * 2 * count
        for m in (2 * p, 2 * p + 1):
            trained = own[known.included[m, own]]
            assert sorted(linear.DATA.y[trained]) == sorted(np.repeat(goals[p], count))
    asked = attack.run(linear.bank(), known, KEY)
    assert asked.x.shape == (8, 2, linear.D)
    for t in range(8):
        np.testing.assert_array_equal(asked.rows[t], rows[t // 2])
        np.testing.assert_array_equal(asked.goal[t], goals[t // 2])
        np.testing.assert_array_equal(asked.x[t], linear.POINTS.x[rows[t // 2]])


def test_poison_is_never_worked_out_on_the_victim_or_its_twin():
    attack = WitchesBrew(surrogates=6)
    for m in range(8):
        chosen = attack._surrogates(linear.known(), m, KEY)
        assert len(set(chosen)) == 6 and not np.isin(chosen // 2, m // 2).any()
    with pytest.raises(NotApplicable, match="7 clean models"):
        WitchesBrew(surrogates=7)._surrogates(linear.known(), 0, KEY)


@pytest.mark.parametrize(
    ("settings", "changed", "reason"),
    [
        ({"rate": 0.5}, {}, "of the goal's class are left"),
        ({"targets": 11}, {}, "take 44 targets, and there are 40"),
        ({"goal": 3}, {}, "the goal is class 3"),
        ({}, {"references": None}, "clean models"),
        ({}, {"points": Examples(np.zeros((0, linear.D)), np.zeros(0, np.int32))}, "needs records"),
    ],
)
def test_what_cannot_be_brewed_is_said(settings, changed, reason):
    with pytest.raises(NotApplicable, match=reason):
        QUICK.model_copy(update=settings).tamper(linear.DATA, linear.known(**changed), KEY)


def test_retrained_models_take_their_targets_for_the_goal(rates):
    found = rates(WitchesBrew(targets=4, rate=0.08, radius=0.3, steps=40, restarts=1, surrogates=1))
    assert found.success > found.null + 0.3
