"""Slow, plain versions of what extraction measures; loops over single records."""

from __future__ import annotations

import numpy as np


def fidelity(student: np.ndarray, victim: np.ndarray) -> float:
    return sum(int(a) == int(b) for a, b in zip(student, victim, strict=True)) / len(victim)


def error_fidelity(student: np.ndarray, victim: np.ndarray, y: np.ndarray) -> float:
    """Agreement where the victim errs; NaN where it never does."""
    agreed = [int(a) == int(b) for a, b, label in zip(student, victim, y, strict=True) if int(b) != int(label)]
    return sum(agreed) / len(agreed) if agreed else float("nan")


def distilled(x: np.ndarray, answers: np.ndarray, steps: int, rate: float) -> np.ndarray:
    """Weights [D + 1, C] of softmax regression fit to soft labels by full-batch gradient descent from zero."""
    x = np.c_[x, np.ones(len(x))]
    weights = np.zeros((x.shape[1], answers.shape[1]))
    for _ in range(steps):
        z = x @ weights
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        weights -= rate * x.T @ (p - answers) / len(x)
    return weights
