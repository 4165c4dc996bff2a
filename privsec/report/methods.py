"""How the run was made: threat models, defenses, settings, papers, versions."""

from __future__ import annotations

import re
from typing import Any

from privsec.attacks import ATTACKS
from privsec.core.access import Access
from privsec.core.attack import Attack
from privsec.defenses import DEFENSES
from privsec.report.catalog import QUESTIONS
from privsec.report.reading import Reading

Cited = list[tuple[str, str]]
"""A citation in pieces: (text, address), the address "" where there is none."""


def threats(reading: Reading) -> list[dict[str, Any]]:
    """By family, the threat model of each attack: goal, access, knowledge, queries, whether it adapts, paper."""
    configs = {a.get("label") or a.get("name"): a for a in reading.config.get("attacks") or ()}
    groups = []
    for family in reading.tested:
        rows = []
        for column in (c for c in reading.attacks if c.family == family):
            given = configs.get(column.label, {})
            spec = ATTACKS.specs.get(given.get("name", ""))
            needs = sorted(spec.requires) if spec else []
            rows.append(
                {
                    "label": column.label,
                    "access": column.access,
                    "knowledge": ", ".join(needs) or "nothing but the model",
                    "queries": _queries(reading, column.label),
                    "adaptive": _adaptive(spec) if spec else "not known",
                    "settings": settings(given),
                    "paper": cited(spec.paper) if spec else [],
                }
            )
        groups.append({"family": family, "goal": QUESTIONS.get(family, ""), "rows": rows})
    return groups


def _adaptive(spec: type[Attack]) -> str:
    """How an attack takes a defense into account."""
    if "references" in spec.requires:
        return "yes, through its references"
    differentiates = spec.family in ("evasion", "reprogramming") and Access.GRADIENTS in spec.needs
    if differentiates and getattr(spec, "adapts", True):
        return "yes, it differentiates past what hides the gradient"
    return "no"


def _queries(reading: Reading, attack: str) -> str:
    cells = [cell for defense in reading.defenses for cell in reading.cells(defense, attack)]
    counts = sorted({float(cell.facts["queries"]) for cell in cells if cell.facts.get("queries") is not None})
    if not counts:
        return "not counted"
    return f"{counts[0]:,.4g}" + (f" to {counts[-1]:,.4g}" if len(counts) > 1 else "")


def defenses(reading: Reading) -> list[dict[str, Any]]:
    """What each defense is made of, with its papers."""
    listed = reading.config.get("defenses") or {}
    return [{"name": name, "parts": [_part(given) for given in listed.get(name) or ()]} for name in reading.defenses]


def _part(given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("name", "")
    spec = DEFENSES.specs.get(name)
    return {
        "name": name,
        "stage": spec.stage if spec else "",
        "settings": settings(given),
        "paper": cited(spec.paper) if spec else [],
    }


def settings(given: dict[str, Any]) -> str:
    """The settings of a Spec in one line."""
    named = {key: value for key, value in given.items() if key not in ("name", "label") and value is not None}
    return ", ".join(f"{key} = {value}" for key, value in named.items())


_ADDRESS = re.compile(
    r"(?P<arxiv>arXiv[: ]*(\d{4}\.\d{4,5}))|(?P<url>https://[^\s,;]+)|(?P<doi>(?:doi[: ]*)?(10\.\d{4,}/[^\s,;]+))"
)


def cited(paper: str) -> Cited:
    """A citation with the addresses that its identifiers lead to.

    >>> cited("Yeom et al. 2018, arXiv 1709.01604")
    [('Yeom et al. 2018, ', ''), ('arXiv 1709.01604', 'https://arxiv.org/abs/1709.01604')]
    """
    pieces, end = [], 0
    for found in _ADDRESS.finditer(paper):
        url = found["url"] or (f"https://arxiv.org/abs/{found[2]}" if found["arxiv"] else f"https://doi.org/{found[5]}")
        pieces += [(paper[end : found.start()], ""), (found[0].removeprefix("https://"), url)]
        end = found.end()
    return [piece for piece in (*pieces, (paper[end:], "")) if piece[0]]


def flat(values: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested values as (path, text), in their own order."""
    if isinstance(values, dict):
        return [pair for key, value in values.items() for pair in flat(value, f"{path}.{key}".lstrip("."))]
    if isinstance(values, (list, tuple)) and any(isinstance(value, dict) for value in values):
        return [pair for place, value in enumerate(values) for pair in flat(value, f"{path}[{place}]")]
    if isinstance(values, (list, tuple)):
        return [(path, ", ".join(str(value) for value in values))]
    return [(path, f"{values:.4g}" if isinstance(values, float) else str(values))]


def facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """A run's record as one line for each of its parts; what is empty is left out.

    >>> facts({"device": "cpu", "versions": {"jax": "0.10", "numpy": "2.4"}, "git": ""})
    [('device', 'cpu'), ('versions', 'jax: 0.10; numpy: 2.4')]
    """
    parts = [(name, flat(value)) for name, value in record.items()]
    lines = [
        (name, "; ".join(f"{path}: {text}" if path else text for path, text in part if text)) for name, part in parts
    ]
    return [(name, text) for name, text in lines if text]
