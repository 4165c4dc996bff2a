from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.attacks.poisoning.label_flip import LabelFlip
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.testing import toy_poisoning

KEY = jax.random.key(0)
DATA = Examples(
    np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32), (np.arange(300) % 3).astype(np.int32)
)


def test_random_labels_are_other_ones_and_records_stay_as_they_are():
    poison = LabelFlip(rate=0.2).tamper(DATA, Knowledge(3), KEY)
    assert len(poison.y) == 60 and len(set(poison.replaces)) == 60
    assert (poison.y != DATA.y[poison.replaces]).all() and set(poison.y) == {0, 1, 2}
    np.testing.assert_array_equal(poison.x, DATA.x[poison.replaces])


def test_a_source_is_said_to_be_the_goal():
    poison = LabelFlip(rate=0.2, source=1, goal=2).tamper(DATA, Knowledge(3), KEY)
    assert (DATA.y[poison.replaces] == 1).all() and (poison.y == 2).all()


@pytest.mark.parametrize("settings", [{}, {"source": 1, "goal": 2}, {"goal": 0}])
def test_the_null_leaves_out_as_many_records_of_the_same_classes(settings):
    attack = LabelFlip(rate=0.2, **settings)
    poison, lesser = (each.tamper(DATA, Knowledge(3), KEY) for each in (attack, attack.control))
    np.testing.assert_array_equal(lesser.replaces, poison.replaces)
    assert not lesser.counts.any() and poison.counts.all()
    np.testing.assert_array_equal(lesser.y, DATA.y[lesser.replaces])
    with pytest.raises(NotApplicable):
        attack.control.run(toy_poisoning.spared(attack).bank, Knowledge(3), KEY)


def test_asked_are_the_points_as_they_are():
    world = toy_poisoning.spared(LabelFlip())
    for attack, goal in ((LabelFlip(), -1), (LabelFlip(source=1, goal=2), 2)):
        found = attack.run(world.bank, world.known(attack), KEY)
        points = world.knowledge.points
        np.testing.assert_array_equal(found.x[0], points.x[found.rows[0]])
        assert (found.goal == goal).all() and set(found.y[0]) == ({1} if goal == 2 else {0, 1, 2, 3})


def test_the_same_class_twice_is_no_flip():
    with pytest.raises(ValueError, match="nothing would be flipped"):
        LabelFlip(source=1, goal=1)
