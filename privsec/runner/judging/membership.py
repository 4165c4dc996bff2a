"""Membership scores, held against who was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import MembershipScores
from privsec.measures import blind, membership
from privsec.runner.case import Case, Judgement
from privsec.runner.slices import GROUP


def judged(evidence: MembershipScores, case: Case) -> Judgement:
    """The measures of membership inference, and the scores for the report's curves."""
    world = case.world
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


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates, those of the null among them."""
    pairs = np.arange(len(per_target["null_auc"])) // 2
    attacked = {name: values for name, values in per_target.items() if name != "null_auc"}
    answer = membership.estimates(attacked, pairs, seeds, negatives=facts["negatives"])
    return {**answer, "null_auc": blind.estimate(per_target["null_auc"], pairs, seeds)}
