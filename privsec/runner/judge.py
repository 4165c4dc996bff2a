"""From a cell's evidence, and the truth that the attack never saw, to its Estimates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from privsec.core.access import Access
from privsec.core.errors import PrivsecError
from privsec.core.estimate import Estimate
from privsec.core.evidence import Evidence, MembershipScores, Reconstructions
from privsec.core.target import Target
from privsec.measures import blind, inversion, membership, utility
from privsec.privacy.accounting import tpr_bound
from privsec.runner.plan import Bank
from privsec.runner.slices import GROUP
from privsec.runner.world import World

VACUOUS = 50.0
"""An epsilon above this allows everything: there is nothing to check."""


class Judgement(NamedTuple):
    """What the truth says of one cell: measure -> values [T], facts for the report, arrays for its pictures."""

    per_target: dict[str, np.ndarray]
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


def judge(evidence: Evidence, world: World, evaluators: Callable[[], Target]) -> Judgement:
    """Holds evidence of any family against the truth.

    Args:
        evaluators: gives the seed's independent classifiers; called for reconstructions only.
    """
    if isinstance(evidence, Reconstructions):
        return _of_inversion(evidence, world, evaluators())
    return _of_membership(evidence, world)


def _of_membership(evidence: MembershipScores, world: World) -> Judgement:
    per_target = membership.measure(evidence, world.member)
    per_target["null_auc"] = world.blind_auc
    facts = {"queries": float(evidence.queries), "negatives": membership.non_members(evidence, world.member)}
    arrays = {
        "scores": np.asarray(evidence.scores, np.float64),
        "member": world.member,
        "rows": world.splits.candidates,
        "y": np.asarray(world.candidates.y),
    }
    sensitive = world.dataset.sensitive.items()
    arrays |= {f"{GROUP}{name}": np.asarray(codes)[world.splits.candidates] for name, codes in sensitive}
    return Judgement(per_target, facts, arrays)


def _of_inversion(evidence: Reconstructions, world: World, evaluators: Target) -> Judgement:
    evidence = Reconstructions(*(np.asarray(value) for value in evidence))
    count, prompts = evidence.x.shape[:2]
    public = world.holdout, world.population
    means = inversion.class_means(
        np.concatenate([part.x for part in public]), np.concatenate([part.y for part in public]), evidence.y
    ).astype(np.float32)
    low, high = world.box
    truth = inversion.InversionTruth(
        x=np.asarray(world.candidates.x),
        y=np.asarray(world.candidates.y),
        member=world.member[:count],
        labels=np.asarray(evaluators.labels(evidence.x.reshape(-1, *world.dataset.shape))).reshape(-1, count, prompts),
        class_means=means,
        class_mean_labels=np.asarray(evaluators.labels(means)),
        data_range=float(np.max(np.asarray(high - low))),
    )
    correct = evaluators.observe(world.candidates, "correct").mean(axis=1)
    facts = {"queries": float(evidence.queries), "evaluator_accuracy": [round(float(share), 4) for share in correct]}
    return Judgement(inversion.measure(evidence, truth), facts, inversion.exhibits(evidence, truth))


def utility_of(target: Target, world: World, bank: Bank) -> Judgement:
    """What the defended model is still worth, as its users meet it: behind its output defenses."""
    correct = target.observe(world.candidates, "correct")
    scores = target.observe(world.candidates, "top_scores")[..., 0] if Access.SCORES in target.grants else None
    per_target = utility.measure(correct, world.member, scores)
    facts: dict[str, Any] = {"records": bank.recipe.records}
    if bank.recipe.dp_event is not None and bank.claim is not None:
        facts |= {**bank.claim._asdict(), **bank.recipe.dp_event._asdict()}
    return Judgement(per_target, facts, {})


def estimates(
    family: str, per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None = None
) -> dict[str, Estimate]:
    """The Estimates of one cell, or of the same cell over several seeds.

    Args:
        per_target: measure -> values [T], seeds concatenated; targets 2p and 2p + 1 of a seed are a pair.
        facts: the Judgement's (of any of the seeds).
        seeds: [T], or None for one seed.
    """
    count = len(next(iter(per_target.values())))
    pairs = np.arange(count) // 2
    if family == "utility":
        answer = utility.estimates(per_target, pairs, seeds, records=facts["records"])
        if "epsilon" in facts:
            claimed = facts["epsilon"]
            answer["epsilon_claimed"] = Estimate(claimed, claimed, claimed, 0, f"epsilon at delta {facts['delta']:g}")
        return answer
    if family == "inversion":
        return inversion.estimates(per_target, seeds)
    attacked = {name: values for name, values in per_target.items() if name != "null_auc"}
    answer = membership.estimates(attacked, pairs, seeds, negatives=facts["negatives"])
    return {**answer, "null_auc": blind.estimate(per_target["null_auc"], pairs, seeds)}


def check_certificate(answer: Mapping[str, Estimate], bank: Bank) -> None:
    """Raises where an attack beats the guarantee that the training claims: one of the two is then implemented wrongly.

    Members of a population are swapped for other candidates, not just left out, so the guarantee for replacing a record
    applies: (2 epsilon, (1 + e^epsilon) delta).
    """
    measured = answer.get("tpr_at_1pct_fpr")
    if bank.claim is None or measured is None or not measured.resolved or bank.claim.epsilon > VACUOUS:
        return
    claimed, delta = bank.claim
    bound = float(tpr_bound(2 * claimed, (1 + math.exp(claimed)) * delta, 0.01))
    if measured.low > bound:
        raise PrivsecError(
            f"the attack's TPR at 1% FPR is at least {measured.low:.3f}, and epsilon {claimed:.2f} allows at most "
            f"{bound:.3f}: the training does not keep its guarantee. Do not rely on this defense."
        )
