from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.evidence import Triggered
from privsec.measures import poisoning
from tests.oracles import poisoning as oracle


def drawn(seed, looked=True, rejecting=False, targets=4, asked=30, records=50):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, (targets, asked))
    goal = np.where(rng.random(y.shape) < 0.5, -1, (y + 1) % 3)
    evidence = Triggered(np.zeros((targets, asked, 2), np.float32), y, goal, np.tile(np.arange(asked), (targets, 1)))
    labels = 4 if rejecting else 3
    suspicion = rng.normal(size=(targets, records))
    suspicion[rng.random(suspicion.shape) < 0.2] = np.nan
    truth = poisoning.PoisonTruth(
        called=rng.integers(0, labels, y.shape),
        control=rng.integers(0, labels, y.shape),
        accuracy=rng.random(targets),
        control_accuracy=rng.random(targets),
        rejected=3 if rejecting else None,
        given=rng.random((targets, records)) < 0.7,
        poisoned=rng.random(records) < 0.2,
        kept=rng.random((targets, records)) < 0.6 if looked else None,
        suspicion=suspicion if looked else None,
    )
    return evidence, truth


@given(seed=st.integers(0, 10_000), looked=st.booleans(), rejecting=st.booleans())
def test_measures_agree_with_counting(seed, looked, rejecting):
    evidence, truth = drawn(seed, looked, rejecting)
    found = poisoning.measure(evidence, truth)
    for t in range(4):
        expected = oracle.measures(
            truth.called[t],
            truth.control[t],
            evidence.goal[t],
            evidence.y[t],
            truth.rejected,
            truth.accuracy[t],
            truth.control_accuracy[t],
            truth.given[t],
            truth.poisoned,
            truth.kept[t] if looked else None,
            truth.suspicion[t] if looked else None,
        )
        expected["poisoned"] = expected.pop("poisoned")
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][t], value, err_msg=name)


def test_a_backdoor_that_always_works_is_an_advantage_of_one_and_an_idle_one_of_none():
    evidence, truth = drawn(0)
    evidence = evidence._replace(goal=(evidence.y + 1) % 3)
    won, lost = evidence.goal, evidence.y
    every = poisoning.measure(evidence, truth._replace(called=won, control=lost))
    idle = poisoning.measure(evidence, truth._replace(called=won, control=won))
    assert (every["advantage"] == 1).all() and (idle["advantage"] == 0).all()


def test_a_refusal_is_no_success():
    evidence, truth = drawn(0, rejecting=True)
    evidence = evidence._replace(goal=np.full(evidence.y.shape, -1))
    found = poisoning.measure(evidence, truth._replace(called=np.full(evidence.y.shape, 3)))
    assert (found["success"] == 0).all() and (found["refused"] == 1).all()


def test_without_poison_nothing_is_detected_and_nothing_kept():
    evidence, truth = drawn(0)
    found = poisoning.measure(evidence, truth._replace(poisoned=np.zeros(50, bool)))
    assert np.isnan(found["detected"]).all() and np.isnan(found["poison_kept"]).all()
    estimates = poisoning.estimates(found)
    assert not estimates["detected"].resolved and estimates["clean_kept"].resolved


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_no_more_than_a_twentieth_of_clean_records_is_accused(poison, clean):
    poison, clean = np.array(poison), np.array(clean)
    found = poisoning.detected(poison, clean)
    threshold = np.sort(clean)[::-1][int(0.05 * len(clean))]
    assert np.mean(clean > threshold) <= 0.05 and found == np.mean(poison > threshold)


def test_intervals_count_the_points_and_contain_the_value():
    evidence, truth = drawn(5)
    for name, estimate in poisoning.estimates(poisoning.measure(evidence, truth)).items():
        assert estimate.low <= estimate.value <= estimate.high, name
        assert estimate.n == 30
    several = poisoning.estimates(
        {k: np.tile(v, 2) for k, v in poisoning.measure(evidence, truth).items()}, np.repeat([0, 1], 4)
    )
    assert several["success"].value == pytest.approx(float(poisoning.measure(evidence, truth)["success"].mean()))


def targeted(seed, pairs=10, share=0.4, alike=1.0, null=0.0):
    """Models of which each pair has one target of its own, which both call alike with that probability at least."""
    rng = np.random.default_rng(seed)

    def called(share):
        each, both = rng.random((2, pairs)) < share, rng.random(pairs) < share
        return np.where(rng.random(pairs) < alike, both, each).T.reshape(-1, 1).astype(int)

    y, goal = np.zeros((2 * pairs, 1), int), np.ones((2 * pairs, 1), int)
    rows = np.repeat(np.arange(pairs), 2)[:, None]
    evidence = Triggered(np.zeros((2 * pairs, 1, 2), np.float32), y, goal, rows)
    given = np.ones((2 * pairs, 40), bool)
    accuracy = np.full(2 * pairs, 0.9)
    truth = poisoning.PoisonTruth(called(share), called(null), accuracy, accuracy, None, given, np.arange(40) < 4)
    return poisoning.measure(evidence, truth)


