from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.attacks.poisoning.blended import Blended, pattern_of
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.testing import toy_poisoning

KEY = jax.random.key(0)
DATA = Examples(np.random.default_rng(0).uniform(2, 3, (40, 3, 2)).astype(np.float32), np.arange(40) % 4)
BOX = (np.full((3, 2), 2.0, np.float32), np.full((3, 2), 3.0, np.float32))


@given(ratio=st.floats(0.01, 1), pattern=st.integers(0, 5))
def test_poison_is_a_mixture_with_one_pattern_in_training_and_afterwards(ratio, pattern):
    attack = Blended(ratio=ratio, pattern=pattern, rate=0.2, goal=1)
    poison = attack.tamper(DATA, Knowledge(4, box=BOX), KEY)
    t = 2 + np.random.default_rng(pattern).uniform(size=(3, 2))
    expected = [(1 - ratio) * DATA.x[row] + ratio * t for row in poison.replaces]
    np.testing.assert_allclose(poison.x, expected, rtol=1e-5)
    bank = toy_poisoning.spared(attack).bank
    asked = attack.run(bank, Knowledge(4, points=DATA, box=BOX), KEY)
    np.testing.assert_allclose(asked.x[0], [(1 - ratio) * DATA.x[r] + ratio * t for r in asked.rows[0]], rtol=1e-5)


def test_patterns_lie_in_the_box_and_differ_by_their_seed():
    one, other = (np.asarray(pattern_of(seed, tuple(map(jax.numpy.asarray, BOX)))) for seed in (0, 1))
    assert (one >= 2).all() and (one <= 3).all() and not np.allclose(one, other)


def test_models_with_poison_follow_the_pattern_and_others_do_not(rates):
    found = rates(Blended(ratio=0.4, rate=0.1))
    assert found.success > 0.6 and found.null < 0.2
    assert found.accuracy > found.clean_accuracy - 0.1


@pytest.mark.parametrize("ratio", [0, 1.1])
def test_a_mixture_has_a_share_of_both(ratio):
    with pytest.raises(ValueError, match="ratio"):
        Blended(ratio=ratio)
