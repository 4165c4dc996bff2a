"""How well membership scores tell members from non-members, for each target and over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Real
from numpy.typing import ArrayLike
from scipy.special import bdtrik, ndtri

from privsec.core.errors import DataError
from privsec.core.estimate import Estimate, unresolved
from privsec.core.evidence import MembershipScores
from privsec.measures.intervals import Ids, Measure, clopper_pearson, clustered, delong, share_difference
from privsec.measures.roc import Curve, allowed_false_positives, null_tpr

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage", "higher_is_worse", (-1.0, 1.0), "TPR at 1% FPR, rescaled: 0 is guessing, 1 finds every member"
    ),
    "auc": Measure(
        "AUC",
        "higher_is_worse",
        (0.0, 1.0),
        "the chance that a random member scores above a random non-member; 0.5 is guessing",
    ),
    "balanced_accuracy": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "right guesses among as many members as non-members, the threshold chosen on other records; 0.5 is guessing",
    ),
    "tpr_at_1pct_fpr": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "members found while at most 1% of the non-members are accused"
    ),
    "tpr_at_0.1pct_fpr": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "members found while at most 0.1% of the non-members are accused"
    ),
}
"""The measures of the family, in the order of tables."""

FPRS = {"advantage": 0.01, "tpr_at_1pct_fpr": 0.01, "tpr_at_0.1pct_fpr": 0.001}
"""The false positive rate at which a measure is taken, where it is taken at one."""


def measure(evidence: MembershipScores, member: Bool[np.ndarray, "_T _N"]) -> dict[str, Float64[np.ndarray, " _T"]]:
    """Every measure of the family for every target.

    advantage = (TPR at 1% FPR - g) / (1 - g), where g is what guessing gets at this n (`roc.null_tpr`).

    Args:
        evidence: its NaN scores = not attacked, left out.
        member: who was in target t's training set.

    Returns:
        measure -> a value for each target; NaN where the target has too few non-members to resolve it.

    Raises:
        DataError: the shapes differ, or a target lacks members or non-members.
    """
    rows = [_values(curve) for curve in _curves(evidence.scores, member)]
    return {name: np.array([row[name] for row in rows]) for name in MEASURES}


def _curves(scores: ArrayLike, member: ArrayLike) -> list[Curve]:
    scores, member = np.asarray(scores), np.asarray(member, bool)
    if scores.shape != member.shape or scores.ndim != 2:
        raise DataError(f"scores and membership must both be [targets, records]: got {scores.shape} and {member.shape}")
    return [Curve.of(s, m) for s, m in zip(scores, member, strict=True)]


def _values(curve: Curve) -> dict[str, float]:
    tpr, fpr = curve.cross_fitted()
    at_1, at_01 = (float(value) for value in curve.tpr_at([0.01, 0.001]))
    return {
        "advantage": _advantage(at_1, curve.negatives),
        "auc": curve.auc,
        "balanced_accuracy": (1 + tpr - fpr) / 2,
        "tpr_at_1pct_fpr": at_1,
        "tpr_at_0.1pct_fpr": at_01,
    }


def _advantage(tpr: float, negatives: int) -> float:
    guessing = null_tpr(negatives, FPRS["advantage"])
    return (tpr - guessing) / (1 - guessing)


def non_members(evidence: MembershipScores, member: Bool[np.ndarray, "T N"]) -> int:
    """The fewest attacked non-members that any target has: they decide which rates are resolvable."""
    return int(np.min(np.sum(~np.isnan(np.asarray(evidence.scores)) & ~np.asarray(member, bool), axis=1)))


def summary(evidence: MembershipScores, member: Bool[np.ndarray, "T N"]) -> dict[str, Estimate]:
    """Every measure of one stack of complementary pairs, as `estimates` gives it."""
    pairs = np.arange(len(member)) // 2
    return estimates(measure(evidence, member), pairs, negatives=non_members(evidence, member))


def estimates(
    per_target: Mapping[str, Real[np.ndarray, " T"]], clusters: Ids, seeds: Ids | None = None, *, negatives: int
) -> dict[str, Estimate]:
    """The mean of each measure over targets, with an interval over complementary pairs (see `intervals.clustered`).

    Args:
        per_target: what `measure` returned, seeds concatenated.
        clusters: equal for the two models of a pair.
        seeds: None for one seed.
        negatives: attacked non-members of a target, as `non_members` counts them.

    Returns:
        measure -> Estimate whose n counts pairs; without a value, with the reason, where the measure is not resolvable.
    """
    answer = {}
    for name, values in per_target.items():
        unit, direction, bounds, _ = MEASURES[name]
        if name == "advantage":  # TPR stretched so that guessing lies at 0: finding nobody lies a little below
            bounds = (_advantage(0.0, negatives), 1.0)
        if np.isfinite(values).any():
            answer[name] = clustered(
                values, clusters, seeds, unit=unit, direction=direction, bounds=bounds, trials=negatives
            )
        else:
            answer[name] = unresolved(0, unit, direction, _too_few(negatives, FPRS.get(name)))
    return answer


def _too_few(negatives: int, fpr: float | None) -> str:
    if fpr is None:
        return f"not resolvable at this n: with {negatives} non-members, a half lacks members or non-members"
    return f"not resolvable at this n: {negatives} non-members allow no false positive at {100 * fpr:g}%"


def single(evidence: MembershipScores, member: Bool[np.ndarray, "_T _N"], alpha: float = 0.05) -> dict[str, Estimate]:
    """The measures of one fixed model, with intervals over its records; n counts records.

    - AUC: DeLong; under perfect separation Clopper-Pearson over as many trials as there are disjoint pairs.
    - TPR at an FPR, advantage: the threshold that truly has this FPR lies between two order statistics of the
      non-members with probability 1 - alpha / 2; the ends are Clopper-Pearson's at 1 - alpha / 2 there. So they cover
      the doubt about the threshold as well as that about the rate, however the scores are distributed.
    - Balanced accuracy: Newcombe's, the thresholds taken as given.

    Args:
        evidence: of one target (T = 1).
        member: who was in its training set.
        alpha: each interval misses with at most this probability, half of it on either side. Over k attacks, intervals
            at alpha / k hold for all of them at once (Bonferroni).

    Raises:
        ValueError: alpha is not between 0 and 1.
        DataError: more than one model, or no members or no non-members.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is the chance that an interval misses, in (0, 1); got {alpha}")
    curves = _curves(evidence.scores, member)
    if len(curves) != 1:
        raise DataError(f"`single` measures one model, not {len(curves)}: use `measure` and `estimates` for several")
    curve, n = curves[0], len(curves[0].ranked)
    tpr, fpr = curve.cross_fitted()
    found, accused = tpr * curve.positives, fpr * curve.negatives
    difference = share_difference(found, curve.positives, accused, curve.negatives, 1 - alpha)
    at_1 = _tpr_range(curve, 0.01, alpha)
    ranges = {
        "advantage": (_advantage(at_1[0], curve.negatives), _advantage(at_1[1], curve.negatives)),
        "auc": _auc_range(np.asarray(evidence.scores)[0], np.asarray(member, bool)[0], alpha),
        "balanced_accuracy": (float(1 + difference[0]) / 2, float(1 + difference[1]) / 2),
        "tpr_at_1pct_fpr": at_1,
        "tpr_at_0.1pct_fpr": _tpr_range(curve, 0.001, alpha),
    }
    answer = {}
    for name, value in _values(curve).items():
        unit, direction, _, _ = MEASURES[name]
        if math.isnan(value):
            answer[name] = unresolved(n, unit, direction, _too_few(curve.negatives, FPRS.get(name)))
        else:
            low, high = ranges[name]
            answer[name] = Estimate(value, low, high, n, unit, direction)
    return answer


