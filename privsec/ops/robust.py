"""Where most of the records lie and how they vary, whatever a few of them are, in NumPy."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float64

STEPS = 50
"""Steps of the trimming, at most; its objective falls in each, so it ends by itself."""
FLAT = 1e-9
"""An axis of less than this share of the largest variance counts as having so much."""


def trimmed(x: Float[np.ndarray, "N K"], share: float) -> tuple[Float64[np.ndarray, " K"], Float64[np.ndarray, "K K"]]:
    """Mean and covariance of the records that are nearest to both, all but a `share` (rounded down) of them.

    The concentration steps of the minimum covariance determinant, from everything: leave out those that are farthest by
    Mahalanobis, estimate again. The covariance is scaled so that half of the records are as near as half of normally
    distributed ones.

    References: Rousseeuw & Van Driessen 1999, "A fast algorithm for the minimum covariance determinant estimator",
    doi 10.1080/00401706.1999.10485670.
    """
    from scipy.stats import chi2

    x = np.asarray(x, np.float64)
    kept, count = np.arange(len(x)), len(x) - math.floor(share * len(x))
    mean, covariance, squares = x[0], np.zeros((x.shape[1], x.shape[1])), np.zeros(len(x))
    for _ in range(STEPS):
        mean = x[kept].mean(axis=0)
        covariance = (x[kept] - mean).T @ (x[kept] - mean) / len(kept)
        squares = np.sum(np.square(whitened(x, mean, covariance)), axis=1)
        nearest = np.sort(np.argsort(squares, kind="stable")[:count])
        if np.array_equal(nearest, kept):
            break
        kept = nearest
    scale = max(float(np.median(squares)), FLAT) / float(chi2.ppf(0.5, x.shape[1]))
    return mean, np.asarray(covariance * scale)


def whitened(
    x: Float[np.ndarray, "N K"], mean: Float[np.ndarray, " K"], covariance: Float[np.ndarray, "K K"]
) -> Float64[np.ndarray, "N K"]:
    """`C^(-1/2) (x - mean)`, in the basis of C's eigenvectors.

    >>> whitened(np.array([[3.0], [1.0]]), np.array([1.0]), np.array([[4.0]])).ravel().tolist()
    [1.0, 0.0]
    """
    values, axes = np.linalg.eigh(covariance)
    return (np.asarray(x, np.float64) - mean) @ axes / np.sqrt(np.maximum(values, max(FLAT * values[-1], 1e-300)))
