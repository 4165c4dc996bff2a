"""How much of what the best attacker without the model misses, the attacker with it gets: one figure for families."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Real

from privsec.measures.intervals import clopper_pearson


def advantage(success: Real[np.ndarray, " T"], null: Real[np.ndarray, " T"], points: int) -> Float64[np.ndarray, " T"]:
    """`(s - s0) / (1 - s0)`: 0 is no better than the null, 1 is complete; negative where the null does better.

    Args:
        success: s, the attacker's share of successes.
        null: s0, that of the best attacker who never met the model.
        points: how many points both are shares of. A null that is always right counts as wrong once, so that nothing
            is divided by zero.

    >>> advantage(np.array([0.9, 1.0]), np.array([0.8, 1.0]), 50).round(3).tolist()
    [0.5, 0.0]
    """
    success, null = np.asarray(success, np.float64), np.asarray(null, np.float64)
    return (success - null) / np.maximum(1 - null, 1 / points)


def over_points(success: float, null: float, points: int) -> tuple[float, float]:
    """The 95% interval of `advantage` for fixed models, over which points were drawn.

    From the Clopper-Pearson intervals of both shares, which keep their width at 0 and 1, by the method of variance
    estimates recovery: with D = 1 - s0, `dA = ds / D - (1 - A) ds0 / D`. The shares are taken for independent; right
    answers to the same points mostly agree, which makes this too wide rather than too narrow.

    References: Zou & Donner 2008, Statistics in Medicine 27.

    >>> [round(end, 2) for end in over_points(0.9, 0.2, 200)]
    [0.81, 0.92]
    """
    value = float(advantage(np.array([success]), np.array([null]), points)[0])
    rest = max(1 - null, 1 / points)
    (low, high), (null_low, null_high) = (clopper_pearson(share * points, points) for share in (success, null))
    below = math.hypot(success - low, (1 - value) * (null_high - null)) / rest
    above = math.hypot(high - success, (1 - value) * (null - null_low)) / rest
    return value - below, min(value + above, 1.0)
