from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.evidence import MembershipScores
from privsec.measures import amplification


def naive_tpr(scores, member, fpr):
    """Each target's share of members at the lowest threshold that accuses few enough of all non-members."""
    outside = [
        s for row, m in zip(scores, member, strict=True) for s, i in zip(row, m, strict=True) if s == s and not i
    ]
    allowed = int(fpr * len(outside) + 1e-9)
    every = sorted({s for row in scores for s in row if s == s}, reverse=True)
    fit = [t for t in every if sum(s >= t for s in outside) <= allowed]
    threshold = fit[-1] if fit else np.inf
    rates = []
    for row, inside in zip(scores, member, strict=True):
        known = [s for s, i in zip(row, inside, strict=True) if s == s and i]
        rates.append(sum(s >= threshold for s in known) / len(known))
    return rates


def drawn(seed, gain, coarse=False):
    rng = np.random.default_rng(seed)
    half = rng.permuted(np.tile(np.arange(60) % 2 == 0, (3, 1)), axis=1)
    member = np.stack([half, ~half], axis=1).reshape(6, 60)
    scores = rng.normal(size=member.shape) + gain * member
    scores = np.round(scores) if coarse else scores
    scores[:, rng.permutation(60)[:20]] = np.nan
    return MembershipScores(scores), member


@given(seed=st.integers(0, 1000), fpr=st.floats(0.02, 0.5), coarse=st.booleans())
def test_one_threshold_holds_for_all_targets(seed, fpr, coarse):
    evidence, member = drawn(seed, 1.0, coarse)
    found = amplification.tpr_in_common(evidence.scores, member, fpr)
    np.testing.assert_allclose(found, naive_tpr(evidence.scores, member, fpr))


def test_advantage_is_what_the_poison_adds():
    (poisoned, member), (spared, _) = drawn(1, 4.0), drawn(1, 0.5)
    found = amplification.measure(poisoned, spared, member)
    success, null = found["tpr_at_1pct_fpr"], found["unpoisoned_tpr_at_1pct_fpr"]
    np.testing.assert_allclose(success, naive_tpr(poisoned.scores, member, 0.01))
    np.testing.assert_allclose(found["advantage"], (success - null) / (1 - null.mean()))
    assert found["auc"].mean() > 0.95 > found["unpoisoned_auc"].mean() > 0.5
    assert np.isnan(found["tpr_at_0.1pct_fpr"]).all()  # 120 non-members cannot tell
    pairs = np.arange(6) // 2
    answer = amplification.estimates(found, pairs, negatives=amplification.non_members(poisoned, member))
    assert answer["advantage"].low > 0.3 and answer["advantage"].n == 3
    assert not answer["tpr_at_0.1pct_fpr"].resolved and "120 non-members" in answer["tpr_at_0.1pct_fpr"].note


def test_the_same_scores_with_and_without_poison_are_no_advantage():
    evidence, member = drawn(2, 1.0)
    found = amplification.measure(evidence, evidence, member)
    assert (found["advantage"] == 0).all()


@pytest.mark.parametrize("shift", [-3.0, 0.0])
def test_a_null_that_finds_everybody_leaves_nothing_to_gain(shift):
    (poisoned, member), (spared, _) = drawn(3, 50.0 + shift), drawn(3, 50.0)
    found = amplification.measure(poisoned, spared, member)
    assert np.isfinite(found["advantage"]).all() and (found["advantage"] <= 0).all()
