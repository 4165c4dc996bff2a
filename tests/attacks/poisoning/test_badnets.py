from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.poisoning.badnets import BadNets, patched
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import AccessError, NotApplicable
from privsec.testing import toy_poisoning
from tests.oracles import poisoning as oracle

KEY = jax.random.key(0)


def pictures(count=6, shape=(5, 7, 2), seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("corner", ["bottom_right", "bottom_left", "top_right", "top_left"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_patch_is_a_checkerboard_between_the_ends_of_the_box(corner, size):
    x = pictures()
    rng = np.random.default_rng(1)
    low, high = rng.uniform(-2, -1, x.shape[1:]), rng.uniform(1, 2, x.shape[1:])
    found = np.asarray(patched(jnp.asarray(x), size, corner, (jnp.asarray(low), jnp.asarray(high))))
    expected = [oracle.patched(one, size, corner, low, high) for one in x]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_share_of_the_candidates_of_other_classes_gets_the_patch_and_the_label():
    x, y = pictures(200), np.arange(200) % 5
    known = Knowledge(5, box=(np.zeros(x.shape[1:]), np.ones(x.shape[1:])))
    attack = BadNets(rate=0.1, goal=3, size=2)
    poison = attack.tamper(Examples(x, y), known, KEY)
    assert len(poison.y) == 20 and (poison.y == 3).all() and poison.counts.all() and (poison.pair == -1).all()
    assert len(set(poison.replaces)) == 20 and not (y[poison.replaces] == 3).any()
    for one, row in zip(poison.x, poison.replaces, strict=True):
        np.testing.assert_allclose(one, oracle.patched(x[row], 2, "bottom_right", *map(np.asarray, known.box)))


def test_of_a_source_only_its_records_are_poisoned_and_asked_about():
    x, y = pictures(100), np.arange(100) % 5
    data = Examples(x, y)
    attack = BadNets(rate=0.05, goal=3, source=1, size=2)
    poison = attack.tamper(data, Knowledge(5), KEY)
    assert (y[poison.replaces] == 1).all()
    found = attack.run(toy_poisoning.spared(attack).bank, Knowledge(5, points=data), KEY)
    assert (found.y == 1).all() and found.rows.shape == (4, 20) and (found.goal == 3).all()


def test_models_with_poison_follow_the_patch_and_others_do_not(rates):
    found = rates(BadNets(rate=0.1))
    assert found.success > 0.8 and found.null < 0.2
    assert found.accuracy > found.clean_accuracy - 0.1


@pytest.mark.parametrize(
    ("settings", "data", "reason"),
    [
        ({}, Examples(np.zeros((9, 4), np.float32), np.arange(9) % 3), "feature_trigger"),
        ({"size": 4}, Examples(np.zeros((9, 3, 3, 1), np.float32), np.arange(9) % 3), "4 x 4"),
        ({"goal": 3}, Examples(np.zeros((9, 3, 3, 1), np.float32), np.arange(9) % 3), "the goal is class 3"),
        ({"source": 7}, Examples(np.zeros((9, 3, 3, 1), np.float32), np.arange(9) % 3), "the source is class 7"),
        ({"rate": 0.9}, Examples(np.zeros((9, 3, 3, 1), np.float32), np.arange(9) % 3), "only 6 can be poisoned"),
    ],
)
def test_what_cannot_be_poisoned_is_said(settings, data, reason):
    with pytest.raises(NotApplicable, match=reason):
        BadNets(**settings).tamper(data, Knowledge(3), KEY)


def test_whoever_may_not_ask_for_labels_is_told():
    attack = BadNets()
    world = toy_poisoning.spared(attack)
    with pytest.raises(AccessError):
        attack.run(world.bank.restrict(attack.needs & ~attack.needs), world.known(attack), KEY)
