"""From a cell's evidence, and the truth that the attack never saw, to its Estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from privsec.core.errors import PrivsecError
from privsec.core.estimate import Estimate
from privsec.core.evidence import Evidence, MembershipScores, Perturbed, Predictions, Program, StolenModel, Triggered
from privsec.privacy.accounting import tpr_bound
from privsec.runner.case import Case, Judgement
from privsec.runner.judging import (
    amplification,
    attributes,
    evasion,
    extraction,
    gradient_inversion,
    inversion,
    membership,
    poisoning,
    reprogramming,
    utility,
)
from privsec.runner.plan import Bank

VACUOUS = 50.0
"""An epsilon above this allows everything: there is nothing to check."""

KINDS: Mapping[str, ModuleType] = {
    "membership": membership,
    "inversion": inversion,
    "attributes": attributes,
    "gradient_inversion": gradient_inversion,
    "evasion": evasion,
    "reprogramming": reprogramming,
    "extraction": extraction,
    "poisoning": poisoning,
    "amplification": amplification,
    "utility": utility,
}
"""What is judged alike: `judged(evidence, case)` holds it against the truth, `estimates` gives intervals."""

BY_TYPE: Mapping[type, str] = {
    MembershipScores: "membership",
    Predictions: "attributes",
    Perturbed: "evasion",
    Program: "reprogramming",
    StolenModel: "extraction",
    Triggered: "poisoning",
}
"""Kinds of evidence by its type; reconstructions are of classes, or of the records of a batch, and membership may have
been asked after poisoning."""


def judge(evidence: Evidence, case: Case) -> Judgement:
    """Holds evidence of any family against the truth."""
    reconstructed = "gradient_inversion" if "updates" in case.attack.requires else "inversion"
    kind = BY_TYPE.get(type(evidence), reconstructed)
    if kind == "membership" and case.attack.tampers:
        kind = "amplification"
    judgement = KINDS[kind].judged(evidence, case)
    return judgement._replace(facts={**judgement.facts, "kind": kind})


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None = None
) -> dict[str, Estimate]:
    """The Estimates of one cell, or of the same cell over several seeds.

    Args:
        per_target: measure -> values [T], seeds concatenated; targets 2p and 2p + 1 of a seed are a pair.
        facts: the Judgement's (of any of the seeds).
        seeds: [T], or None for one seed.
    """
    return KINDS[facts["kind"]].estimates(per_target, facts, seeds)


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
