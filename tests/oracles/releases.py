"""Privacy profiles of composed mechanisms, by enumeration and by a fine grid."""

import itertools

import numpy as np


def composed_delta(epsilon, claims):
    """delta(epsilon) of (epsilon_i, delta_i) randomized responses together: every outcome of each, enumerated."""
    total = 0.0
    outcomes = []
    for each, failure in claims:
        truth = np.exp(each) / (1 + np.exp(each))
        outcomes.append([(failure, np.inf), ((1 - failure) * truth, each), ((1 - failure) * (1 - truth), -each)])
    for outcome in itertools.product(*outcomes):
        probability = np.prod([p for p, _ in outcome])
        loss = sum(loss for _, loss in outcome)
        total += probability * max(0.0, 1 - np.exp(epsilon - loss))
    return total


def composed_laplace_delta(epsilon, scale, count, points=4001):
    """delta(epsilon) of `count` Laplace mechanisms: their privacy losses convolved on a grid that meets both ends."""
    largest = 1 / scale
    grid = np.linspace(-largest, largest, points)
    # The loss at y is (|y - 1| - |y|) / scale with y drawn around 0: a mass at either end, a density between them.
    y = (1 - grid * scale) / 2
    masses = np.exp(-np.abs(y) / scale) / (2 * scale) * (scale / 2) * (grid[1] - grid[0])
    masses[0], masses[-1] = np.exp(-1 / scale) / 2 + masses[0] / 2, 0.5 + masses[-1] / 2
    total = masses
    for _ in range(count - 1):
        total = np.convolve(total, masses)
    losses = np.linspace(-count * largest, count * largest, len(total))
    return float(np.sum(total * np.maximum(0.0, 1 - np.exp(epsilon - losses))))
