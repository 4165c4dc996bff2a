"""Poisoned models, held against the same models spared the poison, and what their defender saw of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from privsec.core.errors import PrivsecError
from privsec.core.estimate import Estimate
from privsec.core.evidence import Triggered
from privsec.measures import poisoning
from privsec.runner.case import Case, Judgement, labels, votes
from privsec.runner.judging.utility import tested


def judged(evidence: Triggered, case: Case) -> Judgement:
    """The measures of poisoning, and pictures of what was planted and what is asked."""
    assert case.tampered is not None
    control, mixture, spared, cleaned = case.tampered()
    world, target = case.world, case.target
    own, others = tested(target, world), tested(control, world)
    # With other numbers of records the members would be trained for other numbers of steps.
    counted = votes(control, evidence.x) if mixture.records == spared.records else None
    truth = poisoning.PoisonTruth(
        called=labels(target, evidence.x),
        control=labels(control, evidence.x),
        accuracy=own.accuracy,
        control_accuracy=others.accuracy,
        rejected=target.model.num_classes - 1 if target.model.rejects else None,
        given=mixture.include,
        poisoned=mixture.poisoned,
        kept=None if cleaned is None else np.asarray(cleaned.kept, bool),
        suspicion=None if cleaned is None else np.asarray(cleaned.suspicion, np.float64),
        votes=counted,
        changes=None if counted is None else mixture.changes(spared),
    )
    check_certificate(truth)
    arrays = {**poisoning.exhibits(evidence, truth), **_planted(case)}
    points = np.asarray(world.dataset.x[world.points(case.attack.source)])  # type: ignore[attr-defined]
    arrays["before"] = points[np.asarray(evidence.rows[0])[: poisoning.SHOWN]].astype(np.float32)
    arrays["class_accuracy"] = own.by_class.astype(np.float32)
    arrays["unpoisoned_class_accuracy"] = others.by_class.astype(np.float32)
    facts = {
        "queries": 0.0,
        "rate": case.attack.rate,  # type: ignore[attr-defined]
        "rejected": truth.rejected,
        "records": _records(truth, own.records),
        "own": poisoning.asks_own(evidence),
    }
    return Judgement(poisoning.measure(evidence, truth), facts, arrays)


def check_certificate(truth: poisoning.PoisonTruth) -> None:
    """Raises where poison changed answers that provably stay: the proof or the training is then implemented wrongly."""
    broken = poisoning.broken(truth)
    if broken:
        assert truth.changes is not None
        raise PrivsecError(
            f"{broken} answers differ from those without the poison that provably stay under {truth.changes.max()} "
            "changed records: one of the two is implemented wrongly, the certificate or the training, whose members "
            "must not depend on each other's records. Do not rely on this defense."
        )


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    return poisoning.estimates(per_target, seeds, facts.get("records"), own=facts.get("own", False))


def _records(truth: poisoning.PoisonTruth, tested: int) -> dict[str, float]:
    """Of how many records of a model the shares are that are not of the test records asked about."""
    poison, clean = ((truth.given & which).sum(axis=1).mean() for which in (truth.poisoned, ~truth.poisoned))
    found = {"detected": poison, "poison_kept": poison, "clean_kept": clean}
    return {"clean_accuracy": tested, "unpoisoned_accuracy": tested, **{name: float(n) for name, n in found.items()}}


def _planted(case: Case) -> dict[str, np.ndarray]:
    """The first poisoned training records, with their labels."""
    assert case.tampered is not None
    mixture = case.tampered().mixture
    poisoned = np.flatnonzero(mixture.poisoned)[: poisoning.SHOWN]
    data = mixture.data.take(poisoned)
    return {"planted": np.asarray(data.x, np.float32), "planted_y": np.asarray(data.y)}
