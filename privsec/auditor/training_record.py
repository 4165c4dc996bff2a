"""The record of a training's audit: its canaries are the units, fair coins the design."""

from __future__ import annotations

import numpy as np

from privsec.auditor.attacking import Outcome
from privsec.auditor.claims import Claimed
from privsec.auditor.findings import Found, record_of
from privsec.auditor.judged import Statistics, Units
from privsec.auditor.policy import Policy, judged
from privsec.auditor.pool import pooled
from privsec.auditor.record import Bound, Caution
from privsec.auditor.result import Audit
from privsec.auditor.sides import Side
from privsec.auditor.training import TrainingAudit
from privsec.core.access import Access

NEEDS = {"black-box": Access.SCORES, "white-box": Access.SCORES | Access.UPDATES}
PAPERS = {"black-box": "Steinke et al. 2023, arXiv 2305.08846", "white-box": "Nasr et al. 2023, arXiv 2302.07956"}


def audit_of(made: TrainingAudit, policy: Policy, *, seed: int = 0, title: str = "") -> Audit:
    """The Audit of a training: its statistics as attacks, its own bound as the one that is shown.

    Args:
        made: what the training showed.
        policy: thresholds.
        seed: of the canaries' order.
        title: heads the page; by default what was trained.
    """
    numbers, member = np.arange(len(made.coins)), made.coins
    shown = next(iter(made.scores.values()))
    sides = [
        Side(int(of.sum()), values=shown[of], what="score", identifiers=numbers[of].astype(str))
        for of in (member, ~member)
    ]
    pool, said = pooled(sides[0], sides[1], seed, drawn=True)
    canary = np.concatenate([numbers[member], numbers[~member]])[pool.place]
    outcomes = [
        Outcome(name, name.replace("_", " "), NEEDS[made.access], PAPERS[made.access], "ok", scores=scores[canary])
        for name, scores in made.scores.items()
    ]
    said += [Caution(code="training", severity="warning", text=_sentence(warning)) for warning in made.warnings]
    found = Found(
        "training",
        f"one training ({made.title}) with {len(numbers)} {made.kind.replace('_', '-')} canaries, seen {made.access}",
        outcomes,
        said,
    )
    claimed = None
    if made.claim is not None:
        claimed = Claimed(made.claim.epsilon, made.claim.delta, "the accountant, for this training", made.event)
    by = Statistics(made.shown.alpha, made.shown.delta, "fair_coins", made.event)
    record = record_of(
        pool,
        Units.records(pool, "canaries"),
        found,
        by,
        claimed,
        (),
        seed,
        title or f"Training audit: {made.title}",
        made.seconds["all"],
        shown=Bound.of(made.shown, made.statistic.replace("_", " ")),
    )
    return Audit(record.model_copy(update={"policy": judged(policy, record)}))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
