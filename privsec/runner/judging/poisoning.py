"""Poisoned models, held against the same models spared the poison, and what their defender saw of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import Triggered
from privsec.measures import poisoning
from privsec.runner.case import Case, Judgement, labels
from privsec.runner.judging.utility import test_accuracy


def judged(evidence: Triggered, case: Case) -> Judgement:
    """The measures of poisoning, and pictures of what was planted and what is asked."""
    assert case.tampered is not None
    control, mixture, cleaned = case.tampered()
    world, target = case.world, case.target
    truth = poisoning.PoisonTruth(
        called=labels(target, evidence.x),
        control=labels(control, evidence.x),
        accuracy=test_accuracy(target, world),
        control_accuracy=test_accuracy(control, world),
        rejected=target.model.num_classes - 1 if target.model.rejects else None,
        given=mixture.include,
        poisoned=mixture.poisoned,
        kept=None if cleaned is None else np.asarray(cleaned.kept, bool),
        suspicion=None if cleaned is None else np.asarray(cleaned.suspicion, np.float64),
    )
    arrays = {**poisoning.exhibits(evidence, truth), **_planted(case)}
    points = np.asarray(world.dataset.x[world.points(case.attack.source)])  # type: ignore[attr-defined]
    arrays["before"] = points[np.asarray(evidence.rows[0])[: poisoning.SHOWN]].astype(np.float32)
    facts = {"queries": 0.0, "rate": case.attack.rate, "rejected": truth.rejected}  # type: ignore[attr-defined]
    return Judgement(poisoning.measure(evidence, truth), facts, arrays)


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    del facts
    return poisoning.estimates(per_target, seeds)


def _planted(case: Case) -> dict[str, np.ndarray]:
    """The first poisoned training records, with their labels."""
    assert case.tampered is not None
    mixture = case.tampered().mixture
    poisoned = np.flatnonzero(mixture.poisoned)[: poisoning.SHOWN]
    data = mixture.data.take(poisoned)
    return {"planted": np.asarray(data.x, np.float32), "planted_y": np.asarray(data.y)}
