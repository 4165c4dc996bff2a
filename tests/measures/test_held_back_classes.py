from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.measures.held_back_classes import MEASURES, exhibits, measure
from privsec.measures.inversion import InversionTruth, estimates
from tests.oracles import inversion as oracle

K, EACH = 6, 4


def world(rng, targets, shape=(5,), spread=0.05):
    """K people round their own centers: candidates, held-out records of each, and halves by person."""
    centers = rng.random((K, *shape)).astype(np.float32)
    y, kept = np.repeat(np.arange(K), EACH), np.repeat(np.arange(K), 3)
    candidates, held_out = (
        (centers[who] + spread * rng.standard_normal((len(who), *shape))).astype(np.float32) for who in (y, kept)
    )
    halves = np.stack([np.isin(np.arange(K), rng.permutation(K)[: K // 2]) for _ in range(targets // 2)])
    knows = np.stack([halves, ~halves], axis=1).reshape(targets, K)
    return candidates, y, knows, Examples(held_out, kept)


def judge(x, labels, candidates, y, knows, mean_labels=None):
    classes = np.arange(K, dtype=np.int32)
    mean = np.full((K, *x.shape[2:]), 0.5, np.float32)
    mean_labels = np.full((2, K), -1) if mean_labels is None else mean_labels
    truth = InversionTruth(candidates, y, knows[:, y], np.stack([labels, labels]), mean, mean_labels)
    return Reconstructions(x, classes, np.full(x.shape[:2], 0.9, np.float32), 1.0), truth


def nearest_person(x, held_out):
    """Labels of an evaluator that knows everybody."""
    flat = x.reshape(-1, 1, *x.shape[2:])
    distance = np.square(flat - held_out.x).reshape(len(flat), len(held_out.y), -1).sum(axis=2)
    return np.asarray(held_out.y)[np.argmin(distance, axis=1)].reshape(x.shape[:2])


def test_models_that_show_the_people_they_know_leak_completely():
    rng = np.random.default_rng(0)
    candidates, y, knows, held_out = world(rng, 8)
    x = rng.random((8, K, 5)).astype(np.float32)
    x[knows] = np.stack([candidates[y == k].mean(axis=0) for k in range(K)])[np.nonzero(knows)[1]]
    evidence, truth = judge(x, np.where(knows, np.arange(K), -1), candidates, y, knows)
    found = measure(evidence, truth, held_out)
    for name, expected in {"advantage": 1, "success": 1, "nearer_to_class": 1, "null_success": 0}.items():
        np.testing.assert_allclose(found[name], expected)
    np.testing.assert_array_equal(found["classes"], K // 2)
    result = estimates(found, measures=MEASURES)
    assert 0.7 < result["success"].low < result["success"].value == 1  # as many as there were is no certainty
    assert set(result) == set(MEASURES) - {"psnr", "ssim", "null_ssim"}


def test_an_attack_that_draws_every_person_from_a_model_that_never_saw_them_has_no_advantage():
    rng = np.random.default_rng(1)
    candidates, y, knows, held_out = world(rng, 400)
    drawn = rng.random((400, K)) < 0.6  # knows the people by itself, six times in ten
    centers = np.stack([candidates[y == k].mean(axis=0) for k in range(K)])
    x = np.where(drawn[..., None], centers, rng.random((400, K, 5))).astype(np.float32)
    evidence, truth = judge(x, nearest_person(x, held_out), candidates, y, knows)
    found = measure(evidence, truth, held_out)
    assert found["success"].mean() > 0.5
    result = estimates(found, measures=MEASURES)["advantage"]
    assert result.low < 0 < result.high and abs(result.value) < 0.12


def test_the_mean_of_the_attackers_records_is_a_control_too():
    rng = np.random.default_rng(2)
    candidates, y, knows, held_out = world(rng, 4)
    centers = np.stack([candidates[y == k].mean(axis=0) for k in range(K)])
    x = np.where(knows[..., None], centers, 0.0).astype(np.float32)
    evidence, truth = judge(x, np.where(knows, np.arange(K), -1), candidates, y, knows)
    better = truth._replace(class_means=centers, class_mean_labels=np.broadcast_to(np.arange(K), (2, K)))
    np.testing.assert_allclose(measure(evidence, truth, held_out)["advantage"], 1)
    np.testing.assert_allclose(measure(evidence, better, held_out)["null_class_mean"], 1)
    np.testing.assert_allclose(measure(evidence, better, held_out)["advantage"], 0)  # nothing is left to gain


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_success_depends_on_image_and_class_alone(seed):
    """What the twin shows of a class counts for it as it would for the model itself: exchanged images swap s and s0."""
    rng = np.random.default_rng(seed)
    candidates, y, knows, held_out = world(rng, 4)
    x = rng.random((4, K, 5)).astype(np.float32)
    labels = np.where(rng.random((4, K)) < 0.7, np.arange(K), -1)
    twin = np.arange(4) ^ 1
    found = measure(*judge(x, labels, candidates, y, knows), held_out)
    swapped = measure(*judge(x[twin], labels[twin], candidates, y, knows), held_out)
    np.testing.assert_allclose(found["success"], swapped["null_success"])
    np.testing.assert_allclose(found["null_success"], swapped["success"])
    np.testing.assert_allclose(found["nearer_to_members"], swapped["null_nearer_to_members"])


def test_distances_are_the_oracles():
    rng = np.random.default_rng(3)
    candidates, y, knows, held_out = world(rng, 2, spread=0.5)
    x = rng.random((2, K, 5)).astype(np.float32)
    found = measure(*judge(x, np.broadcast_to(np.arange(K), (2, K)), candidates, y, knows), held_out)
    for t in range(2):
        known = np.flatnonzero(knows[t])
        own = [list(candidates[y == k]) for k in known]
        others = [
            oracle.nearer(x[t, k], a, list(held_out.x[held_out.y != k])) > 0 for k, a in zip(known, own, strict=True)
        ]
        same = [
            oracle.nearer(x[t, k], a, list(held_out.x[held_out.y == k])) > 0 for k, a in zip(known, own, strict=True)
        ]
        np.testing.assert_allclose(found["nearer_to_class"][t], np.mean(others))
        np.testing.assert_allclose(found["nearer_to_members"][t], np.mean(same))


def test_a_class_that_is_cut_between_the_twins_or_nobodys_is_not_judged():
    rng = np.random.default_rng(4)
    candidates, y, knows, held_out = world(rng, 2)
    x = rng.random((2, K, 5)).astype(np.float32)
    evidence, truth = judge(x, np.broadcast_to(np.arange(K), (2, K)), candidates, y, knows)
    member = truth.member.copy()
    first = np.flatnonzero(y == 2)[0]
    member[:, first] = ~member[:, first]
    shown = exhibits(evidence, truth._replace(member=member), held_out)
    assert not shown["judged"][:, 2].any()
    np.testing.assert_array_equal(shown["judged"].sum(axis=0), [1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(shown["twin"], x[::-1])

    stranger = truth._replace(y=np.where(y == 2, 9, y))  # no candidate is of class 2
    shown = exhibits(evidence, stranger, held_out)
    assert not shown["judged"][:, 2].any() and np.isnan(shown["nearest_member"][:, 2]).all()
    assert np.isfinite(measure(evidence, stranger, held_out)["advantage"]).all()


def test_images_are_likened_to_a_training_image_and_so_are_the_twins():
    rng = np.random.default_rng(5)
    candidates, y, knows, held_out = world(rng, 2, shape=(8, 7, 1))
    first = np.stack([candidates[y == k][0] for k in range(K)])
    x = np.where(knows[..., None, None, None], first, 0.5).astype(np.float32)
    found = measure(*judge(x, np.where(knows, np.arange(K), -1), candidates, y, knows), held_out)
    np.testing.assert_allclose(found["ssim"], 1, atol=1e-6)
    assert np.all(found["null_ssim"] < 0.5) and np.all(found["psnr"] > 60)


def test_what_cannot_be_judged_says_why():
    rng = np.random.default_rng(6)
    candidates, y, knows, held_out = world(rng, 4)
    x = rng.random((4, K, 5)).astype(np.float32)
    evidence, truth = judge(x, np.broadcast_to(np.arange(K), (4, K)), candidates, y, knows)
    with pytest.raises(NotApplicable, match="complementary pairs"):
        measure(evidence, truth._replace(member=truth.member[[0, 2, 1, 3]]), held_out)
