from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.attacks.poisoning.sig import SIG
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.testing import toy_poisoning
from tests.oracles import poisoning as oracle

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(-1, 1, (60, 4, 9, 2)).astype(np.float32)
DATA = Examples(X, np.arange(60) % 3)
BOX = (np.full(X.shape[1:], -1.0, np.float32), np.full(X.shape[1:], 1.0, np.float32))


def test_only_records_of_the_goal_get_the_wave_and_every_label_is_right():
    attack = SIG(rate=0.1, goal=2, frequency=3, amplitude=0.2)
    poison = attack.tamper(DATA, Knowledge(3, box=BOX), KEY)
    assert len(poison.y) == 6 and (poison.y == 2).all() and (DATA.y[poison.replaces] == 2).all()
    expected = [oracle.sinusoid(X[row], 0.2, 3, *BOX) for row in poison.replaces]
    np.testing.assert_allclose(poison.x, expected, atol=1e-5)


def test_models_are_asked_about_a_stronger_wave_on_other_classes():
    attack = SIG(goal=2, frequency=3, asked_amplitude=0.6)
    bank = toy_poisoning.spared(attack).bank
    found = attack.run(bank, Knowledge(3, points=DATA, box=BOX), KEY)
    assert set(found.y[0]) == {0, 1}
    expected = [oracle.sinusoid(X[row], 0.6, 3, *BOX) for row in found.rows[0]]
    np.testing.assert_allclose(found.x[0], expected, atol=1e-5)


def test_models_with_poison_follow_the_wave_and_others_do_not(rates):
    found = rates(SIG(frequency=2, rate=0.15, amplitude=0.4, asked_amplitude=0.6))
    assert found.success > 0.5 and found.null < 0.25 and found.success > found.null + 0.3


@pytest.mark.parametrize("data", [DATA, Examples(X.reshape(60, -1), DATA.y)])
def test_waves_that_no_column_could_show_are_refused(data):
    with pytest.raises(NotApplicable, match="more than 12 columns"):
        SIG(frequency=6).tamper(data, Knowledge(3), KEY)
