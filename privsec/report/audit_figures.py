"""The pictures of an audit: people as dots, epsilon on a scale, the ROC curves of all attacks."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from privsec.auditor.record import AttackResult, AuditRecord
from privsec.privacy.accounting import tpr_bound
from privsec.report import figures

COLORED = len(figures.SERIES)
"""How many attacks have a color; the others are grey."""
GRID = np.logspace(-3, 0, 121)
"""Where the curves are drawn."""
ACROSS, CELL = 50, 8
"""Dots in a row of a thousand, and the side of a dot's square in pixels."""
VISIBLE = 0.999
"""A claim that leaves this true positive rate at every false positive rate shades nothing that can be seen."""
FARTHEST = 2.5
"""A claim this many times beyond everything else would squeeze the scale: an arrow stands for it."""


class Curves(NamedTuple):
    """The ROC of all attacks: the figure, its legend of (swatch, attack), and whether a claim's region is in it."""

    figure: str
    legend: list[tuple[str, str]]
    limited: bool


def dots(name: str, sure: int, perhaps: int, title: str) -> str:
    """A thousand people as dots: the first `sure` full, from there to `perhaps` half, the others faint."""
    width, height = ACROSS * CELL, 1000 // ACROSS * CELL
    middle, radius = CELL / 2, CELL * 0.36
    looks = (("rest", "rule", 1.0, 1000), ("perhaps", "accent", 0.45, perhaps), ("sure", "accent", 1.0, sure))
    patterns, areas = [], []
    for look, color, opacity, count in looks:
        rows, over = divmod(max(0, min(count, 1000)), ACROSS)
        patterns.append(
            f'<pattern id="{name}-{look}" width="{CELL}" height="{CELL}" patternUnits="userSpaceOnUse">'
            f'<rect width="{CELL}" height="{CELL}" style="fill: var(--panel)"/>'
            f'<circle cx="{middle:g}" cy="{middle:g}" r="{radius:g}" style="fill: var(--{color})" '
            f'fill-opacity="{opacity:g}"/></pattern>'
        )
        path = f"M0 0H{width}V{rows * CELL}H{over * CELL}V{(rows + (over > 0)) * CELL}H0Z"
        areas += [f'<path d="{path}" fill="url(#{name}-{look})"/>'] if rows or over else []
    return (
        f'<svg class="dots" role="img" aria-labelledby="{name}-title" viewBox="0 0 {width} {height}">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f"<defs>{''.join(patterns)}</defs>{''.join(areas)}</svg>"
    )


def scale(record: AuditRecord, rows: Sequence[tuple[str, float | None, str]]) -> str:
    """Epsilons as bars from 0.

    Args:
        record: whose they are; says whether the claim is contradicted.
        rows: (what is written over the bar, its length, look) from top to bottom; None is without end, looks are
            `"claim"`, `"proof"`, `"heuristic"` and `"ceiling"`.
    """
    known = [value for _, value, look in rows if value is not None and look != "claim"]
    claims = [value for _, value, look in rows if value is not None and look == "claim"]
    largest = max(known, default=0.0)
    end = max([value for value in claims if not known or value <= FARTHEST * max(largest, 1)] + [largest, 0.5]) * 1.08
    with figures.canvas(4.6, 0.5 + 0.52 * len(rows)) as (figure, axes):
        axes.set_position((0.02, 0.42 / figure.get_figheight(), 0.96, 1 - 0.44 / figure.get_figheight()))
        for place, (text, value, look) in enumerate(rows):
            y = len(rows) - place
            beyond = value is None or value > end
            length = end if beyond else value
            axes.barh(y - 0.72, length, height=0.26, align="edge", **_LOOKS[look])
            if beyond:
                axes.plot(end, y - 0.59, ">", color="#020202", markersize=6, clip_on=False)
            weight = "bold" if look in _BOLD else "normal"
            axes.text(0, y - 0.38, text, va="baseline", color="#010101", weight=weight, zorder=4)
            if look == "claim" and not beyond:
                color = "#060606" if record.claim and record.claim.contradicted else "#020202"
                axes.plot([value, value], [0, y - 0.72], color=color, linewidth=1, linestyle=(0, (3, 2)), zorder=3)
        axes.set_xlim(0, end)
        axes.set_ylim(0, len(rows))
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("epsilon  (0: nothing can be learned about one record)")
        return figures.inline(
            figure, "epsilon-scale", "Epsilon: claimed, shown, ceiling", "; ".join(r[0] for r in rows)
        )


_LOOKS = {
    "claim": {"color": "#020202", "alpha": 0.55},
    "proof": {"color": "#050505"},
    "heuristic": {"facecolor": "#040404", "edgecolor": "#050505", "hatch": "////", "linewidth": 1.0},
    "ceiling": {"color": "#030303"},
}
_BOLD = ("proof", "heuristic")


def curves(record: AuditRecord) -> Curves | None:
    """The ROC curves of all attacks, the strongest in color; None where there is none."""
    drawn = sorted((attack for attack in record.attacks if attack.roc), key=_strength, reverse=True)
    if not drawn:
        return None
    found = [
        figures.Curve(attack.title, GRID, *[_along(attack)] * 3, series=index if index < COLORED else None)
        for index, attack in enumerate(drawn)
    ]
    legend = [(figures.swatch(curve.series), curve.label) for curve in found[:COLORED]]
    legend += [(figures.swatch(None), "other attacks")] if len(found) > COLORED else []
    limit = None
    if (claim := record.claim) is not None:
        allowed = tpr_bound(math.inf if claim.epsilon is None else claim.epsilon, claim.delta, GRID)
        limit = (GRID, allowed) if allowed.min() < VISIBLE else None
    svg = figures.roc("audit-roc", "ROC curves of the attacks", found[::-1], size=(4.6, 4.0), limit=limit)
    return Curves(svg, legend, limit is not None)


def _strength(attack: AttackResult) -> float:
    of = (attack.measures.get(name) for name in ("advantage", "auc"))
    return next((figure.value for figure in of if figure and figure.value is not None), -math.inf)


def _along(attack: AttackResult) -> Float64[np.ndarray, " P"]:
    """The curve on the grid, each rate the largest at no more false positives; NaN where no step is so far left."""
    fpr, tpr = np.array(sorted(attack.roc), np.float64).T
    step = np.searchsorted(fpr, GRID * (1 + 1e-9), side="right") - 1
    first = fpr[fpr > 0].min() if (fpr > 0).any() else 1.0
    return np.where(GRID * (1 + 1e-9) >= first, tpr[np.maximum(step, 0)], np.nan)
