"""Stolen models, compared with their victims on records that nobody was trained on or asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from privsec.core.estimate import Estimate
from privsec.core.evidence import StolenModel
from privsec.core.recipe import Params
from privsec.core.target import Target
from privsec.measures import extraction
from privsec.runner.case import Case, Judgement, labels


def judged(evidence: StolenModel, case: Case) -> Judgement:
    """The measures of extraction, the curve over query budgets, and on which records the copies agree."""
    world, budgets = case.world, np.asarray(evidence.budgets)
    x, y = (np.asarray(part)[: world.experiment.population.points] for part in world.public_sample)
    count = len(jax.tree.leaves(evidence.params)[0])

    def called(params: Params) -> np.ndarray:
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), params)
        return labels(Target.of(evidence.model, flat), x).reshape(count, len(budgets), len(x))

    truth = extraction.ExtractionTruth(
        y=y, victim=labels(case.target[:count], x), student=called(evidence.params), null=called(evidence.null)
    )
    facts = {"queries": float(budgets[-1]), "budgets": budgets.tolist()}
    won, null = truth.student[:, -1] == truth.victim, truth.null[:, -1] == truth.victim
    arrays = {**extraction.exhibits(evidence, truth), "won": won, "null": null}
    return Judgement(extraction.measure(evidence, truth), facts, arrays)


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    del facts
    return extraction.estimates(per_target, seeds)
