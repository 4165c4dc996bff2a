"""What limits the figures of an audit, each with a stable code. A caution never changes a number."""

from __future__ import annotations

from collections.abc import Sequence

from privsec.auditor.attacking import Outcome
from privsec.auditor.judged import Judged, Units
from privsec.auditor.record import Bound, Caution
from privsec.core.estimate import Estimate
from privsec.measures.membership import FPRS

REVERSED = 1e-3
"""Scores are called reversed where chance puts them so low in fewer audits than this."""


def about_units(units: Units, shared: dict[str, Estimate] | None) -> list[Caution]:
    """Too few of them."""
    outside = int((~units.member).sum())
    cautions = []
    if min(outside, len(units.member) - outside) < 20:
        text = (
            f"{len(units.member) - outside} members and {outside} non-members show next to nothing: only a gross leak "
            "could be told from luck. An audit takes hundreds of each."
        )
        cautions.append(Caution(code="too-few-records", severity="warning", text=text))
    wanting = sorted({FPRS[name] for name, figure in (shared or {}).items() if name in FPRS and not figure.resolved})
    if wanting:
        rates = " and ".join(f"{100 * fpr:g}%" for fpr in wanting)
        text = (
            f"{outside} non-members do not resolve a false positive rate of {rates}, which takes "
            f"{round(1 / wanting[0])} at least. Those figures are left open, not zero."
        )
        cautions.append(Caution(code="rate-not-resolved", severity="note", text=text))
    return cautions


def about_bounds(bound: Bound | None) -> list[Caution]:
    """Bounds that are no proof."""
    if bound is None or bound.grade == "proof":
        return []
    text = (
        "The bounds on epsilon are heuristics: the records belong to one model and nobody drew by independent coins "
        "which of them it was trained on, so its answers to them hang together. A proof takes canaries put in by fair "
        "coins, or many runs."
    )
    return [Caution(code="correlated-records", severity="note", text=text)]


def about_attacks(
    outcomes: Sequence[Outcome], judged: Sequence[Judged], *, kind: str, references: bool, given: str
) -> list[Caution]:
    """What did not run, and what it means.

    Args:
        outcomes: of all attacks.
        judged: those with numbers.
        kind: of the subject.
        references: whether there are reference models.
        given: what the numbers are, where scores were given; else empty.
    """
    cautions = []
    if not judged:
        reasons = "; ".join(f"{one.title}: {one.reason}" for one in outcomes[:3])
        cautions.append(Caution(code="nothing-measured", severity="invalid", text=f"No attack has numbers. {reasons}"))
    failed = [one.title for one in outcomes if one.status == "failed"]
    if failed and judged:
        text = f"Failed, and missing from the worst case: {', '.join(failed)}."
        cautions.append(Caution(code="attacks-failed", severity="warning", text=text))
    if kind == "model" and not references:
        text = (
            "No reference models: the strongest attacks (LiRA, RMIA, BaVarIA) compare the model with others trained on "
            "similar records, and did not run. Pass train= or references= to include them."
        )
        cautions.append(Caution(code="no-references", severity="warning", text=text))
    if given and judged:
        cautions += _reversed(judged[0], given)
    return cautions


def _reversed(one: Judged, what: str) -> list[Caution]:
    auc = one.shared["auc"].value
    if auc >= 0.5 or one.p_value > REVERSED:
        return []
    other = "what='score'" if what == "loss" else "what='loss'"
    look = "scores that are higher for members" if what == "loss" else "losses, which are lower for members"
    text = (
        f"Non-members score above members (AUC {auc:.3f}), which luck does not do: these look like {look}. Pass "
        f"{other}, or check which file is which."
    )
    return [Caution(code="scores-reversed", severity="invalid", text=text)]
