from __future__ import annotations

import math

from privsec.core.estimate import Estimate, unresolved


def test_text():
    assert str(Estimate(0.12345, 0.1, 0.2, 5)) == "0.123 [0.100, 0.200]"


def test_unresolved_says_why():
    estimate = unresolved(12, "share", "higher_is_worse", "12 records resolve no rate below 1/12")
    assert not estimate.resolved and math.isnan(estimate.low) and math.isnan(estimate.high)
    assert str(estimate) == "12 records resolve no rate below 1/12"
    assert (estimate.n, estimate.unit, estimate.direction) == (12, "share", "higher_is_worse")
    assert str(unresolved(0, "", "descriptive", "")) == "not resolved"


def test_zero_is_a_value():
    assert Estimate(0.0, 0.0, 0.0, 1).resolved
