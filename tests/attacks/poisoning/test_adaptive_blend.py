from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.attacks.poisoning.adaptive_blend import AdaptiveBlend, mosaic
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.testing import toy_poisoning
from tests.oracles import poisoning as oracle

KEY = jax.random.key(0)
X = np.random.default_rng(0).uniform(0, 1, (200, 7, 6, 2)).astype(np.float32)
DATA = Examples(X, np.arange(200) % 4)
BOX = (np.zeros(X.shape[1:], np.float32), np.ones(X.shape[1:], np.float32))
PATTERN = np.random.default_rng(0).uniform(size=X.shape[1:])


@pytest.mark.parametrize(("pieces", "share", "on"), [(4, 0.5, 8), (3, 0.3, 3), (2, 0.01, 1), (1, 0.5, 1)])
def test_each_picture_has_its_own_whole_pieces(pieces, share, on):
    masks = np.asarray(mosaic(KEY, (50, 7, 6), pieces, share))
    each = [oracle.pieces_of(mask, pieces) for mask in masks]
    assert all(len(values) == pieces**2 and sum(values.values()) == on for values in each)
    assert pieces == 1 or len({tuple(sorted(values.items())) for values in each}) > 1


def test_half_of_the_planted_records_keep_their_labels():
    attack = AdaptiveBlend(rate=0.1, goal=1, ratio=0.3, cover=1.0, pieces=3)
    poison = attack.tamper(DATA, Knowledge(4, box=BOX), KEY)
    rows, covers = poison.replaces[:20], poison.replaces[20:]
    assert len(covers) == 20 and len(set(poison.replaces)) == 40
    assert (poison.y[:20] == 1).all() and not (DATA.y[rows] == 1).any()
    np.testing.assert_array_equal(poison.y[20:], DATA.y[covers])
    for one, row in zip(poison.x, poison.replaces, strict=True):
        changed = np.abs(one - X[row]) > 1e-7
        oracle.pieces_of(changed.any(axis=-1), 3)
        np.testing.assert_allclose(one, np.where(changed, 0.7 * X[row] + 0.3 * PATTERN, X[row]), atol=1e-6)


def test_models_are_asked_about_the_whole_pattern():
    attack = AdaptiveBlend(goal=1, asked_ratio=0.4)
    bank = toy_poisoning.spared(attack).bank
    found = attack.run(bank, Knowledge(4, points=DATA, box=BOX), KEY)
    np.testing.assert_allclose(found.x[0], 0.6 * X[found.rows[0]] + 0.4 * PATTERN, atol=1e-6)


def test_models_with_poison_follow_the_pattern_and_others_do_not(rates):
    found = rates(AdaptiveBlend(ratio=0.5, asked_ratio=0.6, rate=0.15, pieces=2))
    assert found.success > 0.8 and found.null < 0.3


@pytest.mark.parametrize("data", [Examples(X.reshape(200, -1), DATA.y), Examples(X[:, :3], DATA.y)])
def test_what_cannot_be_cut_into_pieces_is_refused(data):
    with pytest.raises(NotApplicable, match="4 x 4 pieces"):
        AdaptiveBlend().tamper(data, Knowledge(4), KEY)
