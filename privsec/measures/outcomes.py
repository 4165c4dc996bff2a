"""What becomes of points that were changed: whose they are in the end, and how far they were moved.

Whatever an attack says of itself, a point is the attacker's only where the model, asked again, answers so.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real
from scipy.special import bdtr

from privsec.core.data import Array
from privsec.core.evidence import ANY, Perturbed, Triggered
from privsec.ops.ascend import Norm

NOBODY = -2
"""A label that no model gives."""
TOLERANCE = 1e-5
"""How far beyond the radius a change may be, relatively; beside this the rounding of float32 is forgiven."""
R = TypeVar("R", float, np.ndarray)
EPSILON = 2 * float(np.finfo(np.float32).eps)
"""What rounding may have added to a feature, relatively."""


class EvasionTruth(NamedTuple):
    """What only the measures know: the model's answers, asked for again.

    Attributes:
        x: the clean points, inside the box.
        called_clean: what each target calls them.
        called: what it calls `evidence.x`, in each of D fresh draws of a model that answers at random (D = 1 else).
        called_noise: what it calls random points of the same ball, several for each clean one.
        norm: of the ball.
        radius: of the ball.
        low: smallest value of each feature; broadcasts to one record.
        high: largest one.
        called_naive: what it calls `evidence.naive`.
        rejected: the label that means "refused", None where there is none.
        certified: labels [T, N] (-1: none) and L2 radii [T, N] inside of which they are proven; None without proof.
    """

    x: Float[np.ndarray, " N *features"]
    called_clean: Int[np.ndarray, "T N"]
    called: Int[np.ndarray, "D T N"]
    called_noise: Int[np.ndarray, "R T N"]
    norm: Norm
    radius: float
    low: Float[np.ndarray, " *features"]
    high: Float[np.ndarray, " *features"]
    called_naive: Int[np.ndarray, "D T N"] | None = None
    rejected: int | None = None
    certified: tuple[Int[np.ndarray, "T N"], Float[np.ndarray, "T N"]] | None = None


class Outcome(NamedTuple):
    """What became of the points: shares of the draws [T, N], and the size of the changes [T, N]."""

    won: Float64[np.ndarray, "T N"]
    right: Float64[np.ndarray, "T N"]
    refused: Float64[np.ndarray, "T N"]
    distance: Float64[np.ndarray, "T N"]


def wins(
    called: Int[np.ndarray, " *draws T N"], evidence: Perturbed | Triggered, rejected: int | None
) -> Bool[np.ndarray, " *draws T N"]:
    """Whether each answer is what the attacker wants; `rejected` is the label that means "refused", if there is one."""
    y, goal = np.asarray(evidence.y), np.asarray(evidence.goal)
    return np.where(goal == ANY, (called != y) & ~refusals(called, rejected), called == goal)


def refusals(called: Int[np.ndarray, " *draws T N"], rejected: int | None) -> Bool[np.ndarray, " *draws T N"]:
    """Whether each answer is "refused"."""
    return called == (NOBODY if rejected is None else rejected)


def outcome(
    evidence: Perturbed, truth: EvasionTruth, x: Real[Array, " T N *features"], called: Int[np.ndarray, "D T N"]
) -> Outcome:
    """What becomes of the points when `x`, called so, is handed in; changes that do not count leave them as they were.

    Of a model that answers alike the attacker keeps what is worst, the clean point or the changed one.
    """
    y, distance = np.asarray(evidence.y), distances(x, truth)
    counts = (distance <= reach(truth.radius)) & in_box(x, truth)

    def of(answers: Int[np.ndarray, " *draws T N"]) -> tuple[Bool[np.ndarray, " *draws T N"], ...]:
        return wins(answers, evidence, truth.rejected), answers == y, refusals(answers, truth.rejected)

    (won, right, refused), (had, was, before) = of(called), of(np.asarray(truth.called_clean))
    if len(called) > 1:  # one clean answer of a model that answers at random is nothing to rely on
        won, right, refused = (
            np.where(counts, share.mean(axis=0), old) for share, old in ((won, had), (right, was), (refused, before))
        )
    else:
        won, right = had | (counts & won[0]), was & (right[0] | ~counts)
        refused = ~won & (before | (counts & refused[0]))
    return Outcome(won.astype(np.float64), right.astype(np.float64), refused.astype(np.float64), distance)


def distances(x: Real[Array, " T N *features"], truth: EvasionTruth) -> Float64[np.ndarray, "T N"]:
    """The norm of each change, beyond what the rounding of float32 may have added to each feature."""
    x, clean = np.asarray(x, np.float64), np.asarray(truth.x, np.float64)
    rounding = EPSILON * np.maximum(np.abs(x), np.abs(clean))
    change = np.maximum(np.abs(x - clean) - rounding, 0.0).reshape(*x.shape[:2], -1)
    return change.max(axis=-1) if truth.norm == "linf" else np.sqrt(np.square(change).sum(axis=-1))


def reach(radius: R) -> R:
    """The largest distance that counts as within the radius."""
    return radius * (1 + TOLERANCE)


def in_box(x: Real[Array, " T N *features"], truth: EvasionTruth) -> Bool[np.ndarray, "T N"]:
    """Whether each record lies inside the box."""
    x = np.asarray(x, np.float64)
    low, high = (np.asarray(end, np.float64) for end in (truth.low, truth.high))
    inside = (x >= low - EPSILON * np.abs(low)) & (x <= high + EPSILON * np.abs(high))
    return np.asarray(inside.reshape(*x.shape[:2], -1).all(axis=-1))


def broken_at(evidence: Perturbed, truth: EvasionTruth) -> Float64[np.ndarray, "T N"]:
    """The change at which each point is lost: 0 for one lost already, infinite for one that stands."""
    won = (wins(truth.called, evidence, truth.rejected).mean(axis=0) > 0.5) & in_box(evidence.x, truth)
    had = wins(truth.called_clean, evidence, truth.rejected)
    return np.where(had, 0.0, np.where(won, distances(evidence.x, truth), np.inf))


def median_distance(evidence: Perturbed, truth: EvasionTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """The median change that takes a rightly classified point, and the exact 95% interval of order statistics."""
    distance = broken_at(evidence, truth)
    ends = []
    for row, right in zip(distance, truth.called_clean == np.asarray(evidence.y), strict=True):
        row = np.sort(row[right])
        n = len(row)
        below = int(np.searchsorted(bdtr(np.arange(n), n, 0.5), 0.025, "right"))  # of the order statistics left out
        middle = [row[(n - 1) // 2], row[n // 2]] if n else [math.nan]
        ends.append((float(np.mean(middle)), *((row[below - 1], row[n - below]) if below else (0.0, math.inf))))
    names = ("median_distance", "median_distance_low", "median_distance_high")
    return dict(zip(names, np.array(ends, np.float64).T, strict=True))


def certified(truth: EvasionTruth, y: Int[np.ndarray, " N"], radius: float) -> Bool[np.ndarray, "T N"]:
    """Which points are proven right within the radius; an linf ball lies in the L2 ball of sqrt(D) times its radius."""
    assert truth.certified is not None
    label, proven = (np.asarray(part) for part in truth.certified)
    width = 1.0 if truth.norm == "l2" else math.sqrt(np.prod(truth.x.shape[1:]))
    return (label == y) & (proven >= radius * width)
