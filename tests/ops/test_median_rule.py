import numpy as np
import pytest

from privsec.ops.median_rule import anomaly_index, spread, threshold

NORMS = np.array([60, 58, 63, 61, 59, 62, 64, 57, 10, 60.0])


def test_the_golden_norms():
    assert spread(NORMS) == pytest.approx(2.965, abs=5e-4)
    index = anomaly_index(NORMS)
    assert index[8] == pytest.approx(16.86, abs=5e-3)
    assert np.delete(index, 8).max() < 2
    assert index[6] < 0  # above the median: never suspicious


@pytest.mark.parametrize(("count", "expected"), [(10, 3.83), (20, 3.55), (43, 3.49), (100, 3.51)])
def test_thresholds_for_a_whole_family_of_classes(count, expected):
    assert threshold(count, 0.05) == pytest.approx(expected, abs=0.06)


def test_the_papers_threshold_flags_a_third_of_clean_models():
    values = np.random.default_rng(1).normal(size=(2000, 10))
    flagged = np.mean([anomaly_index(row).max() > 2 for row in values])
    assert flagged == pytest.approx(0.33, abs=0.04)
    honest = np.mean([anomaly_index(row).max() > threshold(10, 0.05) for row in values])
    assert honest == pytest.approx(0.05, abs=0.02)


def test_where_the_others_are_all_the_same():
    assert anomaly_index(np.array([5.0, 5, 5, 1, 9])).tolist() == [0, 0, 0, np.inf, -np.inf]