def _auc_range(scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " N"], alpha: float) -> tuple[float, float]:
    value, error = delong(scores, member)
    if not error > 0:
        scored = ~np.isnan(scores)
        pairs = int(min(np.sum(scored & member), np.sum(scored & ~member)))
        return clopper_pearson(value * pairs, pairs, 1 - alpha)
    half = -float(ndtri(alpha / 2)) * error
    return max(value - half, 0.0), min(value + half, 1.0)


def _tpr_range(curve: Curve, fpr: float, alpha: float) -> tuple[float, float]:
    tail = alpha / 4  # four doubts: the threshold and the rate, on either side
    fewest, most = (math.ceil(float(bdtrik(quantile, curve.negatives, fpr))) for quantile in (tail, 1 - tail))
    found = curve.tp[curve.step([max(fewest - 1, 0), most])]
    low = clopper_pearson(int(found[0]), curve.positives, 1 - 2 * tail)[0] if fewest else 0.0
    return low, clopper_pearson(int(found[1]), curve.positives, 1 - 2 * tail)[1]


def band(
    scores: Real[np.ndarray, "T N"], member: Bool[np.ndarray, "T N"], grid: Real[np.ndarray, " G"], share: float = 0.9
) -> tuple[Float64[np.ndarray, " G"], Float64[np.ndarray, " G"], Float64[np.ndarray, " G"]]:
    """The ROC over targets: the mean TPR at each FPR of `grid`, and the range that holds `share` of the targets.

    Args:
        scores: of T targets.
        member: who was in target t's training set.
        grid: false positive rates, log-spaced for a log-log plot.
        share: of the targets between `low` and `high`; the band shows how targets differ, not how sure the mean is.

    Returns:
        (mean, low, high); NaN where `grid` is below what the non-members resolve.
    """
    tpr = np.stack([curve.tpr_at(grid) for curve in _curves(scores, member)])
    low, high = np.quantile(tpr, [(1 - share) / 2, (1 + share) / 2], axis=0)
    return tpr.mean(axis=0), low, high