def test_targets_of_ones_own_are_counted_over_all_models():
    found = poisoning.estimates(targeted(0), records={"clean_accuracy": 500}, own=True)
    assert found["points"].value == found["success"].n == 10 and found["clean_accuracy"].n == 500
    assert found["clean_accuracy"].high - found["clean_accuracy"].low < 0.06
    certain = poisoning.estimates(targeted(0, share=1.1), own=True)["success"]
    assert certain.value == 1 and certain.low == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize("share", [0.1, 0.9])
@pytest.mark.parametrize("alike", [0.0, 1.0])
def test_intervals_over_targets_of_ones_own_cover(share, alike):
    """Ten pairs and a target each, called alike by both of a pair that often; without poison 5% are called so, too."""
    drawn = [targeted(seed, 10, share, alike, 0.05) for seed in range(150)]
    found = [poisoning.estimates(each, own=True) for each in drawn]
    for name, truth in {"success": share, "null_success": 0.05, "advantage": (share - 0.05) / 0.95}.items():
        assert np.mean([each[name].low <= truth <= each[name].high for each in found]) >= 0.95, name
    if alike:  # as if all had been asked about the same: which records these were is counted in the spread once more
        twice = [poisoning.estimates(each)["success"] for each in drawn]
        assert np.mean([each["success"].high - each["success"].low for each in found]) < 0.9 * np.mean(
            [each.high - each.low for each in twice]
        )


def test_exhibits_are_of_the_first_target():
    evidence, truth = drawn(1)
    shown = poisoning.exhibits(evidence, truth)
    assert len(shown["asked"]) == len(shown["y"]) == poisoning.SHOWN
    np.testing.assert_array_equal(shown["won"], poisoning.wins(truth.called, evidence, None))
    said = truth.given & ~np.isnan(truth.suspicion)
    assert len(shown["poison_suspicion"]) + len(shown["clean_suspicion"]) == said.sum()


# What is proven of votes.

counts = st.lists(st.integers(0, 4), min_size=2, max_size=4).filter(any)


@given(counts)
def test_votes_are_withstood_until_some_way_to_change_so_many_brings_another_winner(votes):
    found = int(poisoning.withstood(np.array(votes)))
    assert found == oracle.withstood(votes)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=9).filter(any), st.integers(1, 50))
def test_a_greater_lead_withstands_more(votes, more):
    votes = np.array(votes)
    winner = int(np.argmax(votes))
    ahead = votes + more * (np.arange(len(votes)) == winner)
    first, then = poisoning.withstood(np.stack([votes, ahead]))
    assert 0 <= first <= then <= first + (more + 1) // 2
    assert first <= votes.sum() // 2


@pytest.mark.parametrize(
    ("votes", "few"), [([2, 0], 1), ([0, 2], 0), ([0, 3], 1), ([5, 3], 1), ([3, 5], 0), ([3, 6, 3], 1), ([4, 4, 4], 0)]
)
def test_a_tie_goes_to_the_smaller_class(votes, few):
    assert poisoning.withstood(np.array(votes)) == few


def voted(seed=0):
    """Two models' votes on 30 records, and the models without the poison that answer by them."""
    evidence, truth = drawn(seed, targets=2)
    votes = np.random.default_rng(seed).multinomial(21, [0.1, 0.2, 0.7], (2, 30))
    return evidence, truth._replace(votes=votes, control=votes.argmax(axis=-1), changes=np.array([2, 5]))


def test_certified_counts_the_answers_that_withstand_as_many_changes():
    evidence, truth = voted()
    found = poisoning.measure(evidence, truth)
    for t in range(2):
        each = [oracle.withstood(list(row)) for row in truth.votes[t]]
        assert found["certified"][t] == np.mean([r >= truth.changes[t] for r in each])
        assert found["certified_changes"][t] == np.median(each) and found["changes"][t] == truth.changes[t]
    assert found["certified"][0] > found["certified"][1] > 0
    estimate = poisoning.estimates(found)["certified"]
    assert estimate.low <= estimate.value <= estimate.high
    assert not {"certified", "certified_changes", "changes"} & set(
        poisoning.measure(evidence, truth._replace(votes=None))
    )


def test_an_answer_that_is_not_the_votes_is_not_certified():
    evidence, truth = voted()
    other = truth._replace(control=(truth.control + 1) % 3)
    assert (poisoning.measure(evidence, other)["certified"] == 0).all() and poisoning.broken(other) == 0


def test_only_certified_answers_can_be_broken():
    _, truth = voted()
    certified = poisoning.certified(truth)
    assert poisoning.broken(truth._replace(called=truth.control)) == 0
    assert poisoning.broken(truth._replace(called=np.where(certified, truth.control, 1 - truth.control))) == 0
    assert poisoning.broken(truth._replace(called=truth.control + 1)) == certified.sum() > 0
    assert poisoning.broken(truth._replace(called=truth.control + 1, votes=None)) == 0
