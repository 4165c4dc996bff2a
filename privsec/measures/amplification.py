"""How much more a model tells of who was trained on where an attacker put records among the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from privsec.core.estimate import Estimate, unresolved
from privsec.core.evidence import MembershipScores
from privsec.measures import membership
from privsec.measures.advantage import FLOOR
from privsec.measures.intervals import Ids, Measure, clustered
from privsec.measures.roc import Curve, allowed_false_positives

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "TPR at 1% FPR, rescaled: 0 is what the same attacker finds without the poison, 1 is every member",
    ),
    "auc": Measure("AUC", "higher_is_worse", (0.0, 1.0), "with poison, members above non-members; 0.5 is guessing"),
    "unpoisoned_auc": Measure("AUC", "descriptive", (0.0, 1.0), "the same without poison"),
    "tpr_at_1pct_fpr": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "with poison, members found while 1% of the non-members are accused"
    ),
    "unpoisoned_tpr_at_1pct_fpr": Measure("share", "descriptive", (0.0, 1.0), "the same without poison: the null"),
    "tpr_at_0.1pct_fpr": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "with poison, members found while 0.1% of the non-members are accused"
    ),
    "unpoisoned_tpr_at_0.1pct_fpr": Measure("share", "descriptive", (0.0, 1.0), "the same without poison"),
    "clean_accuracy": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "untouched records outside its training set that the poisoned model gets right",
    ),
    "unpoisoned_accuracy": Measure(
        "share", "descriptive", (0.0, 1.0), "the same records, by the model without the poison"
    ),
    "poisoned": Measure("share", "descriptive", (0.0, 1.0), "training records that are the attacker's"),
}
"""The measures of poisoning for privacy, in the order of tables."""


def measure(
    poisoned: MembershipScores, spared: MembershipScores, member: Bool[np.ndarray, "T N"]
) -> dict[str, Float64[np.ndarray, " T"]]:
    """What the same attacker finds with and without the poison, for every target.

    `advantage = (s - s0) / (1 - s0)`: s is the TPR at 1% FPR with poison, s0 that without, in the denominator its mean
    over targets, so that one target without doubt does not outweigh the others.

    Args:
        poisoned: scores of targets trained with the poison; NaN where a record was not attacked.
        spared: of the same targets trained without it, against references without it.
        member: who was in target t's training set.

    Returns:
        measure -> a value for each target; NaN where the non-members of all targets together are too few for the rate.
    """
    found = {}
    for prefix, evidence in (("", poisoned), ("unpoisoned_", spared)):
        scores = np.asarray(evidence.scores, np.float64)
        found[f"{prefix}auc"] = membership.measure(evidence, member)["auc"]
        for name in ("tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr"):
            found[f"{prefix}{name}"] = tpr_in_common(scores, member, membership.FPRS[name])
    success, null = found["tpr_at_1pct_fpr"], found["unpoisoned_tpr_at_1pct_fpr"]
    rest = max(1 - float(np.mean(null)), 1 / max(non_members(poisoned, member), 1))
    found["advantage"] = np.maximum((success - null) / rest, FLOOR)
    return {name: found[name] for name in MEASURES if name in found}


def tpr_in_common(
    scores: Float[np.ndarray, "T N"], member: Bool[np.ndarray, "T N"], fpr: float
) -> Float64[np.ndarray, " T"]:
    """Each target's share of members above one threshold for all: the lowest that `fpr` of all non-members exceed.

    Targets have few victims each and share the scale of likelihood ratios, so the rate is resolved over all of them.
    """
    attacked = ~np.isnan(scores)
    curve = Curve.of(scores[attacked], member[attacked])
    allowed = int(allowed_false_positives(fpr, curve.negatives))
    if allowed < 1:
        return np.full(len(scores), np.nan)
    threshold = curve.thresholds[curve.step(allowed)]
    inside = attacked & member
    return (inside & (np.where(attacked, scores, -np.inf) >= threshold)).sum(axis=1) / inside.sum(axis=1)


def non_members(evidence: MembershipScores, member: Bool[np.ndarray, "T N"]) -> int:
    """Attacked non-members of all targets together."""
    return int(np.sum(~np.isnan(np.asarray(evidence.scores)) & ~member))


def estimates(
    per_target: Mapping[str, Real[np.ndarray, " T"]], clusters: Ids, seeds: Ids | None = None, *, negatives: int
) -> dict[str, Estimate]:
    """The mean of each measure over targets, with an interval over complementary pairs.

    Args:
        per_target: what `measure` returned, seeds concatenated.
        clusters: equal for the two models of a pair.
        seeds: None for one seed.
        negatives: attacked non-members of all targets of a seed.
    """
    answer = {}
    for name, values in per_target.items():
        unit, direction, bounds, _ = MEASURES[name]
        described = {"unit": unit, "direction": direction, "bounds": bounds}
        if np.isfinite(values).any():
            counted = None if name == "poisoned" else negatives  # a share that is known and not estimated
            answer[name] = clustered(values, clusters, seeds, **described, trials=counted)
        else:
            fpr = membership.FPRS.get(name.removeprefix("unpoisoned_"), 0.0)
            reason = f"not resolvable at this n: {negatives} non-members allow no false positive at {100 * fpr:g}%"
            answer[name] = unresolved(0, unit, direction, reason)
    return answer
