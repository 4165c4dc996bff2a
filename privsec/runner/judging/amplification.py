"""Membership of records among an attacker's, held against the same attack on models that were spared them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import MembershipScores
from privsec.measures import amplification
from privsec.runner.case import Case, Judgement
from privsec.runner.judging.utility import tested


def judged(evidence: MembershipScores, case: Case) -> Judgement:
    """The measures with and without the poison, and both scores for the report's curves."""
    assert case.tampered is not None
    (control, mixture, *_), world = case.tampered(), case.world
    known = replace(case.knowledge, references=control.restrict(case.attack.needs))
    spared = cast(MembershipScores, case.attacked(control, known))
    per_target = amplification.measure(evidence, spared, world.member)
    given = mixture.include.sum(axis=1)
    per_target |= {
        "clean_accuracy": tested(case.target, world).accuracy,
        "unpoisoned_accuracy": tested(control, world).accuracy,
        "poisoned": (mixture.include & mixture.poisoned).sum(axis=1) / given,
    }
    attacked = np.flatnonzero(~np.isnan(np.asarray(evidence.scores)[0]))
    facts = {
        "queries": float(evidence.queries),
        "negatives": amplification.non_members(evidence, world.member),
        "victims": len(attacked),
        "added": case.attack.added,
    }
    planted = mixture.data.take(np.flatnonzero(mixture.poisoned))
    step = max(case.attack.added // len(attacked), 1)
    arrays = {
        "scores": np.asarray(evidence.scores, np.float64)[:, attacked],
        "unpoisoned_scores": np.asarray(spared.scores, np.float64)[:, attacked],
        "member": world.member[:, attacked],
        "rows": world.splits.candidates[attacked],
        "y": np.asarray(world.candidates.y)[attacked],
        "planted": np.asarray(planted.x[: SHOWN * step : step], np.float32),
        "planted_y": np.asarray(planted.y[: SHOWN * step : step]),
    }
    return Judgement(per_target, facts, arrays)


SHOWN = 12
"""Poisoned records whose pictures a report may show, one of each of so many victims."""


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    pairs = np.arange(len(per_target["auc"])) // 2
    return amplification.estimates(per_target, pairs, seeds, negatives=facts["negatives"])
