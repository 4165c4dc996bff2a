"""How much of what the best attacker without the model misses, the attacker with it gets: one figure for families."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Real

from privsec.measures.intervals import clopper_pearson

FLOOR = -1.0
"""The lowest advantage. `(s - s0) / (1 - s0)` has no bound below: beside a null that is nearly always right it divides
by next to nothing, and one such cell would outweigh all others in a mean. What it says is said at -1 already: the
attacker loses more than the null leaves open, and is better off without the model."""


def advantage(
    success: Real[np.ndarray, " T"], null: Real[np.ndarray, " T"], points: float
) -> Float64[np.ndarray, " T"]:
    """`max((s - s0) / (1 - s0), -1)`: 0 is no better than the null, 1 is complete; negative where the null does better.

    Args:
        success: s, the attacker's share of successes.
        null: s0, that of the best attacker who never met the model.
        points: how many points both are shares of. A null that is always right counts as wrong once, so that nothing
            is divided by zero.

    >>> advantage(np.array([0.9, 1.0, 0.2]), np.array([0.8, 1.0, 1.0]), 50).round(3).tolist()
    [0.5, 0.0, -1.0]
    """
    success, null = np.asarray(success, np.float64), np.asarray(null, np.float64)
    return np.maximum((success - null) / np.maximum(1 - null, 1 / points), FLOOR)


def over_points(success: float, null: float, points: float) -> tuple[float, float]:
    """The 95% interval of `advantage` for fixed models, over which points were drawn.

    From the Clopper-Pearson intervals of both shares, which keep their width at 0 and 1, by the method of variance
    estimates recovery: with D = 1 - s0, `dA = ds / D - (1 - A) ds0 / D`. The shares are taken for independent; right
    answers to the same points mostly agree, which makes this too wide rather than too narrow. Near s0 = 1, where the
    advantage is far from linear in s0, no end goes beyond what both shares give at the ends of their intervals.

    References: Zou & Donner 2008, Statistics in Medicine 27.

    >>> [round(end, 2) for end in over_points(0.9, 0.2, 200)]
    [0.81, 0.92]
    """
    rest = max(1 - null, 1 / points)
    value = (success - null) / rest
    (low, high), (null_low, null_high) = (clopper_pearson(share * points, points) for share in (success, null))
    below = math.hypot(success - low, (1 - value) * (null_high - null)) / rest
    above = math.hypot(high - success, (1 - value) * (null - null_low)) / rest
    worst, best = advantage(np.array([low, high]), np.array([null_high, null_low]), points)
    return max(value - below, float(worst)), min(max(value + above, FLOOR), float(best))
