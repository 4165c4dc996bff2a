"""What an evasion cell reports, counted point by point."""

from __future__ import annotations

import math

import numpy as np


def size(change: np.ndarray, norm: str) -> float:
    flat = [abs(float(v)) for v in np.ravel(change)]
    return max(flat) if norm == "linf" else math.sqrt(sum(v * v for v in flat))


def wins(label: int, y: int, goal: int, rejected: int | None) -> bool:
    if goal >= 0:
        return label == goal
    return label != y and label != rejected


def of_target(evidence, truth, t: int, x=None, called=None) -> dict[str, float]:
    """The measures of target t by plain loops; `x` and `called` stand for the evidence's where given."""
    x = evidence.x if x is None else x
    called = truth.called if called is None else called
    n_points, draws = len(evidence.y), len(called)
    won = right = refused = most = 0.0
    clean = clean_right = noise = noise_right = 0.0
    broken = []
    for n in range(n_points):
        y, goal = int(evidence.y[n]), int(evidence.goal[n])
        before = int(truth.called_clean[t, n])
        far = size(np.float64(x[t, n]) - np.float64(truth.x[n]), truth.norm)
        boxed = bool(np.all(x[t, n] >= truth.low) and np.all(x[t, n] <= truth.high))
        handed = [int(called[d, t, n]) for d in range(draws)]
        every = handed
        if not boxed or far > truth.radius * 1.00002:
            handed = [before]
        if draws == 1:
            lost = wins(before, y, goal, truth.rejected) or wins(handed[0], y, goal, truth.rejected)
            won += lost
            most += lost
            right += before == y and handed[0] == y
            refused += not lost and truth.rejected in (before, handed[0])
        else:
            share = sum(wins(label, y, goal, truth.rejected) for label in handed) / len(handed)
            won += share
            most += share > 0.5
            right += sum(label == y for label in handed) / len(handed)
            refused += sum(label == truth.rejected for label in handed) / len(handed)
        clean += wins(before, y, goal, truth.rejected)
        clean_right += before == y
        around = [int(row[t, n]) for row in truth.called_noise]
        noise += sum(wins(label, y, goal, truth.rejected) for label in around) / len(around)
        noise_right += sum(label == y for label in around) / len(around)
        if before == y:
            taken = sum(wins(label, y, goal, truth.rejected) for label in every) > len(every) / 2 and boxed
            broken.append(0.0 if wins(before, y, goal, truth.rejected) else far if taken else math.inf)
    null = max(clean, noise) / n_points
    broken.sort()
    middle = broken[(len(broken) - 1) // 2], broken[len(broken) // 2]
    return {
        "success": won / n_points,
        "advantage": (won / n_points - null) / (1 - null),
        "robust_accuracy": right / n_points,
        "refused": refused / n_points,
        "clean_accuracy": clean_right / n_points,
        "noise_accuracy": noise_right / n_points,
        "null_success": null,
        "clean_success": clean / n_points,
        "noise_success": noise / n_points,
        "wrong_in_most_draws": most / n_points,
        "median_distance": sum(middle) / 2,
    }
