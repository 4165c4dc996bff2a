from __future__ import annotations

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from privsec.attacks.membership import bavaria
from privsec.attacks.membership.bavaria import BaVarIA, Predictive, predictive_ratio
from privsec.attacks.membership.lira import LiRA, likelihood_ratio
from privsec.attacks.membership.rmia import RMIA
from privsec.core.errors import NotApplicable
from privsec.ops.leave_out import complements
from tests.attacks.membership.banks import bank, pairs, usable_of
from tests.oracles import bavaria as oracle
from tests.oracles.membership import auc, true_class


def answers_of(models, records, seed=0, twins=0.0):
    """Answers as trained models give them: hard records gain more, noise is a record's own, twins move apart."""
    rng = np.random.default_rng(seed)
    included = pairs(models, records, rng)
    level, gain = rng.normal(2, 2, records), rng.lognormal(0, 0.3, records)
    noise = rng.normal(size=(models, records))
    noise[1::2] = -twins * noise[::2] + np.sqrt(1 - twins**2) * noise[1::2]
    width = rng.lognormal(-0.3, 0.3, records)
    phi = level + included * gain * 2 * np.exp(-level / 3) + width * noise * np.where(included, 0.7, 1.0)
    return phi, included, usable_of(models)


def mean_auc(scores, included):
    return np.mean([auc(row, member) for row, member in zip(scores, included, strict=True)])


@pytest.mark.parametrize("likelihood", ["student_t", "gaussian"])
def test_against_the_oracle(likelihood):
    phi, included, usable = answers_of(10, 130, twins=0.5)
    fast = predictive_ratio(phi, phi, included, usable, likelihood=likelihood)
    slow = oracle.bavaria(phi[:2], phi, included, usable[:2], likelihood)
    np.testing.assert_allclose(fast[:2], slow, rtol=2e-3, atol=2e-3)  # 200 values of the prior's weight; a grid of phi


def test_the_attack_is_its_function():
    random = bank(seed=11, models=16, records=60, leak=1.5)
    phi = true_class(random.logits, random.y)[1]
    scores = predictive_ratio(phi, phi, random.included, random.usable)
    np.testing.assert_allclose(random.run(BaVarIA()), scores, rtol=1e-3, atol=1e-3)


@given(st.floats(-50, 50), st.floats(0.01, 100), st.booleans(), st.integers(0, 5))
@settings(max_examples=20)
def test_a_shift_and_a_scale_of_all_answers_change_nothing(shift, scale, online, seed):
    phi, included, usable = answers_of(8, 60, seed)
    other = shift + scale * phi
    one = predictive_ratio(phi, phi, included, usable, online=online)
    np.testing.assert_allclose(predictive_ratio(other, other, included, usable, online=online), one, atol=1e-6)


@given(st.randoms(use_true_random=False), st.integers(2, 5))
@settings(max_examples=20)
def test_the_order_of_references_and_of_records_does_not_matter(random, half):
    phi, included, usable = answers_of(2 * half, 50)
    models, records = (np.array(random.sample(range(n), n)) for n in phi.shape)
    scores = predictive_ratio(phi, phi, included, usable)
    shuffled = predictive_ratio(
        phi[:, records], phi[models][:, records], included[models][:, records], usable[:, models]
    )
    np.testing.assert_allclose(shuffled, scores[:, records], atol=1e-9)


LIKELIHOODS = st.sampled_from(["student_t", "gaussian"])


@given(st.floats(0, 5), st.floats(0.05, 20), st.floats(0.05, 20), st.floats(3.1, 100), LIKELIHOODS)
def test_a_surer_answer_never_speaks_for_out(gap, scale_in, scale_out, freedom, likelihood):
    phi = np.linspace(-60, 60, 2001)
    predictive = Predictive(*(np.full(2001, v) for v in (gap, scale_in, 0.0, scale_out, freedom)))
    scores = bavaria.log_ratio(phi[None], predictive, likelihood)[0]
    assert np.isfinite(scores).all() and (np.diff(scores) >= -1e-9 * np.abs(scores).max() - 1e-12).all()


def test_between_its_turning_points_it_is_the_ratio_of_two_densities():
    phi, predictive = np.linspace(-1, 3, 9), [np.full(9, v) for v in (2.0, 1.0, 0.0, 1.5, 7.0)]
    slow = stats.t(7, 2.0, 1.0).logpdf(phi) - stats.t(7, 0.0, np.sqrt(1.5)).logpdf(phi)
    np.testing.assert_allclose(bavaria.log_ratio(phi[None], Predictive(*predictive), "student_t")[0], slow, rtol=1e-9)


def test_the_predictive_distribution_of_out_answers_is_the_right_one():
    """Standardized by their predictive mean and deviation, the targets' own answers have variance 1 and mean 0."""
    phi, included, usable = answers_of(24, 1500)
    z_in, z_out = [], []
    for t, answers in enumerate(bavaria._answers(phi, included, usable)):
        found = bavaria.predict(answers)
        wide = found.freedom / (found.freedom - 2)
        z_in.append(((phi[t] - found.mean_in) / np.sqrt(found.scale_in * wide))[included[t]])
        z_out.append(((phi[t] - found.mean_out) / np.sqrt(found.scale_out * wide))[~included[t]])
    for z in (np.concatenate(z_in), np.concatenate(z_out)):
        assert abs(z.mean()) < 0.05 and 0.85 < z.var() < 1.15


