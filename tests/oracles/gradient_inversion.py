"""Slow, plain versions of gradient inversion's formulas and measures, loops over single numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np


def softmax_gradient(x, label, kernel, bias):
    """Gradient of the cross-entropy of softmax regression at one record: (dW [D, C], db [C]), by the chain rule."""
    logits = [sum(x[d] * kernel[d][c] for d in range(len(x))) + bias[c] for c in range(len(bias))]
    total = sum(math.exp(z) for z in logits)
    db = [math.exp(z) / total - (c == label) for c, z in enumerate(logits)]
    return np.array([[x[d] * db[c] for c in range(len(db))] for d in range(len(x))]), np.array(db)


def cosine(a, b):
    """Between two lists of arrays, all their numbers in one vector."""
    u, v = ([float(number) for array in arrays for number in np.ravel(array)] for arrays in (a, b))
    inner = sum(p * q for p, q in zip(u, v, strict=True))
    return inner / math.sqrt(sum(p * p for p in u) * sum(q * q for q in v))


def best_assignment(found, records):
    """The permutation of least total squared error, by trying all: entry k is who stands for record k."""

    def error(order):
        return sum(float(np.mean((found[i] - record) ** 2)) for i, record in zip(order, records, strict=True))

    return min(itertools.permutations(range(len(records))), key=error)


def psnr(a, b, width):
    return -10 * math.log10(float(np.mean((a - b) ** 2)) / width**2)
