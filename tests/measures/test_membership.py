from __future__ import annotations

import math
import time

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.core.evidence import MembershipScores
from privsec.measures.membership import MEASURES, at_risk, band, estimates, measure, non_members, single
from privsec.measures.roc import auc, balanced_accuracy, tpr_at_fpr


def population(rng, targets, size):
    """bool [T, 2 size]: complementary pairs of halves."""
    half = np.array([rng.permutation(2 * size) < size for _ in range(targets // 2)])
    return np.stack([half, ~half], axis=1).reshape(targets, -1)


def evidence(rng, member, shift=0.0):
    return MembershipScores(rng.standard_normal(member.shape) + shift * member)


CLUSTERS = np.repeat(np.arange(8), 2)


def test_every_measure_of_every_target_is_the_one_of_its_own_row():
    rng = np.random.default_rng(0)
    member = population(rng, 4, 1000)
    scores = evidence(rng, member, 1.0).scores
    scores[:, ::7] = np.nan
    got = measure(MembershipScores(scores), member)
    assert list(got) == list(MEASURES)
    for t in range(4):
        assert got["auc"][t] == auc(scores[t], member[t])
        assert got["balanced_accuracy"][t] == balanced_accuracy(scores[t], member[t])
        assert got["tpr_at_1pct_fpr"][t] == tpr_at_fpr(scores[t], member[t], 0.01)
    assert np.isnan(got["tpr_at_0.1pct_fpr"]).all()
    assert non_members(MembershipScores(scores), member) < 1000


def test_guessing_has_no_advantage_and_covers_its_nulls():
    rng = np.random.default_rng(1)
    covered = {name: 0 for name in MEASURES}
    values, runs = [], 200
    for _ in range(runs):
        member = population(rng, 16, 150)
        got = measure(evidence(rng, member), member)
        values.append(got["advantage"])
        null = {"advantage": 0.0, "auc": 0.5, "balanced_accuracy": 0.5, "tpr_at_1pct_fpr": 2 / 151}
        for name, estimate in estimates(got, CLUSTERS, negatives=150).items():
            covered[name] += name in null and estimate.low <= null[name] <= estimate.high
    values = np.concatenate(values)
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    margin = 3 * math.sqrt(0.95 * 0.05 / runs)
    assert covered["auc"] / runs > 0.95 - margin and covered["balanced_accuracy"] / runs > 0.95 - margin
    assert covered["advantage"] / runs > 0.90 - margin  # a count of 2 in 150, very skewed


def test_certain_leakage_is_complete():
    member = population(np.random.default_rng(2), 16, 200)
    got = estimates(measure(MembershipScores(member.astype(float)), member), CLUSTERS, negatives=200)
    for name in ("advantage", "auc", "balanced_accuracy", "tpr_at_1pct_fpr"):
        assert got[name].value == 1.0 and got[name].high == 1.0
        assert 0.9 < got[name].low < 1.0, "agreement of all targets is not certainty"
        assert got[name].n == 8 and got[name].direction == "higher_is_worse"


def test_constant_scores_have_no_advantage():
    member = population(np.random.default_rng(3), 2, 300)
    got = measure(MembershipScores(np.zeros(member.shape)), member)
    assert (got["tpr_at_1pct_fpr"] == 0).all() and (got["advantage"] <= 0).all() and (got["auc"] == 0.5).all()


def test_advantage_is_tpr_rescaled_estimate_and_all():
    rng = np.random.default_rng(4)
    member = population(rng, 16, 300)
    got = estimates(measure(evidence(rng, member, 2.0), member), CLUSTERS, negatives=300)
    null = 4 / 301
    for end in ("value", "low", "high"):
        assert getattr(got["advantage"], end) == pytest.approx(
            (getattr(got["tpr_at_1pct_fpr"], end) - null) / (1 - null)
        )


def test_what_so_few_records_cannot_resolve_is_said():
    rng = np.random.default_rng(5)
    member = population(rng, 16, 90)
    got = estimates(measure(evidence(rng, member), member), CLUSTERS, negatives=90)
    assert got["auc"].resolved
    for name, rate in (("advantage", "1%"), ("tpr_at_1pct_fpr", "1%"), ("tpr_at_0.1pct_fpr", "0.1%")):
        assert not got[name].resolved
        assert got[name].note == f"not resolvable at this n: 90 non-members allow no false positive at {rate}"
    one = single(MembershipScores(rng.random((1, 180))), member[:1])
    assert one["auc"].resolved and "90 non-members allow no false positive at 0.1%" in one["tpr_at_0.1pct_fpr"].note


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"\[targets, records\]"):
        measure(MembershipScores(np.zeros((2, 3))), np.zeros((2, 4), bool))
    with pytest.raises(DataError, match="one model"):
        single(MembershipScores(np.zeros((2, 4))), np.tile([True, False], (2, 2)))


@pytest.mark.parametrize(("shift", "size"), [(0.0, 200), (1.5, 300)])
def test_intervals_of_one_model_cover_the_truth(shift, size):
    from scipy.stats import norm

    rng = np.random.default_rng(6)
    truth = {"auc": norm.cdf(shift / math.sqrt(2)), "tpr_at_1pct_fpr": norm.sf(norm.isf(0.01) - shift)}
    member, runs, covered = (np.arange(2 * size) < size)[None], 250, dict.fromkeys(truth, 0)
    for _ in range(runs):
        got = single(evidence(rng, member, shift), member)
        for name, value in truth.items():
            assert got[name].low <= got[name].value <= got[name].high
            covered[name] += got[name].low <= value <= got[name].high
        assert got["advantage"].low <= got["advantage"].value <= got["advantage"].high
    margin = 3 * math.sqrt(0.95 * 0.05 / runs)
    assert all(count / runs > 0.94 - margin for count in covered.values()), covered


def test_one_model_perfectly_separated_is_not_certain():
    member = (np.arange(80) < 30)[None]
    got = single(MembershipScores(member.astype(float)), member)["auc"]
    assert (got.value, got.high) == (1, 1) and got.low == pytest.approx(0.025 ** (1 / 30))


def test_the_band_passes_through_the_measures():
    rng = np.random.default_rng(7)
    member = population(rng, 16, 1000)
    scores = evidence(rng, member, 1.0).scores
    mean, low, high = band(scores, member, np.array([1e-4, 0.001, 0.01, 0.5, 1.0]))
    got = measure(MembershipScores(scores), member)
    assert math.isnan(mean[0]) and mean[-1] == 1
    assert mean[1] == pytest.approx(got["tpr_at_0.1pct_fpr"].mean()) and mean[2] == pytest.approx(
        got["tpr_at_1pct_fpr"].mean()
    )
    assert (low[1:] <= mean[1:]).all() and (mean[1:] <= high[1:]).all()
    assert low[2] >= got["tpr_at_1pct_fpr"].min() and high[2] <= got["tpr_at_1pct_fpr"].max()


def test_the_records_at_risk_are_those_that_leak():
    rng = np.random.default_rng(8)
    member = population(rng, 16, 300)
    scores = evidence(rng, member).scores
    leaking, loud = np.array([3, 77, 412]), 9  # `loud` looks like a member whether it is one or not
    scores[:, leaking] += 8.0 * member[:, leaking]
    scores[:, loud] = 20
    risks = at_risk(scores, member, np.arange(600) + 1000, 5)
    assert {risk.row for risk in risks[:3]} == {1003, 1077, 1412}
    assert all(risk.difference.low > 0.4 and risk.difference.n == 16 for risk in risks[:3])
    assert 1009 not in {risk.row for risk in risks}
    assert [r.difference.value for r in risks] == sorted((r.difference.value for r in risks), reverse=True)
    everyone = {risk.row: risk for risk in at_risk(scores, member, np.arange(600), 600)}
    assert everyone[loud].called_in == everyone[loud].called_out == 1


def test_risk_is_not_shown_where_it_cannot_be_resolved():
    rng = np.random.default_rng(9)
    member = population(rng, 4, 50)
    assert at_risk(evidence(rng, member).scores, member, np.arange(100), 5) == ()


def test_records_never_attacked_carry_no_risk():
    rng = np.random.default_rng(10)
    member = population(rng, 8, 200)
    scores = evidence(rng, member).scores
    scores[:, :50] = np.nan
    assert min(risk.row for risk in at_risk(scores, member, np.arange(400), 400)) >= 50


def test_thirty_two_targets_of_sixty_thousand_records_take_a_second():
    rng = np.random.default_rng(11)
    member = rng.random((32, 60_000)) < 0.5
    scores = evidence(rng, member)
    start = time.perf_counter()
    measure(scores, member)
    assert time.perf_counter() - start < 5  # 0.35 s measured on two idle cores


def test_intervals_at_a_smaller_alpha_contain_those_at_a_larger_one_and_values_stay():
    rng = np.random.default_rng(3)
    member = np.arange(4000) % 2 == 0
    found = MembershipScores(rng.normal(size=(1, 4000)) + 0.5 * member)
    wide, narrow = (single(found, member[None], alpha) for alpha in (0.005, 0.05))
    assert narrow == single(found, member[None])
    for name in MEASURES:
        assert wide[name].value == narrow[name].value
        assert wide[name].low <= narrow[name].low <= narrow[name].high <= wide[name].high
        assert wide[name].high - wide[name].low > narrow[name].high - narrow[name].low


def test_intervals_of_several_attacks_at_alpha_over_their_number_hold_all_at_once():
    """Five attacks that know nothing: all five intervals of the AUC hold 0.5 in 95% of trials, not each by itself."""
    rng, member, missed = np.random.default_rng(4), (np.arange(400) % 2 == 0)[None], 0
    for _ in range(300):
        found = [single(MembershipScores(rng.normal(size=(1, 400))), member, 0.05 / 5)["auc"] for _ in range(5)]
        missed += any(not one.low <= 0.5 <= one.high for one in found)
    assert missed <= 28  # P(more than 28 of 300 at 5%) < 0.1%


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_an_alpha_that_is_no_chance_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        single(MembershipScores(np.array([[1.0, 0.0]])), np.array([[True, False]]), alpha)
