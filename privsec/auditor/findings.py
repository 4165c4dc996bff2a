"""From what came of the attacks to the record of the audit: everything that is said of it, and in which order."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import operator
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from privsec import __version__
from privsec.auditor import cautions, judged, likeness, slicing
from privsec.auditor.attacking import Outcome
from privsec.auditor.catalogs import REFERENCES
from privsec.auditor.claims import Claimed, beside
from privsec.auditor.judged import Statistics, Units
from privsec.auditor.pool import Pool
from privsec.auditor.record import AuditRecord, Bound, Caution, Figure, Subject, ThreatModel
from privsec.auditor.verdict import verdict_of
from privsec.core.access import Access
from privsec.core.estimate import Estimate
from privsec.measures.intervals import clopper_pearson
from privsec.runner.provenance import PACKAGES


@dataclass(frozen=True)
class Found:
    """What came of the attacks, and what else the model was asked."""

    kind: Any
    description: str
    outcomes: list[Outcome]
    cautions: list[Caution] = field(default_factory=list)
    correct: np.ndarray | None = None
    references: int = 0
    population: int = 0
    queries: int | None = None
    given: str = ""


def record_of(
    pool: Pool,
    units: Units,
    found: Found,
    by: Statistics,
    claimed: Claimed | None,
    said: Sequence[Caution],
    seed: int,
    title: str,
    seconds: float,
    *,
    shown: Bound | None = None,
) -> AuditRecord:
    """Everything that is said of the outcomes, in the order in which one thing follows from another.

    Args:
        pool: members and non-members.
        units: what counts as one observation.
        found: what came of the attacks.
        by: how numbers are judged.
        claimed: what is claimed for the model.
        said: cautions about the input.
        seed: of everything that was drawn.
        title: heads the page.
        seconds: what the audit took.
        shown: the bound on epsilon, corrected already; by default the strongest of all attacks.
    """
    results, ran = judged.judge(found.outcomes, units, by)
    worst, whose = judged.worst(ran)
    bound = shown or judged.strongest_bound(ran, by)
    claim, of_claim = beside(claimed, bound, int(units.member.sum())) if claimed else (None, [])
    blind = likeness.blind(pool, units, by.alpha, seed)
    lead = judged.leading(ran) if ran else None
    parts = ()
    if lead is not None and units.name != "groups":
        parts = slicing.slices(lead.scores, pool.member, slicing.attributes(pool, found.correct), by.alpha)
    said = [
        *said,
        *found.cautions,
        *cautions.about_attacks(
            found.outcomes, ran, kind=found.kind, references=found.references > 0, given=found.given
        ),
        *cautions.about_units(units, ran[0].shared if ran else None),
        *(likeness.shift(blind, worst.get("auc"), labels_only=pool.side.x is None) if by.design == "records" else ()),
        *cautions.about_bounds(bound),
        *of_claim,
    ]
    correct = found.correct
    return AuditRecord(
        title=title or "Membership audit",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        confidence=1 - by.alpha,
        design=by.design,
        subject=Subject(
            kind=found.kind,
            description=found.description,
            members=int(units.member.sum()),
            non_members=int((~units.member).sum()),
            units=units.name,
            num_classes=None if pool.y is None else int(pool.y.max()) + 1,
            accuracy={} if correct is None else _accuracy(correct > 0, pool.member, by.alpha),
        ),
        threat_model=_threat_model(found),
        verdict=verdict_of(ran, worst, bound, claim, said, alpha=by.alpha, units=units.name),
        worst=worst,
        worst_attack=whose,
        epsilon_lower=bound,
        claim=claim,
        blind=blind,
        attacks=results,
        slices=parts,
        at_risk=judged.at_risk(lead, units, pool) if lead else (),
        cautions=tuple(said),
        references=REFERENCES,
        provenance=_provenance(pool, seed, seconds),
    )


def _accuracy(correct: np.ndarray, member: np.ndarray, alpha: float) -> dict[str, Figure]:
    answer = {}
    for name, side in (("members", member), ("non_members", ~member)):
        right, n = int(correct[side].sum()), int(side.sum())
        low, high = clopper_pearson(right, n, 1 - alpha)
        answer[name] = Figure.of(Estimate(right / n, low, high, n, "share", "higher_is_better"))
    return answer


def _threat_model(found: Found) -> ThreatModel:
    used = [one.needs for one in found.outcomes if one.status == "ok"]
    parts = ["the audited records with their labels"]
    parts += [f"{found.population} records from the same source"] * bool(found.population)
    parts += [f"{found.references} models trained alike on known records"] * bool(found.references)
    return ThreatModel(
        goal="to tell whether a given record was in the training data",
        access=functools.reduce(operator.or_, used, Access.NONE).title,
        knowledge="; ".join(parts),
        references=found.references,
        queries=found.queries,
    )


def _provenance(pool: Pool, seed: int, seconds: float) -> dict[str, Any]:
    content = hashlib.sha256()
    for part in (pool.side.values, pool.side.x, pool.y):
        if part is not None:
            content.update(np.ascontiguousarray(part[np.argsort(pool.place)]).tobytes())
    return {
        "privsec": __version__,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "seed": seed,
        "seconds": round(seconds, 3),
        "inputs_sha256": content.hexdigest(),
    }
