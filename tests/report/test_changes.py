from __future__ import annotations

import numpy as np
import pytest

from privsec.core.estimate import Estimate
from privsec.report import changes
from privsec.report.reading import Reading


def two(folder, before, after, name="advantage"):
    folder.config.update(defenses={"none": [], "dp": [{"name": "x"}]}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {name: before})
    folder.add("dp", "lira", {name: after})
    return Reading(folder.results())


def test_pairing_removes_what_targets_share(folder):
    rng = np.random.default_rng(0)
    base = rng.normal(size=16)
    made = changes.change(two(folder, base, base - 0.1 + 0.001 * rng.normal(size=16)), "dp", "lira", "advantage")
    assert made and made.paired and made.estimate.n == 8
    assert made.estimate.high < -0.09 < made.estimate.high + 0.02 and made.p < 1e-6


def test_complementary_twins_count_once(folder):
    reading = two(folder, np.zeros(6), np.array([1.0, -1.0, 2.0, -2.0, 3.0, -3.0]))
    made = changes.change(reading, "dp", "lira", "advantage")
    assert made and made.estimate.value == 0 and made.estimate.n == 3 and made.p == 1


def test_different_numbers_of_targets_are_compared_unpaired(folder):
    made = changes.change(two(folder, [0.5, 0.52, 0.5, 0.48], [0.1, 0.11]), "dp", "lira", "advantage")
    assert made and not made.paired and made.estimate.value == pytest.approx(-0.395)


def test_the_unpaired_interval_of_symmetric_intervals_adds_variances():
    made = changes.unpaired(Estimate(0.5, 0.4, 0.6, 9), Estimate(0.2, 0.1, 0.3, 7))
    assert made.estimate.low == pytest.approx(-0.3 - 0.1 * np.sqrt(2))
    assert made.estimate.high == pytest.approx(-0.3 + 0.1 * np.sqrt(2))
    assert made.estimate.n == 7


def test_the_unpaired_p_value_agrees_with_its_interval():
    at_edge = changes.unpaired(
        Estimate(0.0, -0.1, 0.1, 9), Estimate(0.1 * np.sqrt(2), 0.1 * np.sqrt(2) - 0.1, 0.1 * np.sqrt(2) + 0.1, 9)
    )
    assert at_edge.estimate.low == pytest.approx(0, abs=1e-12) and at_edge.p == pytest.approx(0.05)


def test_no_baseline_no_change(folder):
    folder.config.update(defenses={"dp": [{"name": "x"}]}, attacks=[{"name": "lira"}])
    folder.add("dp", "lira", {"advantage": [0.1, 0.2]})
    assert changes.adjusted(Reading(folder.results())) == {}


def test_holm_is_taken_over_the_whole_table(full_run):
    table = changes.adjusted(Reading(full_run))
    raw = np.array([made.p for made, _ in table.values()])
    adjusted = np.array([p for _, p in table.values()])
    assert np.all(adjusted >= raw) and adjusted.min() == pytest.approx(min(1.0, raw.min() * len(raw)))
