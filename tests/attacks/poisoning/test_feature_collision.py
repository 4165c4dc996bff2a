from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.poisoning.feature_collision import FeatureCollision, backward_step
from privsec.attacks.poisoning.targeted import Aim
from tests.attacks.poisoning import linear
from tests.attacks.poisoning.linear import KEY
from tests.oracles import poisoning as oracle


@pytest.mark.parametrize(("opacity", "closeness", "step"), [(0.3, 0.25, 0.01), (0.0, 2.0, 0.02), (0.2, 0.0, 5.0)])
def test_steps_are_those_of_the_paper(opacity, closeness, step):
    attack = FeatureCollision(opacity=opacity, closeness=closeness, step=step, steps=25, surrogates=1)
    model, base = linear.bank()[:1], linear.records(5, 7)
    aim = Aim(linear.POINTS.x[3], linear.POINTS.y[3], 1)
    found = attack.craft(model, base, aim, tuple(map(jnp.asarray, linear.BOX)), KEY)
    expected = oracle.collided(model.params["weights"][0], base.x, aim.x, opacity, 25, step, closeness, *linear.BOX)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_backward_step_minimizes_what_it_says():
    x, base = jnp.asarray([[1.0, -2.0]]), jnp.asarray([[0.0, 4.0]])
    found = np.asarray(backward_step(x, base, jnp.asarray([[0.5]]), 3.0))

    def cost(z):
        return np.sum((z - x) ** 2) / 2 + 0.5 * 3.0 * np.sum((z - base) ** 2) / 2

    for shift in np.eye(2):
        assert cost(found) <= min(cost(found + 1e-3 * shift), cost(found - 1e-3 * shift))


def test_records_come_nearer_to_the_target_in_feature_space():
    attack = FeatureCollision(opacity=0.0, steps=60, surrogates=1)
    model, base = linear.bank()[:1], linear.records(5, 8)
    aim = Aim(linear.POINTS.x[3], linear.POINTS.y[3], 1)
    made = np.asarray(attack.craft(model, base, aim, tuple(map(jnp.asarray, linear.BOX)), KEY))
    weights = np.asarray(model.params["weights"][0])
    before, after = (np.linalg.norm((x - aim.x) @ weights, axis=1) for x in (np.asarray(base.x), made))
    assert (after < 0.8 * before).all()
    assert (np.linalg.norm(made - base.x, axis=1) < np.linalg.norm(aim.x - base.x, axis=1)).all()


def test_labels_stay_right():
    attack = FeatureCollision(steps=3, rate=0.05, surrogates=2)
    poison = attack.tamper(linear.DATA, linear.known(), KEY)
    np.testing.assert_array_equal(poison.y, linear.DATA.y[poison.replaces])
    assert len(poison.y) == 4 * 2 * round(0.05 * 60) and set(poison.pair) == {0, 1, 2, 3}


def test_retrained_models_take_their_targets_for_the_goal(rates):
    found = rates(FeatureCollision(targets=4, rate=0.08, steps=40, opacity=0.5))
    assert found.success > found.null + 0.3