class RecordRisk(NamedTuple):
    """How often one record is called a member, by the models that were trained on it and by those that were not.

    Attributes:
        row: the record's index in the data set.
        called_in: share of the models trained on it that give it away at 1% FPR.
        called_out: share of the models not trained on it that accuse it nonetheless.
        difference: called_in - called_out with its interval; n counts models.
    """

    row: int
    called_in: float
    called_out: float
    difference: Estimate


def at_risk(
    scores: Real[np.ndarray, "T N"], member: Bool[np.ndarray, "T N"], rows: Int[np.ndarray, " N"], count: int
) -> tuple[RecordRisk, ...]:
    """The `count` records that training gives away most, over all targets, at each target's threshold for 1% FPR.

    Sorted by the difference of the two rates; equal ones by how high the record ranks where it is a member. The first
    of many are in part the luckiest, so read the interval (Newcombe's, for each record by itself), not the order.

    Args:
        scores: of T targets.
        member: who was in target t's training set.
        rows: the records' indices in the data set.
        count: how many records to return.

    Returns:
        Records with at least one target on either side; () where 1% FPR is not resolvable for every target.
    """
    scores, member = np.asarray(scores, np.float64), np.asarray(member, bool)
    curves = _curves(scores, member)
    allowed = [int(allowed_false_positives(0.01, curve.negatives)) for curve in curves]
    if min(allowed) < 1:
        return ()
    thresholds = np.array([curve.thresholds[curve.step(k)] for curve, k in zip(curves, allowed, strict=True)])
    inside, outside = member & ~np.isnan(scores), ~member & ~np.isnan(scores)
    called = scores >= thresholds[:, None]
    n_in, n_out = inside.sum(0), outside.sum(0)
    k_in, k_out = (called & inside).sum(0), (called & outside).sum(0)
    rank = np.where(inside, scores.argsort(axis=1).argsort(axis=1), 0).sum(0) / np.maximum(n_in, 1)
    seen = np.flatnonzero((n_in > 0) & (n_out > 0))
    gained = k_in[seen] / n_in[seen] - k_out[seen] / n_out[seen]
    seen = seen[np.lexsort((-rank[seen], -gained))][:count]
    low, high = share_difference(k_in[seen], n_in[seen], k_out[seen], n_out[seen])
    answer = []
    for i, n in enumerate(seen):
        called_in, called_out = float(k_in[n] / n_in[n]), float(k_out[n] / n_out[n])
        difference = Estimate(
            called_in - called_out, float(low[i]), float(high[i]), int(n_in[n] + n_out[n]), "share", "higher_is_worse"
        )
        answer.append(RecordRisk(int(rows[n]), called_in, called_out, difference))
    return tuple(answer)
