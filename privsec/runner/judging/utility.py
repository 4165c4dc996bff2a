"""What the defended model is still worth, as its users meet it: behind its output defenses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.access import Access
from privsec.core.estimate import Estimate
from privsec.core.target import Target
from privsec.measures import utility
from privsec.runner.case import Judgement
from privsec.runner.plan import Bank
from privsec.runner.world import World


def judged(target: Target, world: World, bank: Bank) -> Judgement:
    """The measures of utility, and what the training says of itself."""
    correct = target.observe(world.candidates, "correct")
    scores = target.observe(world.candidates, "top_scores")[..., 0] if Access.SCORES in target.grants else None
    per_target = utility.measure(correct, world.member, scores)
    facts: dict[str, Any] = {"kind": "utility", "records": bank.recipe.records}
    if bank.recipe.dp_event is not None and bank.claim is not None:
        facts |= {**bank.claim._asdict(), **bank.recipe.dp_event._asdict()}
    return Judgement(per_target, facts, {})


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
