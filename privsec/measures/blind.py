"""The blind baseline: whether members can be told from non-members without the model.

If a classifier that never meets the model ranks members above non-members, the two differ in distribution, and a
membership attack's AUC is not about the model alone.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Real

from privsec.core.errors import DataError
from privsec.core.estimate import Estimate
from privsec.measures.intervals import Ids, Measure, Values, clustered
from privsec.measures.roc import auc

MEASURE = Measure(
    "AUC",
    "descriptive",
    (0.0, 1.0),
    "AUC of a classifier that sees the records and never the model; 0.5 is a fair split of members and non-members",
)
WIDTH = 256
"""Features kept; wider records are projected at random."""
RIDGE = 0.1
"""Penalty relative to the variance of a standardized feature."""


def blind_auc(
    x: Real[np.ndarray, " N *features"], y: Int[np.ndarray, " _N"], member: Bool[np.ndarray, "T _N"], folds: int = 5
) -> Float64[np.ndarray, " T"]:
    """AUC, for each target, of a ridge classifier of membership that sees records and labels but no model.

    Cross-fitted: each fold is scored by a classifier fitted on the others, all targets in one solve. The AUC is taken
    *within* each fold and averaged. Pooled over folds it would fall below 0.5 on fair splits of a fixed size: a fold
    short of members leaves more of them to the fit, whose intercept then ranks just this fold highest. Within a fold
    the intercept cancels, and whatever the other folds hold, every arrangement of its own members is equally likely:
    0.5 exactly, on average.

    Args:
        x: the candidates.
        y: their labels.
        member: who was in target t's training set.
        folds: of cross-fitting, drawn by a fixed permutation.

    Returns:
        NaN for a target with no fold that holds members and non-members. Targets trained on complementary
        halves get equal values.

    Raises:
        DataError: the lengths differ.
    """
    x, y, member = np.asarray(x), np.asarray(y), np.asarray(member, bool)
    if member.ndim != 2 or not len(x) == len(y) == member.shape[1]:
        raise DataError(
            f"membership must be [targets, records]: got {member.shape} for {len(x)} records and {len(y)} labels"
        )
    rng = np.random.default_rng(0)
    z = _features(x.reshape(len(x), -1), y, rng)
    fold = rng.permutation(len(z)) % folds
    parts = [(z[fold == held], member[:, fold == held].T) for held in range(folds)]
    gram = np.stack([part.T @ part for part, _ in parts])
    moment = np.stack([part.T @ bits.astype(np.float64) for part, bits in parts])
    penalty = RIDGE * np.diag([0.0] + [1.0] * (z.shape[1] - 1))  # the constant is free
    answer = np.full((folds, len(member)), np.nan)
    for held, (part, bits) in enumerate(parts):
        others = len(z) - len(part)
        scores = part @ np.linalg.solve(gram.sum(0) - gram[held] + others * penalty, moment.sum(0) - moment[held])
        for t in np.flatnonzero(bits.any(axis=0) & ~bits.all(axis=0)):
            answer[held, t] = auc(scores[:, t], bits[:, t])
    judged = (~np.isnan(answer)).sum(axis=0)
    return np.where(judged > 0, np.nansum(answer, axis=0) / np.maximum(judged, 1), np.nan)


def _features(
    x: Real[np.ndarray, "N D"], y: Int[np.ndarray, " N"], rng: np.random.Generator
) -> Float64[np.ndarray, "N _"]:
    """A constant, at most WIDTH standardized features and the standardized one-hot labels."""
    if x.shape[1] > WIDTH:
        x = _projected(x, rng.standard_normal((x.shape[1], WIDTH)))
    one_hot = np.asarray(y)[:, None] == np.unique(y)
    z = np.concatenate([x, one_hot], axis=1, dtype=np.float64)
    z -= z.mean(axis=0)
    scale = z.std(axis=0)
    return np.concatenate([np.ones((len(z), 1)), z / np.where(scale > 0, scale, 1.0)], axis=1)


def _projected(x: Real[np.ndarray, "N D"], weights: Float64[np.ndarray, "D W"]) -> Float32[np.ndarray, "N W"]:
    """Standardized `x` @ `weights`, some records at a time, so that `x` is never copied whole."""
    chunks = np.array_split(x, 1 + len(x) // 256)
    mean = x.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(sum(np.square(chunk - mean).sum(axis=0) for chunk in chunks) / len(x))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    weights = weights.astype(np.float32)
    return np.concatenate([((chunk - mean) * inverse).astype(np.float32) @ weights for chunk in chunks])


def estimate(values: Values, clusters: Ids, seeds: Ids | None = None) -> Estimate:
    """The mean of `blind_auc` over targets, with an interval over complementary pairs (see `intervals.clustered`)."""
    unit, direction, bounds, _ = MEASURE
    return clustered(values, clusters, seeds, unit=unit, direction=direction, bounds=bounds)
