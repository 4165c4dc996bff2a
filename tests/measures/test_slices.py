from __future__ import annotations

import math

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.core.evidence import MembershipScores
from privsec.measures import membership, slices
from tests.oracles.membership import auc

NAMES = ("plain", "exposed", "rare")


def stack(targets=16, records=1200, seed=0, leak=(0.3, 2.0, 0.3), shift=0.0):
    """Complementary pairs; the second slice leaks more, the third has 20 records; scores of the second lie higher."""
    rng = np.random.default_rng(seed)
    codes = np.where(np.arange(records) < 20, 2, np.where(np.arange(records) % 3 == 0, 1, 0))
    halves = np.stack([rng.permutation(records) < records // 2 for _ in range(targets // 2)])
    member = np.stack([halves, ~halves], axis=1).reshape(targets, records)
    scores = rng.normal(size=member.shape) + np.array(leak)[codes] * member + shift * (codes == 1)
    return MembershipScores(scores), member, codes


def by_name(found):
    return {one.name: one for one in found}


def test_every_value_by_hand():
    evidence, member, codes = stack(targets=2)
    found = slices.measure(evidence, member, codes, NAMES)
    for code, one in enumerate(found):
        for t in range(2):
            scores, inside, mine = evidence.scores[t], member[t], codes == code
            assert one.members[t] == (mine & inside).sum() and one.non_members[t] == (mine & ~inside).sum()
            assert one.per_target["auc"][t] == pytest.approx(auc(scores[mine], inside[mine]))
            rest = auc(scores[~mine], inside[~mine])
            assert one.per_target["auc_against_rest"][t] == pytest.approx(auc(scores[mine], inside[mine]) - rest)
            ranked = np.sort(scores[~inside])[::-1]
            over = scores > ranked[6]  # 6 of 600 non-members may be accused
            assert one.per_target["tpr_at_global_threshold"][t] == pytest.approx(over[mine & inside].mean())
            assert one.per_target["fpr_at_global_threshold"][t] == pytest.approx(over[mine & ~inside].mean())
    assert all(math.isnan(v) for v in found[2].per_target["tpr_at_1pct_fpr"])


def test_the_exposed_slice_differs_and_the_small_one_says_why_it_has_no_figure():
    found = by_name(slices.summary(*stack(), NAMES))
    exposed, plain, rare = found["exposed"], found["plain"], found["rare"]
    assert exposed.estimates["auc_against_rest"].low > 0.2 and exposed.p_value < 1e-3
    assert plain.estimates["auc_against_rest"].high < 0 and plain.p_value < 1e-3
    assert exposed.estimates["auc"].n == 8, "pairs of models"
    assert exposed.estimates["tpr_at_1pct_fpr"].low > plain.estimates["tpr_at_1pct_fpr"].high
    assert "non-members allow no false positive at 1%" in rare.estimates["advantage"].note
    assert rare.members < 10 and not rare.estimates["tpr_at_1pct_fpr"].resolved


def test_a_slice_with_hardly_a_record_has_no_figure_at_all():
    evidence, member, codes = stack(targets=4)
    for few in (4, 1, 0):
        codes = np.where(np.arange(len(codes)) < few, 2, np.minimum(codes, 1))
        one = slices.single(MembershipScores(evidence.scores[:1]), member[:1], codes, NAMES)
        for rare in (by_name(slices.summary(evidence, member, codes, NAMES))["rare"], by_name(one)["rare"]):
            assert list(rare.estimates) == list(slices.MEASURES)
            assert all("too few records" in estimate.note for estimate in rare.estimates.values())
            assert math.isnan(rare.p_value)


def test_slices_alike_do_not_differ():
    """Over 60 data sets and 2 testable slices each, a false alarm at 5% after Holm in about 3 of them."""
    alarms = 0
    for seed in range(60):
        found = slices.summary(*stack(targets=8, records=300, seed=seed, leak=(0.5, 0.5, 0.5)), NAMES)
        alarms += min(one.p_value for one in found) < 0.05
    assert alarms <= 9  # P(Binomial(60, .05) > 9) < .002


def test_high_scores_are_accused_more_at_the_threshold_of_everybody():
    found = by_name(slices.summary(*stack(leak=(0.5, 0.5, 0.5), shift=2.0), NAMES))
    exposed, plain = found["exposed"].estimates, found["plain"].estimates
    assert exposed["fpr_at_global_threshold"].low > 0.02 > plain["fpr_at_global_threshold"].high
    assert exposed["tpr_at_global_threshold"].low > plain["tpr_at_global_threshold"].high
    assert exposed["auc"].low < plain["auc"].high and plain["auc"].low < exposed["auc"].high


def test_a_slice_may_depend_on_the_target_and_unattacked_records_are_in_none():
    evidence, member, codes = stack(targets=4)
    scores = np.where(np.arange(member.shape[1]) % 5 == 0, np.nan, evidence.scores)
    own = np.stack([codes, codes, 1 - np.minimum(codes, 1), 1 - np.minimum(codes, 1)])
    found = slices.measure(MembershipScores(scores), member, own, NAMES)
    for t in range(4):
        mine = (own[t] == 1) & ~np.isnan(scores[t])
        assert found[1].members[t] == (mine & member[t]).sum()
        assert found[1].per_target["auc"][t] == pytest.approx(auc(scores[t, mine], member[t, mine]))


def test_seeds_are_pooled():
    parts = [slices.measure(*stack(seed=seed), NAMES) for seed in (0, 1)]
    pooled, alone = by_name(slices.estimates(parts)), by_name(slices.estimates(parts[:1]))
    assert pooled["exposed"].estimates["auc"].n == 16
    values = np.concatenate([part[1].per_target["auc"] for part in parts])
    assert pooled["exposed"].estimates["auc"].value == pytest.approx(values.mean())
    assert alone["exposed"].estimates["auc"].n == 8


def test_one_model():
    evidence, member, codes = stack(targets=2, records=3000)
    first = MembershipScores(evidence.scores[:1])
    found = by_name(slices.single(first, member[:1], codes, NAMES))
    exposed = found["exposed"]
    mine = codes == 1
    own = membership.single(MembershipScores(first.scores[:, mine]), member[:1, mine])
    assert exposed.estimates["auc"] == own["auc"] and exposed.estimates["advantage"] == own["advantage"]
    assert exposed.estimates["auc_against_rest"].low > 0.1 and exposed.p_value < 1e-6
    rate = exposed.estimates["tpr_at_global_threshold"]
    assert rate.low < rate.value < rate.high and rate.n == (mine & member[0]).sum()
    assert exposed.estimates["fpr_at_global_threshold"].n == (mine & ~member[0]).sum()
    wider = by_name(slices.single(first, member[:1], codes, NAMES, alpha=0.001))["exposed"].estimates
    assert all(wider[name].low <= known.low for name, known in exposed.estimates.items() if known.resolved)


def test_shapes_that_differ_are_told():
    with pytest.raises(DataError, match="codes the same or"):
        slices.measure.__wrapped__(MembershipScores(np.zeros((2, 4))), np.ones((2, 4), bool), np.zeros(3, int), ("a",))
