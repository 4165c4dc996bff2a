"""Slow, plain versions of what KKT reconstruction computes: one hidden layer of ReLUs, by loops and the chain rule."""

from __future__ import annotations

import numpy as np


def weighted_gradients(
    first: np.ndarray, bias: np.ndarray, second: np.ndarray, x: np.ndarray, y: np.ndarray, multipliers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sum_i sum_{c != y_i} l_ic grad (z_{y_i} - z_c)(x_i) of z = relu(x first + bias) second, for each of the three."""
    by_first, by_bias, by_second = np.zeros_like(first), np.zeros_like(bias), np.zeros_like(second)
    for i in range(len(x)):
        for c in range(second.shape[1]):
            if c == y[i]:
                continue
            for h in range(first.shape[1]):
                pre = sum(x[i, d] * first[d, h] for d in range(first.shape[0])) + bias[h]
                if pre <= 0:
                    continue
                by_second[h, y[i]] += multipliers[i, c] * pre
                by_second[h, c] -= multipliers[i, c] * pre
                signal = multipliers[i, c] * (second[h, y[i]] - second[h, c])
                by_bias[h] += signal
                for d in range(first.shape[0]):
                    by_first[d, h] += signal * x[i, d]
    return by_first, by_bias, by_second


def stationarity(params: tuple[np.ndarray, ...], sums: tuple[np.ndarray, ...]) -> float:
    """|params - sums|^2 / |params|^2."""
    distance = length = 0.0
    for p, q in zip(params, sums, strict=True):
        for own, other in zip(p.flat, q.flat, strict=True):
            distance += (own - other) ** 2
            length += own**2
    return distance / length
