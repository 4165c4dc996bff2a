"""Slow, plain renderings of the statistics in `privsec/measures`: loops over the definitions, nothing shared."""

from __future__ import annotations

import math

import numpy as np


def roc_points(scores, member):
    """{(fpr, tpr)}: one for "call nobody", one for each distinct score taken as a threshold. O(N^2)."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = [score >= threshold for score in scores]
        fpr = sum(c and not m for c, m in zip(called, member, strict=True)) / sum(not m for m in member)
        tpr = sum(c and m for c, m in zip(called, member, strict=True)) / sum(bool(m) for m in member)
        points.append((fpr, tpr))
    return points


def auc(scores, member):
    """Wins of members over non-members, pair by pair, a tie being half a win."""
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[member] for b in scores[~member]]
    return sum(wins) / len(wins)


def tpr_at(scores, member, accused):
    """The best TPR among thresholds that accuse no more than `accused` non-members."""
    negatives = int((~member).sum())
    return max(tpr for fpr, tpr in roc_points(scores, member) if round(fpr * negatives) <= accused)


def delong_error(scores, member):
    """DeLong's standard error from the matrix of all pairs."""
    kernel = np.array([[(a > b) + 0.5 * (a == b) for b in scores[~member]] for a in scores[member]], float)
    return math.sqrt(kernel.mean(1).var(ddof=1) / len(kernel) + kernel.mean(0).var(ddof=1) / kernel.shape[1])


def calibration_error(confidence, correct, bins):
    """The plain equal-mass error, for N divisible by `bins` and distinct confidences."""
    order = np.argsort(confidence)
    parts = np.split(order, bins)
    return sum(len(part) * abs(correct[part].mean() - confidence[part].mean()) for part in parts) / len(order)


def blind_auc(x, y, member, fold, ridge):
    """Ridge by scikit-learn, target by target and fold by fold."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    z = StandardScaler().fit_transform(np.concatenate([x, np.eye(y.max() + 1)[y]], axis=1))
    answer = []
    for bits in member:
        of_folds = []
        for held in range(fold.max() + 1):
            fit, judge = fold != held, fold == held
            penalty = ridge * fit.sum()
            model = Ridge(alpha=penalty, solver="cholesky").fit(z[fit], bits[fit].astype(float))
            of_folds.append(auc(model.predict(z[judge]), bits[judge]))
        answer.append(np.mean(of_folds))
    return np.array(answer)
