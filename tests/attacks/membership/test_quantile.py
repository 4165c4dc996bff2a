from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.membership import quantile
from privsec.attacks.membership.attack_p import AttackP
from privsec.attacks.membership.quantile import Quantile
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from tests.oracles.membership import auc

TARGETS, RECORDS, POPULATION = 4, 300, 600
KEY = jax.random.key(0)
ATTACK = Quantile(steps=150)  # one for all tests: it is compiled once


def table(params, x):
    """Logits (gap, 0): what a target says of a record stands in a table; column 0 of x is the row."""
    gap = params[x[:, 0].astype(jnp.int32)]
    return jnp.stack([gap, jnp.zeros_like(gap)], axis=1)


MODEL = Model(init=lambda key: jnp.zeros(1), apply=table, num_classes=2, shape=(3,))


def world(leak, seed=0, population=POPULATION):
    """The gap of a non-member is normal; column 1 of x shifts it and column 2 widens it; members have `leak` more."""
    rng = np.random.default_rng(seed)
    count = RECORDS + population
    x = np.stack([np.arange(count), rng.choice([-2.0, 2.0], count), rng.choice([-1.0, 1.0], count)], axis=1)
    width = np.exp(0.7 * x[:, 2])
    member = rng.random((TARGETS, RECORDS)) < 0.5
    gap = 2 * x[:, 1] + width * rng.normal(size=(TARGETS, count))
    gap[:, :RECORDS] += leak * width[:RECORDS] * member
    target = Target.of(MODEL, jnp.asarray(gap, jnp.float32), jax.random.split(KEY, TARGETS))
    x, y = x.astype(np.float32), np.zeros(count, np.int32)
    knowledge = Knowledge(2, Examples(x[:RECORDS], y[:RECORDS]), Examples(x[RECORDS:], y[RECORDS:]))
    return target, knowledge, member


def mean_auc(scores, member):
    return np.mean([auc(row, truth) for row, truth in zip(scores, member, strict=True)])


def test_it_finds_members_that_one_threshold_for_all_records_does_not():
    target, knowledge, member = world(leak=2.0)
    ours, common = (attack.run(target, knowledge, KEY).scores for attack in (ATTACK, AttackP()))
    assert mean_auc(common, member) < 0.75
    assert mean_auc(ours, member) > 0.85  # the best possible is Phi(2 / sqrt 2) = .921


def test_scores_are_shares_of_unseen_non_members():
    """About alpha of the non-members score above 1 - alpha, whatever the network has learnt from 4 x 90 others."""
    target, knowledge, member = world(leak=2.0, seed=1)
    scores = ATTACK.run(target, knowledge, KEY).scores
    assert 0 < scores.min() and scores.max() < 1
    for alpha in (0.05, 0.2, 0.5):
        outside = np.concatenate([row[~truth] > 1 - alpha for row, truth in zip(scores, member, strict=True)])
        assert abs(outside.mean() - alpha) < 4 * np.sqrt(alpha * (1 - alpha) * (1 / len(outside) + 1 / 360))


def test_z_against_a_network_in_numpy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 4)).astype(np.float32)
    network = quantile.Network(*(rng.normal(size=shape).astype(np.float32) for shape in ((4, 5), 5, (5, 2), 2)))
    hidden = np.maximum(x @ network.inner + network.inner_bias, 0)
    mean, raw = (hidden @ network.outer + network.outer_bias).T
    got = quantile._predict(network, x)
    np.testing.assert_allclose(got, [mean, 5 * np.tanh(raw / 5)], rtol=1e-5, atol=1e-5)


def test_without_anything_to_learn_it_orders_records_by_their_gap():
    """The best network is then the first one, which knows only the mean and the deviation of all."""
    rng = np.random.default_rng(1)
    target, knowledge, _ = world(leak=0.0)
    gap = target.observe(knowledge.candidates, "score_gap")
    blank = np.zeros((POPULATION, 3), np.float32)
    known, parts = rng.normal(size=(TARGETS, POPULATION)), np.split(rng.permutation(POPULATION), [400])
    z, _ = quantile.regress(Quantile(steps=1, learning_rate=1e-12), blank, known, blank[:RECORDS], gap, *parts, KEY)
    for mine, theirs in zip(z, gap, strict=True):
        np.testing.assert_array_equal(np.argsort(mine, kind="stable"), np.argsort(theirs, kind="stable"))


def test_each_target_has_a_network_of_its_own():
    target, knowledge, _ = world(leak=1.0)
    together = ATTACK.run(target, knowledge, KEY).scores
    rolled = ATTACK.run(target[np.roll(np.arange(TARGETS), 1)], knowledge, KEY).scores
    alike = np.corrcoef(rolled, together)[:TARGETS, TARGETS:]  # the first weights differ, so they are not equal
    np.testing.assert_array_equal(alike.argmax(axis=0), (np.arange(TARGETS) + 1) % TARGETS)


def test_too_small_a_population_is_a_reason():
    target, knowledge, _ = world(leak=0.0)
    few = replace(knowledge, population=knowledge.population.take(np.arange(quantile.FEWEST - 1)))
    with pytest.raises(NotApplicable, match="population of 99 records is too small"):
        ATTACK.run(target, few, KEY)
    enough = replace(knowledge, population=knowledge.population.take(np.arange(quantile.FEWEST)))
    assert np.isfinite(ATTACK.run(target, enough, KEY).scores).all()


def test_wide_records_are_projected_and_constant_columns_do_no_harm():
    rng = np.random.default_rng(0)
    x = rng.random((150, 20, 20, 1)).astype(np.float32)
    x[:, 0] = 1.0
    encode = quantile.Encoder.of(x, 7, KEY)
    features = encode(x, np.arange(150) % 7)
    assert features.shape == (150, quantile.FEATURES + 7) and np.isfinite(features).all()
    np.testing.assert_allclose(features[:, : quantile.FEATURES].mean(axis=0), 0, atol=1e-4)
    assert (features[:, -7:] == np.eye(7)[np.arange(150) % 7]).all()


def test_a_constant_gap_gives_finite_scores():
    _, knowledge, _ = world(leak=0.0)
    constant = Target.of(MODEL, jnp.ones((TARGETS, RECORDS + POPULATION)), jax.random.split(KEY, TARGETS))
    assert np.isfinite(ATTACK.run(constant, knowledge, KEY).scores).all()
