from __future__ import annotations

import jax
import numpy as np
import pytest

from privsec.attacks.membership.lira import LiRA
from privsec.attacks.poisoning.truth_serum import TruthSerum
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.testing import toy, toy_amplification

KEY = jax.random.key(0)
DATA = Examples(np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32), np.arange(90) % 3)


def test_every_victim_has_its_copies_under_one_wrong_label_in_every_training_set():
    attack = TruthSerum(victims=20, copies=3)
    poison = attack.tamper(DATA, Knowledge(3), KEY)
    rows = attack.rows(90)
    assert attack.added == len(poison.y) == 60 and len(set(rows)) == 20
    np.testing.assert_array_equal(poison.x, np.repeat(DATA.x[rows], 3, axis=0))
    labels = poison.y.reshape(20, 3)
    assert (labels == labels[:, :1]).all() and (labels[:, 0] != DATA.y[rows]).all() and set(poison.y) == {0, 1, 2}
    assert (poison.replaces == -1).all() and (poison.pair == -1).all() and poison.counts.all()


def test_victims_have_the_scores_of_lira_among_them_and_others_none():
    attack = TruthSerum(victims=30, variance="pooled")
    world = toy_amplification.spared(attack)
    known = world.known(attack)
    found = toy.run(attack, world.bank.restrict(attack.needs), known)
    rows = attack.rows(known.candidates.size)
    assert np.isnan(np.delete(found.scores, rows, axis=1)).all()
    alone = Knowledge(
        known.num_classes,
        candidates=known.candidates.take(rows),
        references=known.references,
        included=known.included[:, rows],
        usable=known.usable,
    )
    expected = LiRA(variance="pooled").run(world.bank.restrict(attack.needs), alone, KEY)
    np.testing.assert_allclose(found.scores[:, rows], expected.scores)


def test_more_victims_than_candidates_are_refused():
    with pytest.raises(NotApplicable, match="100 victims among 90"):
        TruthSerum(victims=100).tamper(DATA, Knowledge(3), KEY)


def test_without_references_nobody_is_judged():
    attack = TruthSerum(victims=20)
    world = toy_amplification.spared(attack)
    with pytest.raises(NotApplicable, match="no reference models"):
        attack.run(world.bank.restrict(attack.needs), world.known(attack, without=("references",)), KEY)
