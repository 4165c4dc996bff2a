"""Reconstructions of classes, held against training records and as many held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import Reconstructions
from privsec.measures import held_back_classes, inversion
from privsec.runner.case import Case, Judgement

COMPETENT = 0.5
"""An evaluator that is right less often is mentioned."""


def judged(evidence: Reconstructions, case: Case) -> Judgement:
    """The measures of class inversion, and the pictures for the report's sheets."""
    world, evaluators = case.world, case.evaluators()
    evidence = Reconstructions(*(np.asarray(value) for value in evidence))
    count, prompts = evidence.x.shape[:2]
    by = world.experiment.population.by
    public = (world.holdout, world.population) if by == "record" else (world.population,)
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
    if min(correct) < COMPETENT:
        facts["warnings"] = [
            f"an evaluator calls only {min(correct):.0%} of the candidates right: what it accepts and rejects says "
            "little. A smaller population.size leaves more records to train it on; it learns as the models do, so more "
            "epochs or another net may help."
        ]
    if by == "record":
        return Judgement(inversion.measure(evidence, truth), facts, inversion.exhibits(evidence, truth))
    found = held_back_classes.measure(evidence, truth, world.holdout)
    return Judgement(found, {**facts, "by": by}, held_back_classes.exhibits(evidence, truth, world.holdout))


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    measures = held_back_classes.MEASURES if facts.get("by") == "class" else inversion.MEASURES
    return inversion.estimates(per_target, seeds, measures)
