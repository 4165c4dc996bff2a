from __future__ import annotations

import numpy as np
import pytest

from privsec.core.evidence import StolenModel
from privsec.measures.extraction import MEASURES, ExtractionTruth, estimates, exhibits, measure
from tests.oracles import extraction as oracle

BUDGETS = np.array([10, 100])
EVIDENCE = StolenModel(None, {}, {}, BUDGETS)  # type: ignore[arg-type]  # the labels say it all


def draw(rng, targets=4, points=500, classes=4):
    y = rng.integers(0, classes, points)
    victim = np.where(rng.random((targets, points)) < 0.8, y, rng.integers(0, classes, (targets, points)))
    student, null = rng.integers(0, classes, (2, targets, 2, points))
    return ExtractionTruth(y, victim, student, null)


def test_measures_are_the_oracles():
    truth = draw(np.random.default_rng(0))
    found, shown = measure(EVIDENCE, truth), exhibits(EVIDENCE, truth)
    for t in range(4):
        s, s0 = (oracle.fidelity(part[t, 1], truth.victim[t]) for part in (truth.student, truth.null))
        np.testing.assert_allclose(found["fidelity"][t], s)
        np.testing.assert_allclose(found["null_fidelity"][t], s0)
        np.testing.assert_allclose(found["advantage"][t], (s - s0) / (1 - s0))
        wrong = oracle.error_fidelity(truth.student[t, 1], truth.victim[t], truth.y)
        np.testing.assert_allclose(found["error_fidelity"][t], wrong)
        np.testing.assert_allclose(found["victim_accuracy"][t], oracle.fidelity(truth.victim[t], truth.y))
        np.testing.assert_allclose(found["student_accuracy"][t], oracle.fidelity(truth.student[t, 1], truth.y))
        for q in range(2):
            curve = oracle.fidelity(truth.student[t, q], truth.victim[t])
            np.testing.assert_allclose(shown["fidelity"][t, q], curve)
    assert found["queries"].tolist() == [100] * 4 and shown["budgets"].tolist() == [10, 100]


def test_a_copy_has_the_whole_advantage_and_two_strangers_none():
    rng = np.random.default_rng(1)
    truth = draw(rng)
    copied = truth._replace(student=np.repeat(truth.victim[:, None], 2, axis=1))
    result = estimates(measure(EVIDENCE, copied))
    assert result["advantage"].value == 1 and 0.98 < result["advantage"].low < 1
    assert result["error_fidelity"].value == 1

    many = draw(rng, targets=20, points=2000)
    result = estimates(measure(EVIDENCE, many))
    assert result["advantage"].low < 0 < result["advantage"].high < 0.1
    assert result["fidelity"].n == 2000
    assert {name: (e.unit, e.direction) for name, e in result.items()} == {n: m[:2] for n, m in MEASURES.items()}


def test_a_perfect_null_and_a_model_without_mistakes_are_no_trouble():
    y = np.array([0, 1, 2, 0])
    everywhere = np.tile(y, (2, 2, 1))
    found = measure(EVIDENCE, ExtractionTruth(y, everywhere[:, 0], everywhere, everywhere))
    assert found["advantage"].tolist() == [0, 0] and np.isnan(found["error_fidelity"]).all()
    result = estimates(found)
    assert not result["error_fidelity"].resolved
    assert result["advantage"].low < 0 < result["advantage"].high <= 1


@pytest.mark.parametrize(("fidelity", "null"), [(0.9, 0.6), (0.7, 0.7)])
def test_intervals_cover_the_truth_over_draws_of_records(fidelity, null):
    rng = np.random.default_rng(2)
    truth, covered = (fidelity - null) / (1 - null), 0
    for _ in range(200):
        agrees = rng.random((2, 150)) < np.array([[fidelity], [null]])
        student, never = np.where(agrees, 0, 1)
        labels = np.zeros(150, np.int64)
        given = ExtractionTruth(labels, labels[None], student[None, None], never[None, None])
        interval = estimates(measure(EVIDENCE._replace(budgets=BUDGETS[:1]), given))["advantage"]
        covered += interval.low <= truth <= interval.high
    assert covered >= 182  # 95%, less three standard errors
