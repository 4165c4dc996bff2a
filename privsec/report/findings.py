"""What a run shows, as numbered findings, so that silence is never mistaken for safety."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from privsec.report.catalog import IDENTIFIERS, ORDER, QUESTIONS, Finding, Outcome, Severity
from privsec.report.changes import Change, adjusted, change
from privsec.report.limits import limits
from privsec.report.reading import FAMILIES, Reading
from privsec.report.wording import count, full, interval, number

TOLERATED = 0.02
"""How far from 0.5 the AUC without the model may lie; chance alone moves it that far in small data sets."""


def find(reading: Reading) -> tuple[Finding, ...]:
    """All findings of a run, the most severe first."""
    checks = (_leaks, _hurts, _in_vain, _controls, _gaps, limits)
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
        unsure = [item for item in strongest if item[2].known.low <= 0]
        average = {d: best for d, *_ in unsure if (best := reading.on_average(d, family))}
        faint = [(d, *best) for d, best in average.items()]
        rest = [item for item in unsure if item[0] not in average]
        vague = [item for item in rest if item[2].says_nothing]
        held = [item for item in rest if not item[2].says_nothing]
        grade = _grade(leaking[0][2].known.value) if leaking else "low"
        parts: tuple[tuple[Outcome, Severity, str, str, list], ...] = (
            ("leak", grade, "leaks", "advantage", leaking),
            ("leak", "low", "better than guessing on average", "auc", faint),
            ("warning", "medium", "too small a run to tell", "advantage", vague),
            ("held", "info", "nothing above chance", "advantage", held),
        )
        for outcome, severity, found, measure, items in parts:
            if items:
                yield Finding(
                    f"PS{number_:03d}",
                    outcome,
                    severity,
                    f"{family.capitalize()}: {found} {_under(reading, [defense for defense, *_ in items])}",
                    f"{QUESTIONS[family]} {_SAID[found]}",
                    tuple(f"{d}: {c.label} ({c.access} access), {full(e.known, measure)}" for d, c, e in items),
                    _ACTIONS.get(outcome, _REMEDIES.get(family, _REMEDY)),
                    IDENTIFIERS.get(family, ()),
                )


_SAID = {
    "leaks": "An attacker answers better than one who never met the model. The strongest attack on each, by advantage:",
    "better than guessing on average": "At 1% false positives no attack tried names members measurably better than "
    "guessing, but over all records members rank above others more often than not. The highest AUC on each:",
    "too small a run to tell": "The interval reaches from no success to a complete one. The strongest on each:",
    "nothing above chance": "No attack tried did measurably better than one who never met the model. A stronger one "
    "may; the upper end of the interval says how much these attacks could have missed. The strongest on each, by "
    "advantage:",
}
_ACTIONS: dict[Outcome, str] = {
    "held": "Keep the attacks in the suite and repeat them whenever data, model or training change.",
    "warning": "Train more models, attack more records or run more seeds.",
}
_REMEDY = "Compare defenses against this attack before the model is served."
_REMEDIES = {
    "membership": "Train with differential privacy or stronger regularization, and choose by the plane of leakage "
    "against accuracy. Defenses that only change the answers do not stop an attacker who has the weights, or asks for "
    "labels alone.",
    "poisoning": "Know where every training record comes from. Look for what stands out before training, and keep a "
    "clean set aside that no supplier can reach: detectors need one, and so does noticing that anything happened.",
    "inversion": "Train with differential privacy; against attackers who do not hold the model, serve less detailed "
    "scores. Look at the reconstructions: what matters is whether they resemble a person or record, not only a class.",
}


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
                    "A classifier that never saw the model tells them apart, so the attack's figures are not about the "
                    "model alone.",
                    (f"AUC without the model: {full(control.known, 'null_auc')}",),
                    "Split members and non-members at random from one source and run again.",
                    IDENTIFIERS["membership"],
                )
                return


def _gaps(reading: Reading) -> Iterator[Finding]:
    """PS024: overfitting."""
    wide = [(d, e) for d in reading.defenses if (e := reading.entry(d, "", "gap")).resolved and e.known.low > 0.1]
    if wide:
        evidence = tuple(f"{defense}: {full(entry.known, 'gap')}" for defense, entry in wide)
        text = "Train accuracy is over ten points above test accuracy. What is memorized is what attacks recognize."
        action = "Regularize, stop earlier or use more data; often cheaper than a privacy defense, though no guarantee."
        yield Finding(
            "PS024", "warning", "low", f"Overfitting under {', '.join(d for d, _ in wide)}", text, evidence, action
        )


def _changed(made: Change, style: Literal["share", "two"] = "two") -> str:
    e = made.estimate
    counted = f" {made.counted}" if made.paired else ""
    return f"{number(e.value, style, sign=True)} {interval(e, style, sign=True)}, {count(e)}{counted}"
