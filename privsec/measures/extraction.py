"""Whether a student copies the model, or only learned the same task from the attacker's own records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Real

from privsec.core.estimate import Estimate
from privsec.core.evidence import StolenModel
from privsec.measures.advantage import advantage, over_points
from privsec.measures.intervals import Ids, Measure, clopper_pearson, shared_points
from privsec.measures.pairs import pairs_of

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "fidelity, rescaled: 0 is the student who never asked the model, 1 is complete agreement",
    ),
    "fidelity": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "records on which the student and the model say the same"
    ),
    "null_fidelity": Measure(
        "share",
        "descriptive",
        (0.0, 1.0),
        "the same of a student trained on the same records with their own labels, not the model's answers",
    ),
    "error_fidelity": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "of the records the model gets wrong, those on which the student says the same",
    ),
    "student_accuracy": Measure("share", "higher_is_worse", (0.0, 1.0), "records that the student labels right"),
    "null_accuracy": Measure(
        "share", "descriptive", (0.0, 1.0), "records that the student who never asked labels right"
    ),
    "victim_accuracy": Measure("share", "higher_is_better", (0.0, 1.0), "records that the model labels right"),
    "queries": Measure("queries", "descriptive", (0.0, np.inf), "records that the model was asked about"),
    "points": Measure("records", "descriptive", (0.0, np.inf), "held-out records on which all are compared"),
    "mistakes": Measure("records", "descriptive", (0.0, np.inf), "those of them that the model gets wrong"),
}
"""The measures of the family, in the order of tables, all at the largest budget."""


class ExtractionTruth(NamedTuple):
    """Labels that all give to N held-out records, neither trained on nor asked about.

    Attributes:
        y: the true ones.
        victim: each target's, behind its endpoint.
        student: of the student of each target and budget.
        null: of the students who never asked.
    """

    y: Int[np.ndarray, " N"]
    victim: Int[np.ndarray, "T N"]
    student: Int[np.ndarray, "T Q N"]
    null: Int[np.ndarray, "T Q N"]


def measure(evidence: StolenModel, truth: ExtractionTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target, at the largest budget.

    `advantage = (s - s0) / (1 - s0)`: s is the student's fidelity, the share of records on which its label is the
    target's, s0 that of its null.

    Returns:
        `error_fidelity` is NaN where a target makes no mistake.
    """
    victim, points = truth.victim, len(truth.y)
    student, null = truth.student[:, -1], truth.null[:, -1]
    fidelity, null_fidelity = np.mean(student == victim, axis=1), np.mean(null == victim, axis=1)
    wrong = victim != truth.y
    mistakes = wrong.sum(axis=1)
    copied = np.sum((student == victim) & wrong, axis=1) / np.maximum(mistakes, 1)
    return {
        "advantage": advantage(fidelity, null_fidelity, points),
        "fidelity": fidelity,
        "null_fidelity": null_fidelity,
        "error_fidelity": np.where(mistakes > 0, copied, np.nan),
        "student_accuracy": np.mean(student == truth.y, axis=1),
        "null_accuracy": np.mean(null == truth.y, axis=1),
        "victim_accuracy": np.mean(victim == truth.y, axis=1),
        "queries": np.full(len(victim), float(evidence.budgets[-1])),
        "points": np.full(len(victim), float(points)),
        "mistakes": mistakes.astype(np.float64),
    }


def exhibits(evidence: StolenModel, truth: ExtractionTruth) -> dict[str, np.ndarray]:
    """The curve over query budgets.

    Returns:
        `budgets` int [Q]; `fidelity`, `null_fidelity`, `student_accuracy`, `null_accuracy` float64 [T, Q]; and
        `victim_accuracy` float64 [T].
    """
    victim = truth.victim[:, None]
    return {
        "budgets": np.asarray(evidence.budgets),
        "fidelity": np.mean(truth.student == victim, axis=2),
        "null_fidelity": np.mean(truth.null == victim, axis=2),
        "student_accuracy": np.mean(truth.student == truth.y, axis=2),
        "null_accuracy": np.mean(truth.null == truth.y, axis=2),
        "victim_accuracy": np.mean(truth.victim == truth.y, axis=1),
    }


def estimates(per_target: Mapping[str, Real[np.ndarray, " T"]], seeds: Ids | None = None) -> dict[str, Estimate]:
    """One Estimate a measure; its interval covers which records were drawn and which models were trained.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
    """
    pairs, seed = pairs_of(len(per_target["points"]), seeds)
    known = {name: np.asarray(values, np.float64)[np.isfinite(values)] for name, values in per_target.items()}
    means = {name: float(np.mean(values)) if len(values) else 0.0 for name, values in known.items()}
    points = int(np.min(per_target["points"]))

    def estimate(name: str) -> Estimate:
        unit, direction, bounds, _ = MEASURES[name]
        trials = round(means["mistakes"]) if name == "error_fidelity" else points
        if name == "advantage":
            sampling = over_points(means["fidelity"], means["null_fidelity"], points)
        else:
            share = unit == "share"
            sampling = clopper_pearson(means[name] * trials, trials) if share else (means[name], means[name])
        described = {"points": trials, "unit": unit, "direction": direction, "bounds": bounds}
        return shared_points(per_target[name], sampling, pairs, seed, **described)

    return {name: estimate(name) for name in per_target}
