"""The tables of an audit's page, as plain values for the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from privsec.auditor.record import AttackResult, AuditRecord, Bound, Claim, Figure, Slice
from privsec.measures.membership import FPRS, MEASURES
from privsec.report.audit_words import epsilon, percent, small
from privsec.report.sections import Shown
from privsec.report.wording import Style, number, wording

FEW = 12
"""How many slices are shown at once; all of them stand below."""
OF_SLICES = ("auc", "tpr_at_1pct_fpr")
"""The measures of a slice that are shown, where it has them."""


class BoundCell(NamedTuple):
    """A bound on epsilon as a table shows it; the grade is never left out."""

    value: str
    ceiling: str
    grade: str
    n: str


class Promise(NamedTuple):
    """What a claim allows, beside what was measured.

    Attributes:
        name: of the figure.
        allowed: the most that the claim leaves to any attacker.
        measured: the worst attack's.
        guessing: what an attacker has who never met the model.
        relation: whether the measured interval lies beyond the claim, within it, or on both sides.
    """

    name: str
    allowed: str
    measured: Shown
    guessing: str
    relation: str


def interval(figure: Figure, style: Style) -> str:
    r"""A figure's interval as text.

    >>> interval(Figure(value=0.6, low=0.55, high=None, n=9), "two")
    'at least 0.55'
    """
    if figure.low is None:
        return "" if figure.high is None else f"at most {number(figure.high, style)}"
    if figure.high is None:
        return f"at least {number(figure.low, style)}"
    low, high = (number(end, style).removesuffix("%") for end in (figure.low, figure.high))
    return f"[{low},\N{NO-BREAK SPACE}{high}]"


def shown(figure: Figure | None, name: str, mark: str = "") -> Shown:
    """A figure as a table shows it; without a value its reason stands there instead."""
    if figure is None:
        return Shown("", "", "", "not_applicable", "not measured")
    if figure.value is None:
        return Shown("", "", "", "open", figure.note or "not resolved")
    style = wording(name).style
    n = f"{figure.n:,}" if figure.n else ""
    return Shown(number(figure.value, style), interval(figure, style), n, "ok", figure.note, 0.0, mark)


def measures(parts: Sequence[AttackResult | Slice], *more: dict[str, Figure]) -> list[str]:
    """The measures that any of them has, in the order of tables."""
    found = dict.fromkeys(name for given in (*(part.measures for part in parts), *more) for name in given)
    return [*(name for name in MEASURES if name in found), *(name for name in found if name not in MEASURES)]


def attacks(record: AuditRecord, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row an attack: its measures, or why it has none."""
    return [
        {
            "attack": attack,
            "queries": "not counted" if attack.queries is None else f"{attack.queries:,.4g}",
            "cells": [
                shown(attack.measures.get(name), name, "worst" * (record.worst_attack.get(name) == attack.title))
                for name in names
            ],
        }
        for attack in record.attacks
    ]


def bound_matrix(record: AuditRecord) -> tuple[list[Bound], list[tuple[str, list[BoundCell | None]]]]:
    """(a bound of each method, (attack, its bound by each method)); None where the attack lacks it."""
    methods = {(bound.name, bound.title): bound for attack in record.attacks for bound in attack.bounds}
    rows = []
    for attack in record.attacks:
        own = {(bound.name, bound.title): bound for bound in attack.bounds}
        if own:
            rows.append((attack.title, [bound_cell(own[key]) if key in own else None for key in methods]))
    return list(methods.values()), rows


def bound_cell(bound: Bound) -> BoundCell:
    """A bound as text."""
    return BoundCell(epsilon(bound.epsilon), ceiling(bound), bound.grade, f"{bound.n:,}")


def ceiling(bound: Bound) -> str:
    """The most that the bound's method can show, as text."""
    return "none" if bound.ceiling is None else epsilon(bound.ceiling)


def headings(methods: Sequence[Bound]) -> tuple[str, list[str]]:
    """(what all bounds hold for, the methods' titles, each with what it holds for where that differs)."""
    terms = [f"delta {small(bound.delta)}, {percent(bound.confidence)} confidence" for bound in methods]
    if len(set(terms)) == 1:
        return terms[0], [bound.title for bound in methods]
    return "", [f"{bound.title} ({term})" for bound, term in zip(methods, terms, strict=True)]


def promises(record: AuditRecord) -> list[Promise]:
    """What the claim implies for any attacker, beside the worst that was measured."""
    claim = record.claim
    if claim is None or claim.epsilon is None:
        return []
    allowed = {
        "tpr_at_1pct_fpr": claim.tpr_at_1pct_fpr,
        "tpr_at_0.1pct_fpr": claim.tpr_at_01pct_fpr,
        "advantage": claim.advantage,
    }
    rows = [_epsilons(record, claim)] if record.epsilon_lower else []
    for name, most in allowed.items():
        figure, style = record.worst.get(name), wording(name).style
        guessing = number(0.0 if name == "advantage" else FPRS[name], style)
        rows.append(
            Promise(wording(name).title, number(most, style), shown(figure, name), guessing, _relation(figure, most))
        )
    return rows


def _epsilons(record: AuditRecord, claim: Claim) -> Promise:
    bound = record.epsilon_lower
    assert bound is not None
    beside = f"{bound.grade}, ceiling {ceiling(bound)}"
    floor = Shown(f"at least {epsilon(bound.epsilon)}", beside, f"{bound.n:,}", "ok")
    relation = "does not contradict the claim"
    if claim.contradicted:
        relation = "beyond the claim" if bound.grade == "proof" else "beyond the claim, as a heuristic"
    return Promise("epsilon", epsilon(claim.epsilon), floor, "0.00", relation)


def _relation(figure: Figure | None, most: float) -> str:
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return "not resolved"
    if figure.low > most:
        return "beyond the claim"
    return "within the claim" if figure.high <= most else "undecided"


def slices(record: AuditRecord) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """(measures, the slices that stand out most, all slices in their order; empty where the former are all)."""
    names = measures(record.slices)
    names = [name for name in names if name in OF_SLICES] or names
    rows = [(_urgency(part), _slice(part, names)) for part in record.slices]
    every = [row for _, row in rows]
    if len(rows) <= FEW:
        return names, every, []
    return names, [row for _, row in sorted(rows, key=lambda pair: pair[0])[:FEW]], every


def _urgency(part: Slice) -> tuple[float, float]:
    auc = part.measures.get("auc")
    return (2.0 if part.p_value is None else part.p_value, -(auc.value if auc and auc.value is not None else 0.0))


def _slice(part: Slice, names: Sequence[str]) -> dict[str, Any]:
    p = "not tested" if part.p_value is None else "< 0.001" if part.p_value < 0.001 else f"{part.p_value:.3f}"
    return {
        "slice": part,
        "cells": [shown(part.measures.get(name), name) for name in names],
        "p": p,
        "mark": "differs" if part.p_value is not None and part.p_value < 0.05 else "",
    }
