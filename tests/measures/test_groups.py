from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.errors import DataError
from privsec.core.evidence import MembershipScores
from privsec.measures import membership
from privsec.measures.groups import of_groups

NAIVE = {"mean": np.mean, "sum": np.sum, "max": np.max}


def persons(targets, count, rng, leak=0.0, largest=6):
    """Records of persons, a random number each; half of the persons in every training set."""
    groups = rng.permutation(np.repeat(np.arange(count), rng.integers(1, largest, count)))
    chosen = np.stack([rng.permutation(count) < count // 2 for _ in range(targets)])
    member = chosen[:, groups]
    return MembershipScores(rng.normal(size=member.shape) + leak * member, 3.0), member, groups, chosen


@pytest.mark.parametrize("aggregate", NAIVE)
@given(seed=st.integers(0, 2**31))
def test_every_group_by_itself(aggregate, seed):
    rng = np.random.default_rng(seed)
    evidence, member, groups, chosen = persons(2, 8, rng)
    scores = np.where(rng.random(member.shape) < 0.2, np.nan, evidence.scores)
    names = np.array([f"person {g}" for g in groups])
    found = of_groups(MembershipScores(scores, 3.0), member, names, aggregate)
    assert found.ids.tolist() == sorted(set(names))
    spent = []
    for t in range(2):
        for column, name in enumerate(found.ids):
            mine = scores[t, names == name]
            mine = mine[~np.isnan(mine)]
            expected = NAIVE[aggregate](mine) if len(mine) else np.nan
            np.testing.assert_allclose(found.evidence.scores[t, column], expected)
            assert found.member[t, column] == chosen[t, int(name.split()[1])]
            spent += [3.0 * len(mine)] if len(mine) else []
    assert found.evidence.queries == pytest.approx(np.mean(spent) if spent else 0.0)


def test_single_records_are_their_own_groups():
    rng = np.random.default_rng(0)
    evidence, member, _, _ = persons(3, 20, rng)
    for aggregate in NAIVE:
        found = of_groups(evidence, member, np.arange(member.shape[1]), aggregate)
        np.testing.assert_array_equal(found.evidence.scores, evidence.scores)
        np.testing.assert_array_equal(found.member, member)
        assert found.evidence.queries == 3.0


def test_persons_are_found_where_records_hide_and_intervals_count_persons():
    rng = np.random.default_rng(0)
    evidence, member, groups, chosen = persons(1, 400, rng, leak=0.5, largest=16)
    of_person = of_groups(evidence, member, groups, "mean")
    records, whole = membership.single(evidence, member), membership.single(of_person.evidence, of_person.member)
    assert whole["auc"].low > records["auc"].high
    assert whole["auc"].n == 400 and records["auc"].n == len(groups)
    np.testing.assert_array_equal(of_person.member, chosen)


def test_scores_that_know_nothing_stay_ignorant():
    rng = np.random.default_rng(1)
    evidence, member, groups, _ = persons(8, 400, rng)
    for aggregate in NAIVE:
        found = of_groups(evidence, member, groups, aggregate)
        auc = membership.measure(found.evidence, found.member)["auc"].mean()
        # 8 targets, each with a standard deviation of sqrt((1 / 200 + 1 / 200) / 12)
        assert abs(auc - 0.5) < 4 * 0.029 / np.sqrt(8)


def test_a_divided_group_is_named():
    scores = MembershipScores(np.zeros((2, 4)))
    member = np.array([[True, True, False, False], [True, False, True, True]])
    with pytest.raises(DataError, match=r"group 'ann' has 1 of its 2 records in the training set of target 1"):
        of_groups(scores, member, np.array(["ann", "ann", "bob", "bob"]))


def test_shapes_that_differ_are_told():
    with pytest.raises(DataError, match=r"groups \[records\]: got \(1, 4\), \(1, 4\) and \(3,\)"):
        of_groups.__wrapped__(MembershipScores(np.zeros((1, 4))), np.ones((1, 4), bool), np.arange(3))
