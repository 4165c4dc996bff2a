"""The page of an audit: one HTML file for a data protection officer, which a statistician accepts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from privsec.auditor.record import AuditRecord, Bound
from privsec.privacy.bound import DESIGNS
from privsec.report import audit_figures, audit_tables, audit_words, methods, page
from privsec.report.audit_references import bearing
from privsec.report.sections import Shown
from privsec.report.verdict import Key
from privsec.report.wording import wording

SEVERITIES = ("invalid", "warning", "note")
"""Of cautions, the gravest first."""
LEVELS = {
    "claim_contradicted": ("leak", "▲", "The claim does not hold"),
    "claim_not_contradicted": ("held", "●", "The claim is not contradicted"),
    "leak_shown": ("leak", "▲", "A leak is shown"),
    "no_leak_shown": ("held", "●", "No leak shown"),
    "unusable": ("unmeasured", "✕", "Unusable"),
}
"""Level of the verdict -> (how it looks, sign, name)."""
UNITS = {
    "records": "single records",
    "groups": "groups: all records of one person count as one",
    "canaries": "canaries: records made for this audit",
}
"""What the audit counts, in words."""


def write_audit(record: AuditRecord, path: str | Path) -> Path:
    """Writes the page of an audit.

    Args:
        record: all that is shown; equal records give equal bytes.
        path: where the HTML file goes; its folder is made.

    Returns:
        `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(audit_html(record), encoding="utf-8")
    return path


def audit_html(record: AuditRecord) -> str:
    """The page of an audit as text: self-contained, without scripts; whatever the record lacks is said on it."""
    names = audit_tables.measures(record.attacks, record.worst)
    slice_names, slices, more_slices = audit_tables.slices(record)
    methods_used, bound_rows = audit_tables.bound_matrix(record)
    terms, headings = audit_tables.headings(methods_used)
    return page.render(
        "audit.html",
        title=record.title,
        record=record,
        confidence=audit_words.percent(record.confidence),
        design=DESIGNS[record.design],
        units=UNITS.get(record.subject.units, record.subject.units),
        look=look(record),
        keys=_keys(record),
        accuracy=_accuracy(record),
        cautions=sorted(record.cautions, key=lambda caution: SEVERITIES.index(caution.severity)),
        policy=audit_policy(record),
        thousands=[(of, _dots(record, of, place)) for place, of in enumerate(audit_words.thousands(record))],
        inside=audit_words.inside(record.subject),
        outside=audit_words.outside(record.subject),
        believable=audit_words.believable,
        says=list(audit_words.says(record)),
        silent=list(audit_words.silent(record)),
        scale=_scale(record),
        claimed=audit_words.epsilon(record.claim.epsilon) if record.claim else "",
        promises=audit_tables.promises(record),
        methods=methods_used,
        terms=terms,
        headings=headings,
        bound_rows=bound_rows,
        measures=[wording(name).title for name in names],
        attacks=audit_tables.attacks(record, names),
        worst=[(audit_tables.shown(record.worst.get(name), name), record.worst_attack.get(name, "")) for name in names],
        blind=audit_tables.shown(record.blind, "auc"),
        cited=methods.cited,
        roc=audit_figures.curves(record),
        slice_measures=[wording(name).title for name in slice_names],
        slices=slices,
        more_slices=more_slices,
        references=[(reference, bearing(reference)) for reference in record.references],
        provenance=methods.facts(_known(record.provenance)),
    )  # fmt: skip


def look(record: AuditRecord) -> tuple[str, str, str]:
    """How the verdict looks, its sign and its name. What was not resolved, or must not be used, never looks good."""
    looks, sign, name = LEVELS[record.verdict.level]
    resolved = any(figure.value is not None for figure in record.worst.values())
    if looks == "held" and (not resolved or any(caution.severity == "invalid" for caution in record.cautions)):
        return "unmeasured", "?", name if resolved else "Nothing could be resolved"
    if record.verdict.level == "claim_not_contradicted" and any(c.code == "claim-unreachable" for c in record.cautions):
        return "unmeasured", "?", "The claim was out of this audit's reach"
    if record.verdict.level == "claim_contradicted" and record.epsilon_lower and record.epsilon_lower.grade != "proof":
        name = "The claim is in doubt"
    return looks, sign, name


def audit_policy(record: AuditRecord) -> dict[str, Any] | None:
    """The policy's rules with their outcomes and how it ended, None where there is none."""
    if not record.policy:
        return None
    counts = [
        f"{sum(rule.outcome == outcome for rule in record.policy)} {outcome.replace('_', ' ')}"
        for outcome in ("passed", "failed", "not_resolved")
        if any(rule.outcome == outcome for rule in record.policy)
    ]
    return {
        "outcome": "passed" if record.passed else "failed",
        "counts": ", ".join(counts),
        "rows": [(rule, "no value" if rule.observed is None else f"{rule.observed:.6g}") for rule in record.policy],
    }


_LEADING = {
    "tpr_at_1pct_fpr": "Members found while 1% of the others are wrongly accused",
    "auc": "AUC of the attack that ranks best",
}
"""The measures among the key figures, in words."""


def _keys(record: AuditRecord) -> list[Key]:
    """The key figures under the verdict."""
    keys = []
    for name, title in _LEADING.items():
        if (figure := record.worst.get(name)) is not None:
            cell, attack = audit_tables.shown(figure, name), record.worst_attack.get(name, "")
            by = f"{attack}, n = {cell.n}" if cell.status == "ok" else cell.reason
            keys.append(Key(title, cell.value or "open", cell.interval, by))
    if (bound := record.epsilon_lower) is not None:
        keys.append(_epsilon_key(bound))
    if (claim := record.claim) is not None:
        finite = claim.epsilon is not None
        by = f"{claim.source}, delta {audit_words.small(claim.delta)}"
        keys.append(Key("Epsilon claimed", audit_words.epsilon(claim.epsilon) if finite else "none finite", "", by))
    if (policy := audit_policy(record)) is not None:
        keys.append(Key("Policy", policy["outcome"], "", policy["counts"]))
    return keys


def _epsilon_key(bound: Bound) -> Key:
    by = f"delta {audit_words.small(bound.delta)}, {audit_words.percent(bound.confidence)} confidence"
    title, least = f"Epsilon shown ({bound.grade})", f"≥ {audit_words.epsilon(bound.epsilon)}"
    return Key(title, least, "", f"ceiling {audit_tables.ceiling(bound)}, {by}")


def _accuracy(record: AuditRecord) -> list[tuple[str, Shown]]:
    """(whose, accuracy) where answers were available."""
    known = record.subject.accuracy.items()
    return [(name.replace("_", "-"), audit_tables.shown(figure, "test_accuracy")) for name, figure in known]


def _dots(record: AuditRecord, of: audit_words.Thousand, place: int) -> str | None:
    """A picture of a thousand members, None where the audit cannot tell how many are found."""
    if of.found is None:
        return None
    found = f"{of.found} of 1,000 {audit_words.inside(record.subject)} found, between {of.low} and {of.high}"
    return audit_figures.dots(f"dots-{place}", of.low, of.high, found)


def _scale(record: AuditRecord) -> str | None:
    """Claim, bound and ceiling on one scale, None where there is no bound."""
    bound, claim = record.epsilon_lower, record.claim
    if bound is None:
        return None
    rows: list[tuple[str, float | None, str]] = []
    if claim is not None:
        rows.append((f"Claimed: at most {audit_words.epsilon(claim.epsilon)}", claim.epsilon, "claim"))
    rows.append((f"Shown ({bound.grade}): at least {audit_words.epsilon(bound.epsilon)}", bound.epsilon, bound.grade))
    if bound.ceiling is not None:
        text = f"Ceiling: this audit could have shown {audit_words.epsilon(bound.ceiling)}"
        rows.append((text, bound.ceiling, "ceiling"))
    return audit_figures.scale(record, rows)


def _known(value: Any) -> Any:
    """Nested values without those that are missing."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items() if _exists(item)}
    if isinstance(value, (list, tuple)):
        return [_known(item) for item in value if _exists(item)]
    return value


def _exists(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
