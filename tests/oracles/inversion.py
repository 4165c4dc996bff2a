"""Slow, plain versions of what class inversion computes; loops over single numbers, written from the papers."""

from __future__ import annotations

import itertools
import math

import numpy as np


def total_variation(image: np.ndarray) -> float:
    height, width, channels = image.shape
    down = right = 0.0
    for c in range(channels):
        for i in range(height - 1):
            for j in range(width):
                down += abs(float(image[i + 1, j, c]) - float(image[i, j, c]))
        for i in range(height):
            for j in range(width - 1):
                right += abs(float(image[i, j + 1, c]) - float(image[i, j, c]))
    return down / ((height - 1) * width * channels) + right / (height * (width - 1) * channels)


def expected_nearest(distances: np.ndarray, size: int) -> float:
    return float(np.mean([min(subset) for subset in itertools.combinations(distances.tolist(), size)]))


def ssim(a: np.ndarray, b: np.ndarray, data_range: float, side: int = 11, sigma: float = 1.5) -> float:
    """Wang et al. 2004, equation 13, averaged over every window that lies inside the image, and over channels."""
    height, width, channels = a.shape
    half = side // 2
    weights = np.empty((side, side))
    for i in range(side):
        for j in range(side):
            weights[i, j] = math.exp(-((i - half) ** 2 + (j - half) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for c in range(channels):
        for i in range(height - side + 1):
            for j in range(width - side + 1):
                p, q = a[i : i + side, j : j + side, c], b[i : i + side, j : j + side, c]
                mp, mq = (weights * p).sum(), (weights * q).sum()
                vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
                cov = (weights * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def nearer(image: np.ndarray, members: list[np.ndarray], held_out: list[np.ndarray]) -> float:
    """Mean gap over all size-matched pairs of subsets, root mean square over features."""
    size = min(len(members), len(held_out))
    gaps = []
    for inside in itertools.combinations(members, size):
        for outside in itertools.combinations(held_out, size):
            near = [min(math.sqrt(float(np.mean((image - r) ** 2))) for r in side) for side in (outside, inside)]
            gaps.append(near[0] - near[1])
    return float(np.mean(gaps))
