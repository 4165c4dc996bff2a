from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.measures.inversion import (
    MEASURES,
    InversionTruth,
    class_means,
    estimates,
    exhibits,
    expected_nearest,
    measure,
)
from privsec.measures.similarity import psnr, ssim
from tests.oracles import inversion as oracle

K = 6


def population(rng, targets, each=5, shape=(3,)):
    """Candidates [K * each, ...] and complementary halves, whose classes are not split evenly unless there are two."""
    x = rng.random((K * each, *shape)).astype(np.float32)
    half = rng.random((targets // 2, len(x))) < 0.5
    half[:, ::each], half[:, 1::each] = True, False  # at least one on each side
    return x, np.repeat(np.arange(K), each), np.stack([half, ~half], axis=1).reshape(targets, -1)


def judge(x, member, candidates, y, labels=None, mean_labels=None):
    classes = np.arange(K, dtype=np.int32)
    labels = np.broadcast_to(classes, (2, *x.shape[:2])) if labels is None else labels
    mean_labels = np.broadcast_to(classes, (2, K)) if mean_labels is None else mean_labels
    truth = InversionTruth(candidates, y, member, labels, class_means(candidates, y, classes), mean_labels)
    return Reconstructions(x, classes, np.full(x.shape[:2], 0.5, np.float32), 1.0), truth


def copies(rng, candidates, y, member):
    """For each target and class one of the training records itself."""
    rows = [[rng.choice(np.flatnonzero(row & (y == k))) for k in range(K)] for row in member]
    return candidates[np.array(rows)]


def test_copies_of_training_records_are_complete_success():
    rng = np.random.default_rng(0)
    candidates, y, member = population(rng, 4, each=2)
    found = measure(*judge(copies(rng, candidates, y, member), member, candidates, y))
    np.testing.assert_allclose(found["nearer_to_members"], 1)
    np.testing.assert_allclose(found["advantage"].mean(), 1)
    np.testing.assert_allclose(found["null_success"], 0)
    np.testing.assert_allclose(found["null_class_mean"].reshape(-1, 2).sum(1), 1)  # nearer to one half of every pair


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_guesses_have_no_advantage_whatever_share_the_evaluators_accept(share):
    rng = np.random.default_rng(1)
    candidates, y, member = population(rng, 400)
    x = rng.random((400, K, 3)).astype(np.float32)
    labels = np.where(rng.random((2, 400, K)) < share, np.arange(K), -1)
    found = measure(*judge(x, member, candidates, y, labels))
    result = estimates(found)["advantage"]
    assert result.low < 0 < result.high
    assert abs(result.value) < 0.06
    np.testing.assert_allclose(found["accepted"].mean(), share**2, atol=0.04)


def test_the_same_image_from_both_twins_has_exactly_no_advantage():
    rng = np.random.default_rng(2)
    candidates, y, member = population(rng, 8)
    x = np.repeat(rng.random((4, K, 3)).astype(np.float32), 2, axis=0)
    np.testing.assert_allclose(measure(*judge(x, member, candidates, y))["advantage"], 0, atol=1e-12)


def test_every_number_is_the_one_worked_out_by_hand():
    """One class, records at 0, 1 (members of target 0) and 3 (of its twin), reconstructions at 0.5 and 2.9."""
    candidates, y = np.array([[0.0], [1.0], [3.0]], np.float32), np.zeros(3, np.int64)
    member = np.array([[True, True, False], [False, False, True]])
    x = np.array([[[0.5]], [[2.9]]], np.float32)
    truth = InversionTruth(candidates, y, member, np.zeros((2, 2, 1), int), np.array([[1.0]]), np.zeros((2, 1), int))
    evidence = Reconstructions(x, np.zeros(1, np.int32), np.array([[0.9], [0.7]]), 10.0)
    found = measure(evidence, truth)
    # Target 0: members at distance .5 and .5, held out at 2.5. Twin: member at .1, held out 1.9 and 2.9, one at a time.
    np.testing.assert_allclose(found["nn_gap"], [2.0, 2.4 - 0.1], rtol=1e-6)
    np.testing.assert_allclose(found["success"], 1)
    np.testing.assert_allclose(found["null_success"], 0)
    np.testing.assert_allclose(found["advantage"], (1 - 0.5) / (1 - 0.5))
    np.testing.assert_allclose(found["null_class_mean"], [1, 0])  # the mean, 1, is .5 from members, 2 from the held-out
    np.testing.assert_allclose(found["target_confidence"], [0.9, 0.7])
    shown = exhibits(evidence, truth)
    np.testing.assert_array_equal(shown["nearest_member"], [[[0.0]], [[3.0]]])
    np.testing.assert_array_equal(shown["nearest_held_out"], [[[3.0]], [[1.0]]])
    assert shown["accepted"].all()

    rejected = truth._replace(labels=np.array([[[0], [0]], [[1], [0]]]))  # one evaluator does not see the class
    found = measure(evidence, rejected)
    np.testing.assert_array_equal(found["success"], [0, 1])
    np.testing.assert_allclose(found["advantage"], (np.array([0, 1]) - np.array([0, 0.5])) / 0.75)


def test_gaps_are_the_oracles():
    rng = np.random.default_rng(3)
    candidates, y, member = population(rng, 2, shape=(2, 2, 1))
    x = rng.random((2, K, 2, 2, 1)).astype(np.float32)
    gap = exhibits(*judge(x, member, candidates, y))["gap"]
    for t in range(2):
        for k in range(K):
            inside, outside = (list(candidates[side & (y == k)]) for side in (member[t], ~member[t]))
            np.testing.assert_allclose(gap[t, k], oracle.nearer(x[t, k], inside, outside), rtol=1e-6)


def test_a_class_without_a_comparison_is_left_out_for_both_twins():
    rng = np.random.default_rng(4)
    candidates, y, member = population(rng, 2)
    member[0, y == 2], member[1, y == 2] = True, False
    x = copies(rng, candidates, y, np.ones_like(member))
    evidence, truth = judge(x, member, candidates, y)
    np.testing.assert_array_equal(measure(evidence, truth)["classes"], K - 1)
    shown = exhibits(evidence, truth)
    assert np.isnan(shown["gap"][:, 2]).all() and np.isfinite(np.delete(shown["gap"], 2, 1)).all()
    assert np.isnan(shown["nearest_held_out"][0, 2]).all() and np.isnan(shown["nearest_member"][1, 2]).all()

    nobody = truth._replace(member=np.stack([np.ones(len(y), bool), np.zeros(len(y), bool)]))
    result = estimates(measure(evidence, nobody))
    assert not result["advantage"].resolved and result["accepted"].value == 1


def test_estimates_count_pairs_within_seeds_and_never_claim_certainty():
    rng = np.random.default_rng(5)
    candidates, y, member = population(rng, 4, each=2)
    once = measure(*judge(copies(rng, candidates, y, member), member, candidates, y))
    both = {name: np.concatenate([values, values]) for name, values in once.items()}
    result = estimates(both, seeds=np.repeat([0, 1], 4))
    assert result["advantage"].n == 4
    assert result["success"].value == 1 and 0.8 < result["success"].low < 1  # 24 of 24
    assert {name: (e.unit, e.direction) for name, e in result.items()} == {
        name: MEASURES[name][:2] for name in MEASURES if name not in ("psnr", "ssim")
    }


def test_images_are_compared_with_the_nearest_training_image_of_their_class():
    rng = np.random.default_rng(6)
    candidates, y, member = population(rng, 2, shape=(5, 7, 1))
    x = copies(rng, candidates, y, member)
    found = measure(*judge(x, member, candidates, y))
    np.testing.assert_allclose(found["ssim"], 1)
    np.testing.assert_allclose(found["psnr"], 100)
    noisy = measure(*judge(np.clip(x + 0.1, 0, 1), member, candidates, y))
    assert np.all(noisy["psnr"] > 20) and np.all(noisy["psnr"] < 25) and np.all(noisy["ssim"] < 1)


@pytest.mark.parametrize(("shape", "side"), [((13, 15, 2), 11), ((8, 9, 1), 7)])
def test_ssim_is_the_oracles(shape, side):
    rng = np.random.default_rng(7)
    a = rng.random((2, *shape)) * 255
    b = np.clip(a + 30 * rng.standard_normal(a.shape), 0, 255)
    expected = [oracle.ssim(p, q, 255, side) for p, q in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b, 255), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(a / 255, b / 255, 1), expected, rtol=1e-9)


def test_psnr_of_a_constant_error():
    np.testing.assert_allclose(psnr(np.full((2, 4, 4, 1), 0.5), np.full((2, 4, 4, 1), 0.4), 1.0), 20.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.data())
def test_the_expected_nearest_is_the_mean_over_all_subsets(distances, data):
    size = data.draw(st.integers(1, len(distances)))
    expected = oracle.expected_nearest(np.array(distances), size)
    np.testing.assert_allclose(expected_nearest(np.array(distances), size), expected, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_judged_says_why():
    rng = np.random.default_rng(8)
    candidates, y, member = population(rng, 4)
    evidence, truth = judge(copies(rng, candidates, y, member), member, candidates, y)
    with pytest.raises(NotApplicable, match="complementary pairs"):
        measure(evidence, truth._replace(member=member[[0, 2, 1, 3]]))
    with pytest.raises(NotApplicable, match="two or more evaluators"):
        measure(evidence, truth._replace(labels=truth.labels[:1]))