@pytest.mark.parametrize("models", [4, 6, 10, 34])
def test_it_finds_more_than_lira(models):
    """From one IN and one OUT reference up, where LiRA cannot start."""
    phi, included, usable = answers_of(models, 1500, seed=2, twins=0.5)
    ours = mean_auc(predictive_ratio(phi, phi, included, usable), included)
    if models == 4:
        assert ours > mean_auc(phi, included) + 0.05
        return
    for online in (True, False):
        ours = mean_auc(predictive_ratio(phi, phi, included, usable, online=online), included)
        assert ours > mean_auc(likelihood_ratio(phi, phi, included, usable, online=online), included) + 0.005


def test_twins_that_move_apart_are_taken_for_what_they_are():
    """Their differences say less than those of independent models; which twin is which the attack finds by itself."""
    phi, included, usable = answers_of(10, 1500, seed=3, twins=0.8)
    fast = predictive_ratio(phi, phi, included, usable)
    alone = included.copy()
    alone[1::2, 0] ^= True  # one record is enough: no two models are complements any more
    assert complements(included, usable[:1]) == [[(2, 3), (4, 5), (6, 7), (8, 9)]]
    assert complements(alone, usable[:1]) == [[]]
    assert mean_auc(fast, included) > mean_auc(predictive_ratio(phi, phi, alone, usable), included)


def test_one_reference_on_each_side_is_enough_online_and_too_few_offline():
    small = bank(models=4, records=200, leak=10.0)
    scores = small.run(BaVarIA())
    assert np.isfinite(scores).all() and small.aucs(scores, auc).mean() > 0.9
    with pytest.raises(NotApplicable, match="only 1 usable references"):
        small.run(BaVarIA(online=False))


def test_offline_does_not_look_at_a_records_own_in_answers():
    phi, included, usable = answers_of(10, 200)
    other = np.where(included & (np.arange(200) % 2 == 0), 100.0, phi)
    one, two = (predictive_ratio(phi, known, included, usable, online=False) for known in (phi, other))
    np.testing.assert_allclose(one[:, ::2], two[:, ::2], atol=1e-9)
    assert not np.allclose(one[:, 1::2], two[:, 1::2])


def test_offline_needs_references_that_were_trained_on_something():
    strangers = bank(models=8, records=50)
    nobody = strangers.with_references(strangers.logits, np.zeros_like(strangers.included))
    with pytest.raises(NotApplicable, match="trained on no candidate"):
        nobody.run(BaVarIA(online=False))
    assert np.isfinite(nobody.run(LiRA(online=False))).all()


def test_base_orders_records_as_rmia_does_at_temperature_one():
    """Why it is no attack of its own: log p less the log of the mean p of all references."""
    random = bank(seed=5, models=10, records=80, leak=1.0)
    log_p = true_class(random.logits, random.y)[0]
    rmia = random.run(RMIA(temperature=1.0))
    for t, usable in enumerate(random.usable):
        base = log_p[t] - np.log(np.exp(log_p[usable]).mean(axis=0))
        assert stats.spearmanr(base, rmia[t]).statistic > 1 - 1e-6


def test_alike_references_and_constant_answers_are_finite():
    phi, included, usable = answers_of(8, 60)
    for strange in (np.zeros_like(phi), np.round(phi), np.broadcast_to(phi[:1], phi.shape), 1e4 * phi):
        for online in (True, False):
            assert np.isfinite(predictive_ratio(strange, strange, included, usable, online=online)).all()


def test_targets_that_share_their_references_are_scored_as_each_alone():
    phi, included, _ = answers_of(8, 60)
    together = predictive_ratio(phi[:3], phi[3:], included[3:], np.ones((1, 5), bool))
    for t in range(3):
        alone = predictive_ratio(phi[t : t + 1], phi[3:], included[3:], np.ones((1, 5), bool))
        np.testing.assert_array_equal(alone[0], together[t])


def test_unequal_numbers_of_references_are_fine():
    phi, included, _ = answers_of(9 + 1, 100)
    uneven = included[1:].copy()
    uneven[:, :10] = [[True]] + [[False]] * 8  # one IN, eight OUT
    scores = predictive_ratio(phi[:1], phi[1:], uneven, np.ones((1, 9), bool))
    assert np.isfinite(scores).all()


def test_several_queries_add_their_ratios(monkeypatch):
    random = bank(seed=1, models=8, records=40, leak=1.0)
    one = random.run(BaVarIA())
    monkeypatch.setattr("privsec.attacks.membership.lira.view", lambda x, number, key: x)
    evidence = BaVarIA(queries=3).run(random.target, random.knowledge, jax.random.key(0))
    assert evidence.queries == 3.0
    np.testing.assert_allclose(evidence.scores, 3 * one, rtol=1e-9)
