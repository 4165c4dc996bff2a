"""What the model is worth to its owner: accuracy on its own training records and on others, and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64, Real
from scipy.special import ndtr

from privsec.core.errors import DataError
from privsec.core.estimate import Estimate, unresolved
from privsec.measures.intervals import Ids, Measure, clopper_pearson, clustered, shared_points

BINS = 15

MEASURES: dict[str, Measure] = {
    "test_accuracy": Measure(
        "share", "higher_is_better", (0.0, 1.0), "records outside the training set that are labelled right"
    ),
    "train_accuracy": Measure(
        "share", "higher_is_better", (0.0, 1.0), "the model's own training records that are labelled right"
    ),
    "gap": Measure(
        "share",
        "higher_is_worse",
        (-1.0, 1.0),
        "train accuracy minus test accuracy: what was memorized rather than learned",
    ),
    "calibration_error": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "how far confidence is from accuracy outside the training set, on average",
    ),
}
"""The measures of utility, in the order of tables."""


def measure(
    correct: Real[np.ndarray, "T N"],
    member: Bool[np.ndarray, "_T _N"],
    log_top: Real[np.ndarray, "_T _N"] | None = None,
    outside: Bool[np.ndarray, "_T _N"] | None = None,
) -> dict[str, Float64[np.ndarray, " T"]]:
    """Accuracy and calibration of every target on records among which are those that it was trained on.

    Args:
        correct: 1 where the target labels the record right (the signal `correct`).
        member: who was in target t's training set.
        log_top: log of the largest score (the first of the signal `top_scores`); None behind an endpoint
            without scores, which leaves the calibration error NaN.
        outside: on which records target t is tested; on all but its members where None.

    Returns:
        measure -> a value for each target.

    Raises:
        DataError: the shapes differ, or a target has no member or no non-member.
    """
    correct, member = np.asarray(correct, np.float64), np.asarray(member, bool)
    if (
        correct.shape != member.shape
        or correct.ndim != 2
        or (log_top is not None and np.shape(log_top) != correct.shape)
    ):
        raise DataError(
            f"answers and membership must all be [targets, records]: got {correct.shape}, {member.shape}"
            + (f" and {np.shape(log_top)}" if log_top is not None else "")
        )
    tested = ~member if outside is None else np.asarray(outside, bool)
    if not member.any(axis=1).all() or not tested.any(axis=1).all():
        raise DataError("train and test accuracy need, for each target, records it was trained on and others")
    train = (correct * member).sum(axis=1) / member.sum(axis=1)
    test = (correct * tested).sum(axis=1) / tested.sum(axis=1)
    error = np.full(len(test), math.nan)
    if log_top is not None:
        top = np.exp(np.asarray(log_top, np.float64))
        error = np.array([calibration_error(t[o], c[o]) for t, c, o in zip(top, correct, tested, strict=True)])
    return {"test_accuracy": test, "train_accuracy": train, "gap": train - test, "calibration_error": error}


def calibration_error(
    confidence: Real[np.ndarray, " N"], correct: Real[np.ndarray, " N"] | Bool[np.ndarray, " N"], bins: int = BINS
) -> float:
    """Expected calibration error: the mean distance of accuracy from confidence over bins of equal mass, less its bias.

    The plain figure is positive for a perfectly calibrated model, since an accuracy counted on few records is never
    quite the confidence. The expected excess of each bin's |accuracy - confidence|, were the observed difference the
    true one (a folded normal), is subtracted: this removes about two fifths of the bias at perfect calibration and all
    of it away from there. Equal confidences share a bin, so the order of the records does not matter.

    Args:
        confidence: the largest score of each answer.
        correct: 1 where the answer's label is right.
        bins: how many bins of equal mass, fewer when confidences coincide.

    References: Naeini et al. 2015, AAAI; Nixon et al. 2019, arXiv 1904.01685 (equal mass); Kumar et al. 2019,
    arXiv 1909.10155 (correction of the bias).
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins))
    bin_of = np.searchsorted(edges, confidence, side="right")
    size = np.bincount(bin_of)
    size, accuracy, mean = (
        np.bincount(bin_of, weights)[size > 0] for weights in (np.ones_like(confidence), correct, confidence)
    )
    accuracy, mean = accuracy / size, mean / size
    observed = np.abs(accuracy - mean)
    noise = np.sqrt(accuracy * (1 - accuracy) / np.maximum(size - 1, 1))
    ratio = np.divide(observed, noise, out=np.full_like(noise, np.inf), where=noise > 0)
    excess = noise * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) - 2 * observed * ndtr(-ratio)
    return max(0.0, float(np.sum(size * (observed - excess)) / len(confidence)))


def estimates(
    per_target: Mapping[str, Real[np.ndarray, " T"]],
    clusters: Ids,
    seeds: Ids | None = None,
    *,
    records: int | None = None,
) -> dict[str, Estimate]:
    """The mean of each measure over targets, with an interval over complementary pairs (see `intervals.clustered`).

    The accuracies of one pair alone get the interval over records: it is about these models.

    Args:
        per_target: what `measure` returned, seeds concatenated.
        clusters: equal for the two models of a pair.
        seeds: None for one seed.
        records: on one side (training or other) of a target; keeps an accuracy on which all targets agree honest.
    """
    answer = {}
    for name, values in per_target.items():
        unit, direction, bounds, _ = MEASURES[name]
        if np.isfinite(values).any():
            trials = records if name.endswith("accuracy") else None
            answer[name] = clustered(
                values, clusters, seeds, unit=unit, direction=direction, bounds=bounds, trials=trials
            )
            if answer[name].n == 1 and trials:
                sampling = clopper_pearson(float(np.mean(values)) * trials, trials)
                answer[name] = shared_points(
                    values, sampling, clusters, seeds, points=trials, unit=unit, direction=direction, bounds=bounds
                )
        else:
            answer[name] = unresolved(0, unit, direction, "this endpoint answers without scores")
    return answer
