"""What changes from one model to another: a difference with its interval, paired where targets or points are the same.

Membership is a matter of many models, and the same ones (trained on the same records) stand on both sides. Evasion,
reprogramming and extraction are shares of points, and the same points are asked about on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from privsec.core.estimate import Estimate
from privsec.measures.intervals import cluster_mean, holm, paired_difference, shared_points
from privsec.report.reading import Reading
from privsec.runner import judge
from privsec.runner.results import CellResult

POINTS = ("rows", "y", "goal", "task")
"""Arrays of a cell that say which points it is about, as far as it has them."""


class Change(NamedTuple):
    """A difference of two Estimates.

    Attributes:
        estimate: after - before with its 95% interval.
        p: two-sided p-value of no difference.
        paired: whether the same targets, or the same points, stood on both sides.
        counted: what n counts where they did.
    """

    estimate: Estimate
    p: float
    paired: bool
    counted: str = "pairs of models"


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
    made = Estimate(value, low, high, min(before.n, after.n), after.unit, after.direction)
    return Change(made, _p_value(made), False)


def paired(before: Sequence[CellResult], after: Sequence[CellResult], measure: str) -> Change | None:
    """The mean difference over targets that stand on both sides, None where they do not line up or are too few.

    Targets 2p and 2p + 1 share every record between them, so a pair of models is one observation. Where the cells are
    about points, the chance by which those were drawn counts too, and the difference is `of_points`'.
    """
    if any("points" in cell.per_target for cell in (*before, *after)):
        return of_points(before, after) if measure == "advantage" else None
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


def of_points(before: Sequence[CellResult], after: Sequence[CellResult]) -> Change | None:
    """The difference of two advantages over the same points, None where these are not the same.

    Each side has its interval over points; which points are easy moves both sides alike, so their errors, to first
    order `d A = (d s - (1 - A) d s0) / (1 - s0)`, are correlated by r, as seen point by point. With a the distance from
    one side's value to its limit and b that from the other's, the difference errs by `sqrt(a^2 - 2 r a b + b^2)` (Zou
    2007). To this the spread of the difference over pairs of models is added, as `intervals.shared_points` has it.

    References: Zou 2007, Psychological Methods 12; Newcombe 1998, Statistics in Medicine 17 (paired shares).
    """
    sides = [{cell.seed: cell for cell in cells} for cells in (before, after)]
    seeds = sorted(sides[0])
    if not seeds or seeds != sorted(sides[1]) or not all(_same_points(sides[0][s], sides[1][s]) for s in seeds):
        return None
    first, then = (_limits(cells) for cells in (before, after))
    a, b = (np.concatenate([_errors(side[s]) for s in seeds]) for side in sides)
    spread = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    r = float(np.sum(a * b)) / spread if spread > 0 else 0.0
    value = then.value - first.value
    low = value - _together(then.value - then.low, first.high - first.value, r)
    high = value + _together(then.high - then.value, first.value - first.low, r)
    gaps = [sides[1][s].per_target["advantage"] - sides[0][s].per_target["advantage"] for s in seeds]
    made = shared_points(
        np.concatenate(gaps),
        (low, high),
        np.concatenate([np.arange(len(gap)) // 2 for gap in gaps]),
        np.repeat(seeds, [len(gap) for gap in gaps]),
        points=then.n,
        unit=then.unit,
        direction=then.direction,
    )
    return Change(made, _p_value(made), True, "points")


def _same_points(a: CellResult, b: CellResult) -> bool:
    if not all({"won", "null"} <= set(cell.arrays) for cell in (a, b)):
        return False
    told = [{name: cell.arrays.get(name, np.array([])) for name in ("won", *POINTS)} for cell in (a, b)]
    same = all(np.array_equal(told[0][name], told[1][name]) for name in POINTS)
    return same and told[0]["won"].shape == told[1]["won"].shape


def _limits(cells: Sequence[CellResult]) -> Estimate:
    """The mean advantage with its interval over points alone: that of one model with the mean of all measures."""
    names = [name for name in cells[0].per_target if all(name in cell.per_target for cell in cells)]
    means = {name: np.array([np.mean([np.mean(cell.per_target[name]) for cell in cells])]) for name in names}
    return judge.estimates(means, cells[0].facts)["advantage"]


def _errors(cell: CellResult) -> np.ndarray:
    """What each point adds to the error of the mean advantage, to first order and up to a factor."""
    won, null = (np.asarray(cell.arrays[name], np.float64) for name in ("won", "null"))
    left = 1 - np.asarray(cell.per_target["advantage"], np.float64)[:, None]
    each = (won - left * null) / np.maximum(1 - null.mean(axis=1, keepdims=True), 1 / won.shape[1])
    mean = each.mean(axis=0)
    return mean - mean.mean()


def _together(a: float, b: float, r: float) -> float:
    return math.sqrt(max(a**2 - 2 * r * a * b + b**2, 0.0))


def _p_value(difference: Estimate) -> float:
    """Two-sided: below 0.05 just where the interval leaves out 0, whose end on that side is read as a normal one's."""
    value, end = difference.value, difference.low if difference.value > 0 else difference.high
    reach = abs(value - end) / ndtri(0.975)
    return float(2 * ndtr(-abs(value) / reach)) if reach > 0 else float(value == 0)


def change(reading: Reading, defense: str, attack: str, measure: str, since: str | None = None) -> Change | None:
    """What `defense` changes in `measure` against another one, or the undefended run; None where one has no value."""
    since = since or reading.baseline
    if since is None or defense == since:
        return None
    before, after = (reading.entry(d, attack, measure) for d in (since, defense))
    if not (before.resolved and after.resolved):
        return None
    same = paired(reading.cells(since, attack), reading.cells(defense, attack), measure)
    return same or unpaired(before.known, after.known)


def worst_change(reading: Reading, defense: str, since: str | None = None) -> Change | None:
    """How far the worst advantage moves from another defense, or the undefended run, to `defense`.

    Whichever attack is the worst on either side.
    """
    since = since or reading.baseline
    undefended = reading.worst(since) if since else None
    defended = reading.worst(defense)
    if since is None or undefended is None or defended is None:
        return None
    (before, first), (after, second) = undefended, defended
    cells = reading.cells(since, before.label), reading.cells(defense, after.label)
    alike = before.family == after.family and paired(*cells, "advantage")
    return alike or unpaired(first.known, second.known)


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
