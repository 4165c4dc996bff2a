"""One number far below the others: how far, in units of their spread, and how far is too far for so many."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Float64

CONSISTENT = 1.4826
"""Median absolute deviation to standard deviation, of normal numbers."""
DRAWS = 20_000
"""Sets of normal numbers that a threshold is the quantile over."""


def spread(values: Float[np.ndarray, " K"]) -> float:
    """1.4826 times the median distance from the median.

    >>> round(spread(np.array([60, 58, 63, 61, 59, 62, 64, 57, 10, 60.0])), 3)
    2.965
    """
    values = np.asarray(values, np.float64)
    return CONSISTENT * float(np.median(np.abs(values - np.median(values))))


def anomaly_index(values: Float[np.ndarray, " K"]) -> Float64[np.ndarray, " K"]:
    """(median - value) / spread: positive below the median; infinite below it where the others are all the same.

    >>> anomaly_index(np.array([60, 58, 63, 61, 59, 62, 64, 57, 10, 60.0])).round(2).max()
    np.float64(16.86)
    """
    below = np.median(values) - np.asarray(values, np.float64)
    unit = spread(values)
    return below / unit if unit > 0 else np.where(below > 0, np.inf, np.where(below < 0, -np.inf, 0.0))


@functools.lru_cache(maxsize=64)
def threshold(count: int, alarms: float) -> float:
    """The index that the smallest of `count` normal numbers exceeds with probability `alarms`.

    Of ten, one has an index above 2 in a third of all cases. Simulated, with a fixed seed.

    Args:
        count: how many numbers are compared, at least 3.
        alarms: the probability that any of them is above, where nothing is wrong.
    """
    rng, largest, part = np.random.default_rng(0), [], max(1, 2_000_000 // count)
    for start in range(0, DRAWS, part):
        values = rng.normal(size=(min(part, DRAWS - start), count))
        below = np.median(values, axis=1, keepdims=True) - values
        largest.append(below.max(axis=1) / (CONSISTENT * np.median(np.abs(below), axis=1)))
    return float(np.quantile(np.concatenate(largest), 1 - alarms))
