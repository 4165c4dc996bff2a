"""The strongest attack, slice by slice: by class, by whether the model is right, by any attribute that was given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from privsec.auditor.pool import Pool, class_name
from privsec.auditor.record import Slice, figures
from privsec.core.evidence import MembershipScores
from privsec.measures.intervals import holm
from privsec.measures.slices import single

MOST = 50
"""Slices of one attribute that are shown: the largest."""


def attributes(pool: Pool, correct: np.ndarray | None) -> dict[str, np.ndarray]:
    """Attribute -> each record's value as text."""
    found = {}
    if pool.y is not None:
        codes = np.unique(pool.y)
        found["class"] = np.array([class_name(pool.names, int(code)) for code in codes])[np.searchsorted(codes, pool.y)]
    if correct is not None:
        found["prediction"] = np.where(correct > 0, "right", "wrong")
    return found | {name: np.asarray(values).astype(str) for name, values in pool.side.slices.items()}


def slices(scores: np.ndarray, member: np.ndarray, by: Mapping[str, np.ndarray], alpha: float) -> tuple[Slice, ...]:
    """The measures on each slice, and whether its AUC differs from that of all other records.

    Args:
        scores: of one attack, [N]; NaN = not attacked.
        member: bool [N].
        by: attribute -> values [N].
        alpha: of each slice's intervals.
    """
    answer = []
    for attribute, values in by.items():
        names, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
        largest = np.argsort(-counts, kind="stable")[:MOST]
        shown = sorted(largest.tolist(), key=lambda code: _natural(str(names[code])))
        place = np.full(len(names), -1)
        place[shown] = np.arange(len(shown))
        parts = single(
            MembershipScores(scores[None]), member[None], place[codes], [str(names[code]) for code in shown], alpha
        )
        answer += [(attribute, part) for part in parts]
    adjusted = holm([part.p_value for _, part in answer])  # once more, over all attributes together
    return tuple(
        Slice(
            attribute=attribute,
            value=part.name,
            members=part.members,
            non_members=part.non_members,
            measures=figures(part.estimates),
            p_value=float(p),
        )
        for (attribute, part), p in zip(answer, adjusted, strict=True)
    )


def _natural(name: str) -> tuple[int, float, str]:
    return (0, float(name), "") if name.lstrip("-").isdigit() else (1, 0.0, name)
