"""What changes from one model to another: a difference with its interval, paired where targets are the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from privsec.core.estimate import Estimate
from privsec.measures.intervals import cluster_mean, holm, paired_difference
from privsec.report.reading import Reading
from privsec.runner.results import CellResult


class Change(NamedTuple):
    """A difference of two Estimates.

    Attributes:
        estimate: after - before with its 95% interval; n counts independent pairs of models where paired.
        p: two-sided p-value of no difference.
        paired: whether the same targets stood on both sides.
    """

    estimate: Estimate
    p: float
    paired: bool


def unpaired(before: Estimate, after: Estimate) -> Change:
    """The difference of two independent Estimates, from nothing but their intervals.

    The limits recover each side's variance at the end that matters (Zou & Donner 2008, doi 10.1002/sim.3095), so
    intervals that are not symmetric stay so; the p-value reads the interval as a normal one.

    >>> unpaired(Estimate(0.5, 0.4, 0.6, 100), Estimate(0.2, 0.1, 0.3, 100)).estimate.high < 0
    True
    """
    value = after.value - before.value
    low = value - math.hypot(after.value - after.low, before.high - before.value)
    high = value + math.hypot(after.high - after.value, before.value - before.low)
    spread = (high - low) / (2 * ndtri(0.975))
    p = float(2 * ndtr(-abs(value) / spread)) if spread > 0 else float(value == 0)
    return Change(Estimate(value, low, high, min(before.n, after.n), after.unit, after.direction), p, False)


def paired(before: Sequence[CellResult], after: Sequence[CellResult], measure: str) -> Change | None:
    """The mean difference over targets that stand on both sides, None where they do not line up or are too few.

    Targets 2p and 2p + 1 share every record between them, so a pair of models is one observation.
    """
    sides = [
        {c.seed: np.asarray(c.per_target[measure], float) for c in cells if measure in c.per_target}
        for cells in (before, after)
    ]
    seeds = sorted(sides[0])
    if not seeds or seeds != sorted(sides[1]) or any(sides[0][s].shape != sides[1][s].shape for s in seeds):
        return None
    first, second = (np.concatenate([side[s] for s in seeds]) for side in sides)
    clusters = np.concatenate([np.arange(len(sides[0][s])) // 2 for s in seeds])
    of_seed = np.repeat(seeds, [len(sides[0][s]) for s in seeds])
    mean = cluster_mean(second - first, clusters, of_seed)
    if mean.df == 0:
        return None
    return Change(paired_difference(second, first, clusters, of_seed), mean.p_value, True)


def change(reading: Reading, defense: str, attack: str, measure: str) -> Change | None:
    """What `defense` changes in `measure` against the undefended run, None where one side has no value."""
    if reading.baseline is None or defense == reading.baseline:
        return None
    before, after = (reading.entry(d, attack, measure) for d in (reading.baseline, defense))
    if not (before.resolved and after.resolved):
        return None
    same = paired(reading.cells(reading.baseline, attack), reading.cells(defense, attack), measure)
    return same or unpaired(before.known, after.known)


def worst_change(reading: Reading, defense: str) -> Change | None:
    """How far `defense` moves the worst advantage, whichever attack is the worst on either side."""
    undefended = reading.worst(reading.baseline) if reading.baseline else None
    defended = reading.worst(defense)
    if undefended is None or defended is None:
        return None
    (before, first), (after, second) = undefended, defended
    if before == after and (same := change(reading, defense, before.label, "advantage")):
        return same
    return unpaired(first.known, second.known)


def adjusted(reading: Reading) -> dict[tuple[str, str], tuple[Change, float]]:
    """Every change of advantage against "no defense" with its p-value adjusted over the whole table (Holm)."""
    found = {
        (defense, column.label): made
        for defense in reading.defenses
        for column in reading.attacks
        if (made := change(reading, defense, column.label, "advantage"))
    }
    p_values = holm([made.p for made in found.values()])
    return {key: (made, float(p)) for (key, made), p in zip(found.items(), p_values, strict=True)}
