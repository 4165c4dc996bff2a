"""Reconstructions of classes, held against training records and as many held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import Reconstructions
from privsec.measures import inversion
from privsec.runner.case import Case, Judgement


def judged(evidence: Reconstructions, case: Case) -> Judgement:
    """The measures of class inversion, and the pictures for the report's sheets."""
    world, evaluators = case.world, case.evaluators()
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


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    del facts
    return inversion.estimates(per_target, seeds)
