from __future__ import annotations

import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.evidence import Program
from privsec.measures.advantage import advantage, over_points
from privsec.measures.reprogramming import (
    MEASURES,
    ReprogrammingTruth,
    Seen,
    border,
    estimates,
    exhibits,
    measure,
    probe,
    spread,
)

SHAPE, N, G = (8, 8, 1), 200, 4


def program(targets=2):
    pattern = np.zeros((targets, *SHAPE), np.float32)
    pattern[:, 0, :4] = 0.5
    return Program(pattern, np.tile(np.eye(5, G, dtype=np.float32), (targets, 1, 1)), 4, 1234.0)


def called(rng, y, share):
    return np.where(rng.random(len(y)) < share, y, (y + 1) % G)


def test_every_number_is_the_one_worked_out_by_hand():
    y = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 0])
    right = np.array([y, y])
    right[1, :2], right[1, 2] = [3, 3], -1
    twin, line = np.where(np.arange(10) < 2, y, -1), np.where(np.arange(10) < 3, y, (y + 1) % 4)
    found = measure(program(), ReprogrammingTruth(y, right, twin[None], line, 0))
    np.testing.assert_allclose(found["accuracy"], [1, 0.7])
    np.testing.assert_allclose(found["null_twin"], 0.2)
    np.testing.assert_allclose(found["null_probe"], 0.3)
    np.testing.assert_allclose(found["null_majority"], 0.4)
    np.testing.assert_allclose(found["null_accuracy"], 0.4)
    np.testing.assert_allclose(found["advantage"], [1, 0.5])
    np.testing.assert_allclose(found["refused"], [0, 0.1])
    np.testing.assert_allclose(found["pattern_norm"], 1)
    assert found["queries"].tolist() == [1234, 1234]
    assert "detected_softmax" not in found


def test_an_attack_as_good_as_its_best_null_has_no_advantage_and_the_interval_says_so():
    rng = np.random.default_rng(0)
    y = rng.integers(0, G, N)
    same = np.stack([called(rng, y, 0.6) for _ in range(4)])
    result = estimates(
        measure(program(4), ReprogrammingTruth(y, same, called(rng, y, 0.3)[None], called(rng, y, 0.6), 0))
    )
    assert result["advantage"].low < 0 < result["advantage"].high
    assert result["accuracy"].n == N
    assert {name: (e.unit, e.direction) for name, e in result.items()} == {name: MEASURES[name][:2] for name in result}
    with_seeds = measure(program(4), ReprogrammingTruth(y, same, same, called(rng, y, 0.1), 0))
    assert estimates(with_seeds, seeds=[0, 0, 1, 1])["advantage"].value == 0


def test_a_null_without_a_fault_divides_nothing_by_zero():
    assert advantage(np.array([1.0, 0.9]), np.array([1.0, 1.0]), 10).tolist() == [0.0, pytest.approx(-1.0)]
    low, high = over_points(1.0, 1.0, 10)
    assert low < 0 <= high <= 1


def test_detectors_catch_five_percent_of_ordinary_inputs_and_what_is_out_of_the_ordinary():
    rng = np.random.default_rng(1)
    y = rng.integers(0, G, N)
    ordinary = rng.random((400, *SHAPE)).astype(np.float32)
    sure = 10 * np.eye(5)[rng.integers(0, 5, (2, 400))] + rng.normal(size=(2, 400, 5))
    alike = rng.random((2, N, *SHAPE)).astype(np.float32)
    alike[1] = np.where(border(SHAPE), 0.3, alike[1])  # the second target's program fills the border
    logits = np.stack([sure[0, :N], 0.1 * sure[1, :N]])  # and makes its answers faint
    seen = Seen(ordinary, alike, sure, logits)
    truth = ReprogrammingTruth(y, np.stack([y, y]), y[None], y, 0, seen)
    found = measure(program(), truth)
    for name in ("detected_softmax", "detected_energy", "detected_similar"):
        assert found[name][0] < 0.3 and found[name][1] > 0.9
    itself = seen._replace(programmed=ordinary[None], logits_programmed=sure[:1], logits_ordinary=sure[:1])
    found = measure(program(1), truth._replace(called=truth.called[:1], seen=itself))
    assert 0.04 <= found["detected_softmax"][0] <= 0.05 and 0.04 <= found["detected_energy"][0] <= 0.05
    result = estimates(found)
    assert result["detected_similar"].n == N // 20
    shown = exhibits(program(1), truth._replace(called=truth.called[:1], seen=itself), alike[0], rows=3)
    assert shown["programmed"].shape == (1, 3, *SHAPE) and shown["confusion"].sum() == N
    np.testing.assert_array_equal(shown["confusion"][0].diagonal(), np.bincount(y, minlength=G))


def test_the_spread_is_the_root_of_half_the_mean_squared_distance_of_pairs():
    x = np.random.default_rng(2).random((3, 5, *SHAPE))
    mask = border(SHAPE)
    assert mask.sum() == 28 and border((4,)).all()
    for series, found in zip(x, spread(x, mask), strict=True):
        pairs = [((a - b)[mask] ** 2).mean() for i, a in enumerate(series) for b in series[:i]]
        np.testing.assert_allclose(found, np.sqrt(np.mean(pairs) / 2))


def test_a_linear_classifier_solves_what_is_linear_and_guesses_what_is_not():
    rng = np.random.default_rng(3)
    x = rng.random((400, 3, 3, 1)).astype(np.float32)
    linear = (x[:, 0, 0, 0] > x[:, 1, 1, 0]).astype(np.int32)
    odd = ((x[:, 0, 0, 0] > 0.5) ^ (x[:, 1, 1, 0] > 0.5)).astype(np.int32)
    assert np.mean(probe(Examples(x[:200], linear[:200]), x[200:]) == linear[200:]) > 0.9
    assert np.mean(probe(Examples(x[:200], odd[:200]), x[200:]) == odd[200:]) < 0.65
