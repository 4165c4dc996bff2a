"""Fairness between groups: the definitions, against fairlearn; and what chance alone gives."""

from __future__ import annotations

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.measures.fairness import FEWEST, Groups, estimates, measure

NAMES = ("a", "b", "c")


def answers(records: int = 900, targets: int = 3, classes: int = 2, seed: int = 0, bias: float = 0.0):
    """Random answers, members, labels and groups; group 0 gets class 1 more often by `bias`."""
    rng = np.random.default_rng(seed)
    y, codes = rng.integers(0, classes, records), rng.integers(0, 3, records)
    predicted = np.where(rng.random((targets, records)) < 0.8, y, rng.integers(0, classes, (targets, records)))
    predicted = np.where((codes == 0) & (rng.random(predicted.shape) < bias), 1, predicted)
    return predicted, y, rng.random((targets, records)) < 0.5, codes


def test_fairlearn_agrees():
    metrics = pytest.importorskip("fairlearn.metrics")
    predicted, y, member, codes = answers(bias=0.3)
    got = measure(predicted, y, member, Groups(codes, NAMES), 2).per_target
    for t in range(len(predicted)):
        out = ~member[t]
        given = y[out], predicted[t, out]
        frame = metrics.MetricFrame(
            metrics=lambda a, b: float(np.mean(a == b)), y_true=given[0], y_pred=given[1], sensitive_features=codes[out]
        )
        of = {"sensitive_features": codes[out]}
        assert got["demographic_parity"][t] == pytest.approx(metrics.demographic_parity_difference(*given, **of))
        assert got["equalized_odds"][t] == pytest.approx(metrics.equalized_odds_difference(*given, **of))
        assert got["worst_group_accuracy"][t] == pytest.approx(frame.group_min())
        assert got["accuracy_gap"][t] == pytest.approx(frame.difference())
        for g, name in enumerate(NAMES):
            assert got[f"group_accuracy[{name}]"][t] == pytest.approx(frame.by_group[g])


def test_several_classes_are_the_largest_gap_over_classes():
    predicted, y, member, codes = answers(classes=3, bias=0.2)
    got = measure(predicted, y, member, Groups(codes, NAMES), 3).per_target
    for t in range(len(predicted)):
        out = ~member[t]
        rates, odds = [], []
        for c in range(3):
            share = [np.mean(predicted[t, out & (codes == g)] == c) for g in range(3)]
            rates.append(max(share) - min(share))
            for k in range(3):
                share = [np.mean(predicted[t, out & (codes == g) & (y == k)] == c) for g in range(3)]
                odds.append(max(share) - min(share))
        assert got["demographic_parity"][t] == pytest.approx(max(rates))
        assert got["equalized_odds"][t] == pytest.approx(max(odds))


def test_chance_is_told_apart_from_bias():
    fair = measure(*answers(targets=8)[:3], Groups(answers(targets=8)[3], NAMES), 2)
    for name, values in fair.per_target.items():
        if name in fair.by_chance:
            assert np.mean(values) == pytest.approx(fair.by_chance[name], abs=0.04), name
    predicted, y, member, codes = answers(targets=8, bias=0.4)
    biased = measure(predicted, y, member, Groups(codes, NAMES), 2)
    for name in ("demographic_parity", "equalized_odds", "accuracy_gap"):
        assert np.mean(biased.per_target[name]) > biased.by_chance[name] + 0.05, name


def test_members_do_not_count_and_small_groups_are_left_out():
    predicted, y, member, codes = answers()
    wrong_inside = np.where(member, 1 - predicted, predicted)
    groups = Groups(codes, NAMES)
    first, second = (measure(p, y, member, groups, 2).per_target for p in (predicted, wrong_inside))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    codes = np.where(codes == 2, 1, codes)
    codes[:FEWEST] = 2
    found = measure(predicted, y, member, Groups(codes, NAMES), 2)
    assert found.left_out == ("c",) and found.records["c"] < FEWEST and "group_accuracy[c]" not in found.per_target
    alone = measure(predicted, y, member, Groups(np.zeros(900, int), ("all",)), 2)
    assert np.isnan(alone.per_target["accuracy_gap"]).all()
    (estimate,) = estimates({"accuracy_gap[x]": alone.per_target["accuracy_gap"]}, [0, 0, 1]).values()
    assert not estimate.resolved and "fewer than two groups" in estimate.note


def test_estimates_have_intervals_over_pairs_and_say_what_chance_gives():
    predicted, y, member, codes = answers(targets=8)
    found = measure(predicted, y, member, Groups(codes, NAMES), 2)
    made = estimates(found.per_target, np.arange(8) // 2, by_chance=found.by_chance)
    gap = made["equalized_odds"]
    assert gap.n == 4 and gap.low < gap.value < gap.high and "were groups assigned at random" in gap.note
    assert gap.direction == "higher_is_worse" and made["worst_group_accuracy"].direction == "higher_is_better"


def test_answers_that_do_not_fit_are_refused():
    predicted, y, member, codes = answers()
    with pytest.raises(DataError):
        measure(predicted[:, :-1], y, member, Groups(codes, NAMES), 2)
    with pytest.raises(DataError):
        measure(predicted, y, member, Groups(codes[:-1], NAMES), 2)
