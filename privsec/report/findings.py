"""What a run shows, as numbered findings, so that silence is never mistaken for safety."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from privsec.report.changes import Change, adjusted, change
from privsec.report.wording import full, interval, number
from privsec.report.reading import FAMILIES, Reading

Outcome = Literal["leak", "held", "warning", "failed", "not_applicable", "not_tested"]
Severity = Literal["critical", "high", "medium", "low", "info"]
ORDER: tuple[Severity, ...] = ("critical", "high", "medium", "low", "info")

TOLERATED = 0.02
"""How far from 0.5 the AUC without the model may lie; chance alone moves it that far in small data sets."""

IDENTIFIERS: dict[str, tuple[str, ...]] = {
    "membership": ("MITRE ATLAS AML.T0024.000", "OWASP ML04", "NISTAML.033"),
    "inversion": ("MITRE ATLAS AML.T0024.001", "OWASP ML03", "NISTAML.032"),
    "extraction": ("MITRE ATLAS AML.T0024.002", "OWASP ML05", "NISTAML.031"),
    "evasion": ("MITRE ATLAS AML.T0015", "MITRE ATLAS AML.T0043", "OWASP ML01", "NISTAML.022", "NISTAML.025"),
    "poisoning": (
        "MITRE ATLAS AML.T0020",
        "MITRE ATLAS AML.T0018",
        "OWASP ML02",
        "OWASP ML10",
        "NISTAML.013",
        "NISTAML.023",
    ),
}
"""Where a kind of attack stands in the public catalogs of threats (OWASP: Machine Learning Security Top Ten, 2023)."""

QUESTIONS = {
    "membership": "Was this record in the training set?",
    "inversion": "What do the training data of a class look like?",
    "evasion": "Can an input be changed a little so that the answer is wrong?",
    "poisoning": "Can whoever supplies training data steer the model?",
    "reprogramming": "Can the model be made to do somebody else's task?",
    "extraction": "Can the model be copied through its answers?",
}


class Finding(NamedTuple):
    """One thing the run shows.

    Attributes:
        code: "PS001" ...; the same code means the same check in every report.
        outcome: one of six; only "held" is good news, and it speaks for the attacks that ran.
        severity: how much it matters to the model's owner.
        title, text: in plain words.
        evidence: the figures it rests on, each with interval and n.
        action: what to do.
        identifiers: where the threat stands in public catalogs.
    """

    code: str
    outcome: Outcome
    severity: Severity
    title: str
    text: str
    evidence: tuple[str, ...]
    action: str
    identifiers: tuple[str, ...] = ()


def find(reading: Reading) -> tuple[Finding, ...]:
    """All findings of a run, the most severe first."""
    checks = (
        _leaks,
        _certificates,
        _hurts,
        _in_vain,
        _controls,
        _thin,
        _gaps,
        _warned,
        _failures,
        _not_applicable,
        _not_tested,
    )
    found = [finding for check in checks for finding in check(reading)]
    return tuple(sorted(found, key=lambda finding: (ORDER.index(finding.severity), finding.code, finding.title)))


def _grade(advantage: float) -> Severity:
    return "high" if advantage >= 0.25 else "medium" if advantage >= 0.05 else "low"


def _under(reading: Reading, defenses: Sequence[str]) -> str:
    named = [d for d in defenses if d != reading.baseline]
    parts = ["without a defense"] * (reading.baseline in defenses) + [f"under {', '.join(named)}"] * bool(named)
    return " and ".join(parts)


def _leaks(reading: Reading) -> Iterator[Finding]:
    """PS001, PS002, ...: per family, where it leaks and where it held."""
    for number_, family in enumerate(FAMILIES, start=1):
        strongest = [(d, *worst) for d in reading.defenses if (worst := reading.worst(d, family))]
        leaking = sorted((item for item in strongest if item[2].known.low > 0), key=lambda item: -item[2].known.value)
        held = [item for item in strongest if item[2].known.low <= 0]
        for outcome, items in (("leak", leaking), ("held", held)):
            if items:
                where = _under(reading, [defense for defense, *_ in items])
                found = f"leaks {where}" if outcome == "leak" else f"nothing above chance {where}"
                yield Finding(
                    f"PS{number_:03d}",
                    outcome,
                    _grade(items[0][2].known.value) if outcome == "leak" else "info",
                    f"{family.capitalize()}: {found}",
                    f"{QUESTIONS[family]} {_SAID[outcome]}",
                    tuple(f"{d}: {c.label} ({c.access} access), {full(e.known, 'advantage')}" for d, c, e in items),
                    _REMEDIES.get(family, _REMEDY) if outcome == "leak" else _KEEP,
                    IDENTIFIERS.get(family, ()),
                )


_SAID = {
    "leak": "An attacker answers better than one who never met the model. The strongest attack on each, by advantage:",
    "held": "No attack tried did measurably better than one who never met the model. A stronger one may; the upper end of the "
    "interval says how much these attacks could have missed. The strongest on each, by advantage:",
}
_KEEP = "Keep the attacks in the suite and repeat them whenever data, model or training change."
_REMEDY = "Compare defenses against this attack before the model is served."
_REMEDIES = {
    "membership": "Train with differential privacy or stronger regularization, and choose by the plane of leakage against "
    "accuracy. Defenses that only change the answers do not stop an attacker who has the weights, or asks for labels alone.",
    "inversion": "Serve less detailed scores, or train with differential privacy, and look at the reconstructions: what matters "
    "is whether they resemble a person or record, not only a class.",
}


def _certificates(reading: Reading) -> Iterator[Finding]:
    """PS010: an attack that beats what the accountant proved means that something is implemented wrongly."""
    for defense in reading.defenses:
        claimed = reading.entry(defense, "", "epsilon_claimed")
        if not claimed.resolved:
            continue
        epsilon = claimed.known.value
        delta = max(
            (float(d.get("delta", 0) or 0) for d in reading.config.get("defenses", {}).get(defense, ())), default=0.0
        )
        for column in reading.attacks:
            for measure, rate in (("tpr_at_1pct_fpr", 0.01), ("tpr_at_0.1pct_fpr", 0.001)):
                shown = reading.entry(defense, column.label, measure)
                bound = min(math.exp(min(epsilon, 50.0)) * rate, 1 - math.exp(-epsilon) * (1 - delta - rate)) + delta
                if shown.resolved and shown.known.low > bound:
                    yield Finding(
                        "PS010",
                        "warning",
                        "critical",
                        f"{defense}: {column.label} beats the privacy guarantee",
                        "A model trained with the claimed epsilon cannot be attacked this well, so the accounting, the noise or "
                        "the split of members is wrong, or records depend on each other.",
                        (
                            f"{full(shown.known, measure)}, against a bound of {number(bound, 'share')} at epsilon {epsilon:.3g}",
                        ),
                        "Do not rely on the stated epsilon before this is explained.",
                        IDENTIFIERS["membership"],
                    )


def _hurts(reading: Reading) -> Iterator[Finding]:
    """PS011: a defense that helps one attack's victims and harms another's."""
    table = adjusted(reading)
    for defense in reading.defenses:
        changes = {attack: made for (d, attack), (made, p) in table.items() if d == defense and p < 0.05}
        worse = {a: made for a, made in changes.items() if made.estimate.value > 0}
        better = {a: made for a, made in changes.items() if made.estimate.value < 0}
        if worse:
            helped = f" while it helps against {', '.join(better)}" if better else ""
            yield Finding(
                "PS011",
                "warning",
                "high",
                f"{defense} makes {', '.join(worse)} stronger",
                f"Against the undefended model the advantage rises{helped} (significant over the whole table, Holm).",
                tuple(f"{attack}: {_changed(made)}" for attack, made in changes.items()),
                "Judge a defense by its worst attack, not by the one it was made for.",
            )


def _in_vain(reading: Reading) -> Iterator[Finding]:
    """PS012: accuracy paid for nothing."""
    for defense in reading.defenses:
        cost = change(reading, defense, "", "test_accuracy")
        gains = [change(reading, defense, column.label, "advantage") for column in reading.attacks]
        known = [made for made in gains if made]
        if cost and cost.estimate.high < 0 and known and not any(made.estimate.high < 0 for made in known):
            yield Finding(
                "PS012",
                "warning",
                "medium",
                f"{defense} costs accuracy and lowers no attack measurably",
                "Every attack measured on both is as strong as without the defense, within its interval.",
                (f"test accuracy: {_changed(cost, 'share')}",),
                "Strengthen it or leave it out.",
            )


def _controls(reading: Reading) -> Iterator[Finding]:
    """PS020: members and non-members that differ without any model."""
    for defense in reading.defenses:
        for column in reading.attacks:
            control = reading.entry(defense, column.label, "null_auc")
            known = control.estimate
            if known and control.resolved and abs(known.value - 0.5) > TOLERATED and not known.low <= 0.5 <= known.high:
                yield Finding(
                    "PS020",
                    "warning",
                    "high",
                    f"Members and non-members differ without the model ({defense}, {column.label})",
                    "A classifier that never saw the model tells them apart, so the attack's figures are not about the model alone.",
                    (f"AUC without the model: {full(control.known, 'null_auc')}",),
                    "Split members and non-members at random from one source and run again.",
                    IDENTIFIERS["membership"],
                )
                return


def _thin(reading: Reading) -> Iterator[Finding]:
    """PS021, PS022, PS023: what the run is too small or too bare to say."""
    thin: dict[str, list[str]] = {}
    for defense in reading.defenses:
        for column in reading.attacks:
            for name in reading.measures(column.family):
                entry = reading.entry(defense, column.label, name)
                if entry.status == "ok" and not entry.resolved:
                    thin.setdefault(f"{name}: {entry.reason}", []).append(f"{defense} / {column.label}")
    if thin:
        evidence = tuple(f"{what} ({len(where)} cells)" for what, where in thin.items())
        text = "These figures need more records or targets than the run has; they are left open instead of guessed."
        yield Finding(
            "PS021",
            "warning",
            "low",
            "Figures not resolvable at this n",
            text,
            evidence,
            "Attack more records or train more models.",
        )
    seeds = {cell.seed for cell in reading.results.cells}
    if len(seeds) == 1:
        text = "Intervals speak for these models and this split; another seed may move every figure."
        yield Finding(
            "PS022", "warning", "low", "A single seed", text, (f"seed {min(seeds)}",), "Run at least three seeds."
        )
    if reading.baseline is None:
        text = "Without the undefended model, no figure here can say what a defense buys or costs."
        action = "Add `none: []` to the config's defenses."
        yield Finding("PS023", "not_tested", "medium", "No undefended model", text, (), action)


def _gaps(reading: Reading) -> Iterator[Finding]:
    """PS024: overfitting."""
    wide = [(d, e) for d in reading.defenses if (e := reading.entry(d, "", "gap")).resolved and e.known.low > 0.1]
    if wide:
        evidence = tuple(f"{defense}: {full(entry.known, 'gap')}" for defense, entry in wide)
        text = "Train accuracy is more than ten points above test accuracy. Memorized records are the ones that attacks recognize."
        action = "Regularize, stop earlier or use more data; often cheaper than a privacy defense, though no guarantee."
        yield Finding(
            "PS024", "warning", "low", f"Overfitting under {', '.join(d for d, _ in wide)}", text, evidence, action
        )


def _warned(reading: Reading) -> Iterator[Finding]:
    """PS025: what attacks and trainings remarked about themselves."""
    remarks: dict[str, list[str]] = {}
    for cell in reading.results.cells:
        for remark in cell.facts.get("warnings") or ():
            remarks.setdefault(str(remark), []).append(" / ".join(filter(None, (cell.defense, cell.attack))))
    if remarks:
        evidence = tuple(f"{', '.join(dict.fromkeys(where))}: {remark}" for remark, where in remarks.items())
        text = "The figures stand, but not without these remarks."
        yield Finding(
            "PS025", "warning", "medium", "Remarks from the run", text, evidence, "Read them before quoting a figure."
        )


def _failures(reading: Reading) -> Iterator[Finding]:
    """PS030, PS031: cells that should have run."""
    if blanks := reading.blanks("failed"):
        text = "They should have given a figure and did not. Nothing is known about them."
        action = "Mend the cause and start the same command again; finished cells are kept."
        yield Finding("PS030", "failed", "medium", f"Failed: {_cells(blanks)}", text, _grouped(blanks), action)
    broken = [cell for cell in reading.results.failed if cell.family == "utility"]
    if broken:
        evidence = tuple(f"{cell.defense}, seed {cell.seed}: {cell.reason}" for cell in broken)
        text = "What these defenses cost in accuracy is not fully known."
        yield Finding(
            "PS031",
            "failed",
            "medium",
            "Utility not measured everywhere",
            text,
            evidence,
            "Mend the cause and run again.",
        )


def _not_applicable(reading: Reading) -> Iterator[Finding]:
    """PS032: pairs that make no sense, each with its reason."""
    if blanks := reading.blanks("not_applicable"):
        text = "These attacks cannot be carried out on these models as they are. An attacker with more access may still do so."
        action = "Check that the access assumed here is all an attacker can get."
        title = f"Not applicable: {_cells(blanks)}"
        yield Finding("PS032", "not_applicable", "info", title, text, _grouped(blanks), action)


def _cells(blanks: Sequence[tuple[str, str, str]]) -> str:
    return f"{len(blanks)} cell{'s' * (len(blanks) != 1)}"


def _grouped(blanks: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
    """One line for each defense and reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for defense, attack, reason in blanks:
        groups.setdefault((defense, reason), []).append(attack)
    return tuple(f"{defense} / {', '.join(attacks)}: {reason}" for (defense, reason), attacks in groups.items())


def _not_tested(reading: Reading) -> Iterator[Finding]:
    """PS040: kinds of attack that this run did not try."""
    absent = [family for family in FAMILIES if family not in reading.tested]
    if absent:
        catalogs = {family: ", ".join(IDENTIFIERS.get(family, ("in no catalog",))) for family in absent}
        evidence = tuple(f"{family.capitalize()}: {QUESTIONS[family]} ({catalogs[family]})" for family in absent)
        text = "No attack of these kinds was in the run, so the report says nothing about them."
        action = "Add those to the config that matter for this model."
        yield Finding("PS040", "not_tested", "info", f"Not tested: {', '.join(absent)}", text, evidence, action)


def _changed(made: Change, style: Literal["share", "two"] = "two") -> str:
    e = made.estimate
    return f"{number(e.value, style, sign=True)} {interval(e, style, sign=True)}, n = {e.n:,}{' pairs of models' if made.paired else ''}"
