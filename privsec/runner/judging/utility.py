"""What the defended model is still worth, as its users meet it: behind its output defenses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.estimate import Estimate
from privsec.core.target import Target
from privsec.measures import utility
from privsec.runner.case import Judgement
from privsec.runner.plan import Bank
from privsec.runner.world import World


def judged(target: Target, world: World, bank: Bank) -> Judgement:
    """The measures of utility, and what the training says of itself."""
    records, member, outside = _asked(world)
    correct = target.observe(records, "correct")
    scores = target.observe(records, "top_scores")[..., 0] if Access.SCORES in target.grants else None
    per_target = utility.measure(correct, member, scores, outside)
    fewest = int(outside.sum(axis=1).min())
    facts: dict[str, Any] = {"kind": "utility", "records": min(bank.recipe.records, fewest)}
    if bank.recipe.dp_event is not None and bank.claim is not None:
        facts |= {**bank.claim._asdict(), **bank.recipe.dp_event._asdict()}
    return Judgement(per_target, facts, {})


def _asked(world: World) -> tuple[Examples, np.ndarray, np.ndarray]:
    """Records, who is in whose training set [M, N], and on which records which model is tested [M, N].

    The candidates that a model was not trained on are of classes that it never saw where halves are drawn by class: it
    is tested on the defender's records of the others.
    """
    candidates, member = world.candidates, world.member
    if world.experiment.population.by == "record":
        return candidates, member, ~member
    holdout, classes = world.holdout, np.arange(world.dataset.num_classes)
    knows = np.stack([np.isin(classes, np.asarray(candidates.y)[row]) for row in member])
    records = Examples(*(np.concatenate(parts) for parts in zip(candidates, holdout, strict=True)))
    nobody = np.zeros((len(member), holdout.size), bool)
    tested = np.concatenate([np.zeros_like(member), knows[:, np.asarray(holdout.y)]], axis=1)
    return records, np.concatenate([member, nobody], axis=1), tested


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates, the claimed epsilon among them where there is one."""
    pairs = np.arange(len(next(iter(per_target.values())))) // 2
    answer = utility.estimates(per_target, pairs, seeds, records=facts["records"])
    if "epsilon" in facts:
        claimed = facts["epsilon"]
        answer["epsilon_claimed"] = Estimate(claimed, claimed, claimed, 0, f"epsilon at delta {facts['delta']:g}")
    return answer
