"""LiRA with several queries; its scores from one query are compared in test_against_oracles.py."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from privsec.attacks.membership.lira import LiRA, likelihood_ratio, views
from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.ops.augment import view
from privsec.testing import toy
from tests.attacks.membership.banks import bank
from tests.oracles.membership import true_class

KEY = jax.random.key(0)


def test_one_query_is_todays_score_to_the_last_bit():
    random = bank(seed=11, models=16, records=30, leak=1.5)
    phi = random.target.observe(random.knowledge.candidates, "margin")
    for online in (True, False):
        expected = likelihood_ratio(phi, phi, random.included, random.usable, online=online)
        np.testing.assert_array_equal(random.run(LiRA(online=online)), expected)
        np.testing.assert_array_equal(random.run(LiRA(online=online, queries=1), key=5), expected)


@pytest.mark.parametrize("online", [True, False])
def test_several_queries_are_the_sum_over_views_asked_of_targets_and_references_alike(online):
    world = toy.leaking()
    known = world.known(LiRA())
    total = 0.0
    for number in range(4):
        x = np.clip(np.asarray(view(known.candidates.x, number, KEY)), 0, 1)
        phi = true_class(np.asarray(world.bank.logits(x)), np.asarray(known.candidates.y))[1]
        total = total + likelihood_ratio(phi, phi, known.included, known.usable, online=online)
    evidence = LiRA(online=online, queries=4).run(world.bank, known, KEY)
    np.testing.assert_allclose(evidence.scores, total if online else total / 4, rtol=1e-3, atol=1e-3)
    assert evidence.queries == 4.0


def test_views_stay_in_the_box_and_the_first_is_the_candidates_themselves():
    world = toy.leaking()
    asked = []

    class Spy(Target):
        def observe(self, examples, signal):
            asked.append(examples)
            return np.zeros((self.size, examples.size), np.float32)

    spy = Spy(world.bank.model, world.bank._params, world.bank._secret)
    records = world.knowledge.candidates
    table = Examples(np.asarray(records.x).reshape(toy.CANDIDATES, -1), records.y)
    noisy = replace(world.knowledge, candidates=table, box=(np.zeros(36), np.ones(36)), references=spy)
    list(views(spy, noisy, KEY, 3, inside=1, outside=1))
    assert asked[0] is noisy.candidates and len(asked) == 3
    assert all(each.x.min() >= 0 and each.x.max() <= 1 for each in asked)


@pytest.mark.parametrize("queries", [0, 19])
def test_there_are_one_to_eighteen_queries(queries):
    with pytest.raises(ConfigError, match="queries"):
        LiRA(queries=queries)
