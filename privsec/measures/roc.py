"""The ROC of scores against membership, and the figures read off it.

Low false positive rates are where membership inference is judged (Carlini et al. 2022, arXiv 2112.03570), and where
sloppy counting shows most: equal scores stand or fall together, nothing is interpolated, and a rate that the number of
non-members cannot resolve is not a number.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Real
from numpy.typing import ArrayLike

from privsec.core.errors import DataError


class Curve(NamedTuple):
    """Counts along the ROC from (0, 0), one point for each distinct score, and the ranking that they come from.

    Attributes:
        fp, tp: non-members and members that score at least `thresholds`.
        thresholds: descending from inf.
        ends: where in the ranking each group of equal scores ends.
        order: the S scored records by descending score, as indices into the scored records.
        ranked: their membership.
    """

    fp: Int[np.ndarray, " P"]
    tp: Int[np.ndarray, " P"]
    thresholds: Float64[np.ndarray, " P"]
    ends: Int[np.ndarray, " P"]
    order: Int[np.ndarray, " S"]
    ranked: Bool[np.ndarray, " S"]

    @classmethod
    def of(cls, scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " _N"]) -> Curve:
        """The curve of `scores` against `member`; NaN scores (not attacked) are left out.

        Raises:
            DataError: the shapes differ, or there is no member or no non-member.
        """
        scores, member = _scored(np.asarray(scores, np.float64), member)
        order = np.argsort(-scores, kind="stable")
        scores, ranked = scores[order], member[order]
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # a group of ties counts once it is complete
        ends = np.concatenate([[0], last + 1])
        tp = np.concatenate([[0], np.cumsum(ranked)])[ends]
        return cls(ends - tp, tp, np.concatenate([[np.inf], scores[last]]), ends, order, ranked)

    @property
    def negatives(self) -> int:
        return int(self.fp[-1])

    @property
    def positives(self) -> int:
        return int(self.tp[-1])

    @property
    def auc(self) -> float:
        area = np.sum(np.diff(self.fp) * (self.tp[1:] + self.tp[:-1])) / 2
        return float(area / (self.negatives * self.positives))

    def step(self, allowed: ArrayLike) -> Int[np.ndarray, " ..."]:
        """Index of the last point with no more than `allowed` >= 0 false positives (any shape)."""
        return np.asarray(np.searchsorted(self.fp, allowed, side="right") - 1)

    def tpr_at(self, fpr: ArrayLike) -> Float64[np.ndarray, " ..."]:
        """TPR at the last point whose FPR is no more than `fpr` (any shape); NaN where that is not resolvable."""
        allowed = allowed_false_positives(fpr, self.negatives)
        return np.where(allowed < 1, np.nan, self.tp[self.step(allowed)] / self.positives)

    def cross_fitted(self) -> tuple[float, float]:
        """(TPR, FPR) where each half of the records is judged at the threshold that is best on the other half."""
        half = np.random.default_rng(0).permutation(len(self.order))[self.order] % 2 == 0
        tpr, fpr = [], []
        for part in (half, ~half):
            inside, outside = (
                np.concatenate([[0], np.cumsum(side & part)])[self.ends] for side in (self.ranked, ~self.ranked)
            )
            if not inside[-1] or not outside[-1]:
                return math.nan, math.nan
            tpr.append(inside / inside[-1])
            fpr.append(outside / outside[-1])
        found = accused = 0.0
        for judged, fitted in ((0, 1), (1, 0)):
            youden = tpr[fitted] - fpr[fitted]
            best = np.flatnonzero(youden >= youden.max() - 1e-12)
            middle = best[len(best) // 2]  # of the gap, where members and non-members part
            found, accused = found + tpr[judged][middle] / 2, accused + fpr[judged][middle] / 2
        return float(found), float(accused)


def allowed_false_positives(fpr: ArrayLike, negatives: int) -> Int[np.ndarray, " ..."]:
    """How many of `negatives` non-members may be accused at `fpr` (any shape); below 1 the rate is not resolvable.

    >>> [int(allowed_false_positives(rate, n)) for rate, n in [(0.001, 1000), (0.29, 100), (0.001, 999)]]
    [1, 29, 0]
    """
    allowed = np.floor(np.asarray(fpr, np.float64) * negatives + 1e-9)  # 0.29 * 100 is 28.999999999999996
    return np.asarray(allowed, np.int64)


def null_tpr(negatives: int, fpr: float) -> float:
    """What `tpr_at_fpr` is on average for scores that know nothing: (k + 1) / (negatives + 1), allowed k errors.

    A little above `fpr`, because the threshold may come down to just above the (k + 1)th non-member. Rescaled by this
    null, guessing is 0 on average; rescaled by `fpr` itself, 300 non-members would show guessing as an advantage of
    .003. Scores with ties stay below it.

    >>> round(null_tpr(300, 0.01), 4), round(null_tpr(100_000, 0.01), 5)
    (0.0133, 0.01001)
    """
    return (int(allowed_false_positives(fpr, negatives)) + 1) / (negatives + 1)


def roc(
    scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " _N"]
) -> tuple[Float64[np.ndarray, " P"], Float64[np.ndarray, " P"], Float64[np.ndarray, " P"]]:
    """The ROC curve: (0, 0), then one point for each distinct score.

    Args:
        scores: higher = more likely a member; NaN = not attacked, left out. Infinities are scores like any other.
        member: who was trained on.

    Returns:
        (fpr, tpr, thresholds): a record is called a member where its score >= the threshold.
        The first threshold is inf.

    Raises:
        DataError: there is no member or no non-member.

    >>> [part.tolist() for part in roc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))]
    [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], [inf, 3.0, 2.0, 1.0]]
    """
    curve = Curve.of(scores, member)
    return curve.fp / curve.negatives, curve.tp / curve.positives, curve.thresholds


def auc(scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " _N"]) -> float:
    """Area under the ROC = P(a member scores higher) + P(tie) / 2; arguments and errors as in `roc`.

    >>> auc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    0.875
    """
    scores, member = _scored(scores, member)
    inside, outside = scores[member], scores[~member]
    # A search is quicker for one value after the other.
    return float(below(np.sort(inside), outside).sum() / (len(inside) * len(outside)))


def below(of: Real[np.ndarray, " P"], among: Real[np.ndarray, " Q"]) -> Float64[np.ndarray, " P"]:
    """How many of `among` lie below each value, ties counted half.

    >>> below(np.array([2.0, 0.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.5, 0.0]
    """
    among = np.sort(among)
    less = not_above = np.searchsorted(among, of)
    if len(among) and np.any(among[np.minimum(less, len(among) - 1)] == of):
        not_above = np.searchsorted(among, of, side="right")
    return (less + not_above) / 2


def tpr_at_fpr(scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " _N"], fpr: float) -> float:
    """The share of members found at the last step of the ROC whose false positive rate is <= `fpr`; no interpolation.

    NaN where not even one false positive is allowed: the figure is not resolvable at this n.
    """
    return float(Curve.of(scores, member).tpr_at(fpr))


def balanced_accuracy(scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " _N"]) -> float:
    """(TPR + TNR) / 2 of a threshold chosen without the labels of the records it is judged on.

    The best threshold on the same records flatters: it exceeds 0.5 on pure noise. Here the records are split in two
    (by a fixed permutation), each half takes the threshold best on the other, and the halves are averaged: 0.5 on
    average when scores know nothing. NaN where a half lacks members or non-members.
    """
    tpr, fpr = Curve.of(scores, member).cross_fitted()
    return (1 + tpr - fpr) / 2


def _scored(
    scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " _N"]
) -> tuple[Real[np.ndarray, " S"], Bool[np.ndarray, " S"]]:
    """The records that have a score, checked."""
    scores, member = np.asarray(scores), np.asarray(member, bool)
    if scores.shape != member.shape or scores.ndim != 1:
        raise DataError(
            f"scores and membership must be one value a record: got shapes {scores.shape} and {member.shape}"
        )
    scored = ~np.isnan(scores)
    scores, member = scores[scored], member[scored]
    if not member.any() or member.all():
        raise DataError(
            "a ROC needs members and non-members, but "
            f"of {len(member)} scored records {int(member.sum())} are members. "
            "Score records of both kinds; a larger query budget may do it."
        )
    return scores, member
