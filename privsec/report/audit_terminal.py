"""An audit on the terminal: verdict, policy, the worst figures, epsilon with its grade, cautions."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from privsec.auditor.record import AuditRecord
from privsec.report import audit_tables, audit_words
from privsec.report.audit_page import SEVERITIES, audit_policy, look
from privsec.report.wording import wording

STYLES = {"leak": "bold red", "held": "bold green", "unmeasured": "bold yellow"}
OUTCOMES = {
    "passed": ("passed", "green"),
    "failed": ("FAILED", "bold red"),
    "not_resolved": ("not resolved", "bold red"),
}


def summary(record: AuditRecord) -> Group:
    """What `privsec audit` prints; nothing in it depends on color alone, nothing in the record is read as markup."""
    state, sign, name = look(record)
    parts: list[RenderableType] = ["", Text(f"{sign} {name}", style=STYLES[state])]
    parts += [Text(record.verdict.headline, style="bold"), *map(Text, record.verdict.sentences), ""]
    if record.worst:
        parts += [_worst(record), ""]
    parts += [Text(line) for line in _epsilons(record)]
    if (policy := audit_policy(record)) is not None:
        parts += ["", _policy(record, policy["outcome"], policy["counts"])]
    cautions = sorted(record.cautions, key=lambda caution: SEVERITIES.index(caution.severity))
    styles = {"invalid": "bold red", "warning": "yellow", "note": "dim"}
    parts += [""] * bool(cautions)
    parts += [Text.assemble((f"{c.severity}: ", styles[c.severity]), c.text, (f" [{c.code}]", "dim")) for c in cautions]
    return Group(*parts, "")


def _worst(record: AuditRecord) -> Table:
    """Each measure's worst attack."""
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left", caption_style="dim")
    sure = audit_words.percent(record.confidence)
    table.caption = f"the worst of all attacks; the {sure} intervals hold for all of them at once"
    for heading in ("measure", "value", "interval", "attack"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for measure in audit_tables.measures((), record.worst):
        cell = audit_tables.shown(record.worst[measure], measure)
        row = (wording(measure).title, cell.value, cell.interval, record.worst_attack.get(measure, ""))
        known = cell.status == "ok"
        table.add_row(*map(Text, row if known else (row[0], "open", cell.reason, "")), style="" if known else "dim")
    return table


def _epsilons(record: AuditRecord) -> list[str]:
    """The bound with its grade, and the claim."""
    bound, claim = record.epsilon_lower, record.claim
    lines = ["epsilon shown: no bound was computed"]
    if bound is not None:
        lines = [
            f"epsilon shown: at least {audit_words.epsilon(bound.epsilon)} ({bound.grade}; ceiling "
            f"{audit_tables.ceiling(bound)}, delta {audit_words.small(bound.delta)}, "
            f"{audit_words.percent(bound.confidence)} confidence)"
        ]
    if claim is not None:
        beyond = "; contradicted" if claim.contradicted and bound is not None and bound.grade == "proof" else ""
        beyond = beyond or ("; in doubt" if claim.contradicted else "")
        lines.append(f"epsilon claimed: {audit_words.epsilon(claim.epsilon)} ({claim.source}{beyond})")
    return lines


def _policy(record: AuditRecord, outcome: str, counts: str) -> Table:
    """Every rule with what was observed."""
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    word, style = OUTCOMES[outcome]
    table.caption = Text(f"policy {word}: {counts}", style=style)
    for heading in ("rule", "observed", "outcome", ""):
        table.add_column(heading)
    for rule in record.policy:
        observed = "no value" if rule.observed is None else f"{rule.observed:.6g}"
        word, style = OUTCOMES[rule.outcome]
        table.add_row(Text(rule.rule), Text(observed), Text(word, style=style), Text(rule.reason))
    return table
