"""Slow, plain versions of what reprogramming computes; loops over single pixels, written from the papers."""

from __future__ import annotations

import math

import numpy as np


def embedded(x: np.ndarray, shape: tuple[int, int, int], low: float, high: float) -> np.ndarray:
    """One image [h, w, c] in the middle of another, not resized, at the middle of the box elsewhere."""
    height, width, channels = shape
    out = np.full(shape, (low + high) / 2)
    top, left = (height - x.shape[0]) // 2, (width - x.shape[1]) // 2
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for c in range(channels):
                value = x[i, j, c] if x.shape[2] == channels else sum(x[i, j]) / x.shape[2]
                out[top + i, left + j, c] = low + value * (high - low)
    return out


def halved(x: np.ndarray) -> np.ndarray:
    """One image [h, w, c], h and w even, to half its size: the triangle of width 2 of linear interpolation.

    An output pixel weights the four input pixels at distances 1/2 and 3/2 from its center by 1 - distance / 2, those
    outside of the image left out and the rest rescaled.
    """
    for axis in (0, 1):
        length = x.shape[axis] // 2
        rows = []
        for i in range(length):
            weights, total = 0.0, 0.0
            for j in range(2 * i - 1, 2 * i + 3):
                if 0 <= j < 2 * length:
                    weight = 1 - abs(j + 0.5 - (2 * i + 1)) / 2
                    total = total + weight * np.take(x, j, axis)
                    weights += weight
            rows.append(total / weights)
        x = np.stack(rows, axis)
    return x


def answers(scores: np.ndarray, mapping: np.ndarray) -> np.ndarray:
    found = np.zeros((len(scores), mapping.shape[1]))
    for b in range(len(scores)):
        for g in range(mapping.shape[1]):
            for c in range(mapping.shape[0]):
                found[b, g] += float(scores[b, c]) * float(mapping[c, g])
    return found


def frequent_classes(frequency: np.ndarray, per_class: int) -> np.ndarray:
    """All pairs by falling frequency; a pair is taken while its source is free and its goal has too few."""
    goals, sources = frequency.shape
    pairs = sorted((-frequency[g, c], g, c) for g in range(goals) for c in range(sources))
    owner: dict[int, int] = {}
    for _, g, c in pairs:
        if c not in owner and list(owner.values()).count(g) < per_class:
            owner[c] = g
    mapping = np.zeros((sources, goals))
    for c, g in owner.items():
        mapping[c, g] = 1 / per_class
    return mapping


def misfit(logits: np.ndarray, mapping: np.ndarray, y: int, rejects: bool) -> float:
    """Cross-entropy of one answer [C] among the task's classes, and being refused where that happens."""
    top = max(logits)
    mass = [math.exp(z - top) for z in logits]
    each = [sum(mass[c] * mapping[c, g] for c in range(len(mass))) for g in range(mapping.shape[1])]
    return -math.log(each[y] / (sum(each) + (mass[-1] if rejects else 0.0)))


def bar_estimate(loss, weights: np.ndarray, towards: np.ndarray, smoothing: float) -> np.ndarray:
    """Tsai, Chen & Ho 2020, the averaged one-sided estimate, with b = d."""
    total = np.zeros(weights.shape)
    for u in towards:
        total += (loss(weights + smoothing * u) - loss(weights)) / smoothing * u
    return weights.size * total / len(towards)
