"""Membership by slices of the records: classes, groups of people, records the model gets right or wrong.

An average hides whom it averages over. A slice is judged twice: at its own threshold, as an attacker who knows the
slice would, and at the threshold of everybody, where a slice whose scores are high is accused more, members or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.special import ndtr, ndtri

from privsec.core.errors import DataError
from privsec.core.estimate import Estimate, unresolved
from privsec.core.evidence import MembershipScores
from privsec.measures import membership
from privsec.measures.intervals import Measure, clopper_pearson, cluster_mean, clustered, delong, holm
from privsec.measures.roc import Curve, allowed_false_positives, below

FEWEST = 5
"""A target with fewer members or non-members in a slice gives no value for it."""
FPR = 0.01

MEASURES: dict[str, Measure] = {
    **{name: membership.MEASURES[name] for name in ("advantage", "auc", "tpr_at_1pct_fpr")},
    "tpr_at_global_threshold": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "the slice's members found at the threshold for 1% FPR over all records"
    ),
    "fpr_at_global_threshold": Measure(
        "share",
        "descriptive",
        (0.0, 1.0),
        "the slice's non-members accused at the threshold for 1% FPR over all records",
    ),
    "auc_against_rest": Measure(
        "AUC", "descriptive", (-1.0, 1.0), "the slice's AUC less that of all other records: above 0 it is exposed more"
    ),
}
"""What is measured of a slice, in the order of tables."""


class Values(NamedTuple):
    """What `measure` finds of one slice.

    Attributes:
        name: of the slice.
        members, non_members: attacked ones, for each target.
        per_target: measure -> a value for each target, NaN where there are too few records.
    """

    name: str
    members: Int[np.ndarray, " T"]
    non_members: Int[np.ndarray, " T"]
    per_target: dict[str, Float64[np.ndarray, " T"]]


class Slice(NamedTuple):
    """One slice of the records.

    Attributes:
        name: of the slice.
        members, non_members: attacked ones, the fewest that a target has.
        estimates: measure -> Estimate, without a value and with the reason where there are too few records.
        p_value: of "its AUC is that of all other records", after Holm's correction over the slices; NaN without a test.
    """

    name: str
    members: int
    non_members: int
    estimates: dict[str, Estimate]
    p_value: float


def measure(
    evidence: MembershipScores,
    member: Bool[np.ndarray, "T N"],
    codes: Int[np.ndarray, " *per_target N"],
    names: Sequence[str],
) -> tuple[Values, ...]:
    """The measures of every slice for every target.

    Args:
        evidence: its NaN scores = not attacked, left out.
        member: who was in target t's training set.
        codes: which slice each record is in, 0..S-1, other codes for none; [T, N] where that depends on the target
            (records it gets right, say).
        names: S of them.

    Raises:
        DataError: the shapes differ, or a target lacks members or non-members altogether.
    """
    scores, member = np.asarray(evidence.scores, np.float64), np.asarray(member, bool)
    if scores.shape != member.shape or scores.ndim != 2 or np.shape(codes) not in (scores.shape, scores.shape[1:]):
        raise DataError(
            f"scores and membership must be [targets, records], codes the same or [records]: got {scores.shape}, "
            f"{member.shape} and {np.shape(codes)}"
        )
    codes = np.where(np.isnan(scores), -1, codes)
    of_all = [_OfAll.of(*row) for row in zip(scores, member, strict=True)]
    answer = []
    for code, name in enumerate(names):
        mine = codes == code
        rows = [_values(*row) for row in zip(scores, member, mine, of_all, strict=True)]
        per_target = {key: np.array([row[key] for row in rows]) for key in MEASURES}
        answer.append(Values(name, (mine & member).sum(axis=1), (mine & ~member).sum(axis=1), per_target))
    return tuple(answer)


class _OfAll(NamedTuple):
    """What all records of one target together say.

    Attributes:
        threshold: for 1% FPR; NaN where that is not resolvable.
        wins: for each record, how many on the other side it is on the right side of, ties counted half: non-members
            below a member, members above a non-member; 0 where it was not attacked.
        members, non_members: attacked ones.
    """

    threshold: float
    wins: Float64[np.ndarray, " N"]
    members: int
    non_members: int

    @classmethod
    def of(cls, scores: Float64[np.ndarray, " N"], member: Bool[np.ndarray, " N"]) -> _OfAll:
        curve = Curve.of(scores, member)
        allowed = int(allowed_false_positives(FPR, curve.negatives))
        inside, outside = member & ~np.isnan(scores), ~member & ~np.isnan(scores)
        wins = np.zeros(scores.shape)
        wins[inside] = below(scores[inside], scores[outside])
        wins[outside] = curve.positives - below(scores[outside], scores[inside])
        threshold = float(curve.thresholds[curve.step(allowed)]) if allowed else math.nan
        return cls(threshold, wins, curve.positives, curve.negatives)

    def auc_without(self, slice_: Bool[np.ndarray, " N"], auc: float, members: int, non_members: int) -> float:
        """The AUC of all records but a slice whose own is `auc`: its pairs are taken from the pairs of all.

        The pairs of the slice with everybody are the wins of its records; those inside it are then counted twice.
        """
        left = self.members - members, self.non_members - non_members
        if min(left) < FEWEST:
            return math.nan
        pairs = 0.5 * self.wins.sum() - self.wins[slice_].sum() + auc * members * non_members
        return float(pairs / (left[0] * left[1]))


def _enough(member: Bool[np.ndarray, " N"], mine: Bool[np.ndarray, " N"]) -> bool:
    return min(int(np.sum(mine & member)), int(np.sum(mine & ~member))) >= FEWEST


def _values(
    scores: Float64[np.ndarray, " N"], member: Bool[np.ndarray, " N"], mine: Bool[np.ndarray, " N"], of_all: _OfAll
) -> dict[str, float]:
    """The measures of one slice for one target."""
    if not _enough(member, mine):
        return dict.fromkeys(MEASURES, math.nan)
    values, inside = scores[mine], member[mine]
    own = {
        name: float(found[0])
        for name, found in membership.measure(MembershipScores(values[None]), inside[None]).items()
    }
    called = np.where(np.isnan(of_all.threshold), np.nan, values >= of_all.threshold)
    counts = int(inside.sum()), int((~inside).sum())
    return {
        **{name: own[name] for name in ("advantage", "auc", "tpr_at_1pct_fpr")},
        "tpr_at_global_threshold": float(called[inside].mean()),
        "fpr_at_global_threshold": float(called[~inside].mean()),
        "auc_against_rest": own["auc"] - of_all.auc_without(mine, own["auc"], *counts),
    }


def summary(
    evidence: MembershipScores,
    member: Bool[np.ndarray, "T N"],
    codes: Int[np.ndarray, " *per_target N"],
    names: Sequence[str],
) -> tuple[Slice, ...]:
    """Every slice over one stack of complementary pairs; arguments as in `measure`, n counts pairs."""
    return estimates([measure(evidence, member, codes, names)])


def estimates(seeds: Sequence[Sequence[Values]]) -> tuple[Slice, ...]:
    """The mean of each measure over the targets of all seeds, with an interval over complementary pairs.

    Args:
        seeds: what `measure` found in each seed, for the same slices; targets 2p and 2p + 1 are a pair.
    """
    found, p_values = [], []
    for parts in zip(*seeds, strict=True):
        counts = [len(part.members) for part in parts]
        pairs = np.concatenate([np.arange(count) // 2 for count in counts])
        seed = np.repeat(np.arange(len(parts)), counts)
        per_target = {name: np.concatenate([part.per_target[name] for part in parts]) for name in MEASURES}
        members, non_members = (
            np.concatenate(sides) for sides in zip(*((p.members, p.non_members) for p in parts), strict=True)
        )
        fewest, judged = (int(members.min()), int(non_members.min())), np.isfinite(per_target["auc"])
        answer = {name: _over_targets(name, per_target[name], pairs, seed, *fewest) for name in MEASURES}
        if judged.any():
            own = {name: per_target[name] for name in MEASURES if name in membership.MEASURES}
            answer |= membership.estimates(own, pairs, seed, negatives=int(non_members[judged].min()))
        p_values.append(_tested(cluster_mean(per_target["auc_against_rest"], pairs, seed)))
        found.append(Slice(parts[0].name, *fewest, answer, math.nan))
    return _corrected(found, p_values)


def _tested(mean) -> float:
    return mean.p_value if mean.df else math.nan


def _corrected(found: Sequence[Slice], p_values: Sequence[float]) -> tuple[Slice, ...]:
    adjusted = holm(np.array(p_values)) if len(p_values) else ()
    return tuple(one._replace(p_value=float(p)) for one, p in zip(found, adjusted, strict=True))


def _over_targets(
    name: str, values: Float64[np.ndarray, " T"], pairs: np.ndarray, seed: np.ndarray, members: int, non_members: int
) -> Estimate:
    unit, direction, bounds, _ = MEASURES[name]
    if not np.isfinite(values).any():
        return unresolved(0, unit, direction, _why_not(name, members, non_members))
    trials = {"tpr_at_global_threshold": members, "fpr_at_global_threshold": non_members}.get(name)
    return clustered(values, pairs, seed, unit=unit, direction=direction, bounds=bounds, trials=trials)


def _why_not(name: str, members: int, non_members: int) -> str:
    if min(members, non_members) < FEWEST:
        return f"too few records: {members} members and {non_members} non-members, of each at least {FEWEST} are needed"
    if "global" in name:
        return "not resolvable at this n: all non-members together allow no false positive at 1%"
    return "the other records are too few to compare with"


def single(
    evidence: MembershipScores,
    member: Bool[np.ndarray, "T N"],
    codes: Int[np.ndarray, " *per_target N"],
    names: Sequence[str],
    alpha: float = 0.05,
) -> tuple[Slice, ...]:
    """Every slice of one fixed model (T = 1), with intervals over its records; n counts records of the slice.

    Intervals are those of `membership.single`, Clopper-Pearson's at the global threshold (which is taken as given), and
    normal ones from DeLong's errors for the difference of two AUCs over disjoint records.

    Args:
        evidence: of one target.
        member: who was in its training set.
        codes: as in `measure`.
        names: as in `measure`.
        alpha: each interval misses with at most this probability.
    """
    scores, inside = np.asarray(evidence.scores, np.float64)[0], np.asarray(member, bool)[0]
    of_record = np.broadcast_to(codes, (1, len(scores)))[0]
    found, p_values = [], []
    for code, values in enumerate(measure(evidence, member, codes, names)):
        counts = int(values.members[0]), int(values.non_members[0])
        mine = ~np.isnan(scores) & (of_record == code)
        given = {name: float(values.per_target[name][0]) for name in MEASURES}
        own: Mapping[str, Estimate] = {}
        if _enough(inside, mine):
            own = membership.single(MembershipScores(scores[None, mine]), inside[None, mine], alpha)
        answer, p_value = {}, math.nan
        for name, (unit, direction, (floor, ceiling), _) in MEASURES.items():
            value = given[name]
            if name in own:
                answer[name] = own[name]
            elif math.isnan(value):
                answer[name] = unresolved(sum(counts), unit, direction, _why_not(name, *counts))
            elif name == "auc_against_rest":
                error = math.hypot(*(delong(scores[rows], inside[rows])[1] for rows in (mine, ~mine)))
                half = -float(ndtri(alpha / 2)) * error
                p_value = float(2 * ndtr(-abs(value) / error)) if error > 0 else float(value == 0)
                low, high = max(value - half, floor), min(value + half, ceiling)
                answer[name] = Estimate(value, low, high, sum(counts), unit, direction)
            else:
                trials = counts[name.startswith("fpr")]
                ends = clopper_pearson(round(value * trials), trials, 1 - alpha)
                answer[name] = Estimate(value, *ends, trials, unit, direction)
        found.append(Slice(values.name, *counts, answer, math.nan))
        p_values.append(p_value)
    return _corrected(found, p_values)
