"""How often the one unknown record of a training set was picked from a prior, beside the most that is possible.

Picking blindly succeeds as often as the prior's likeliest record is drawn: that is the null. The bound is on the
success of *any* attacker against the steps that were watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from privsec.core.data import Array
from privsec.core.estimate import Estimate
from privsec.measures.intervals import Measure, clopper_pearson

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage", "higher_is_worse", (-1.0, 1.0), "success, rescaled: 0 is a guess, 1 is every record picked right"
    ),
    "success": Measure("share", "higher_is_worse", (0.0, 1.0), "trainings whose unknown record was picked right"),
    "null_guess": Measure("share", "descriptive", (0.0, 1.0), "success of the best guess without the training"),
    "success_bound": Measure(
        "share", "descriptive", (0.0, 1.0), "the most that any attack can reach, by the training's privacy guarantee"
    ),
}
"""The measures, in the order of tables."""


class InformedTruth(NamedTuple):
    """What only the measures know.

    Attributes:
        prior: the K records, equally likely.
        hidden: which of them was in each training.
    """

    prior: Float[Array, " K *features"]
    hidden: Int[np.ndarray, " T"]


def picked(x: Float[Array, " T *features"], truth: InformedTruth) -> Bool[np.ndarray, " T"]:
    """Whether each pick is the record that was in the training, or one just like it."""
    same = np.asarray(x) == np.asarray(truth.prior)[truth.hidden]
    return same.reshape(len(same), -1).all(axis=1)


def guess(prior: Float[Array, " K *features"]) -> float:
    """The success of the best guess: the share of the prior's commonest record, 1 / K where all differ.

    >>> guess(np.array([[0.0], [1.0], [1.0], [2.0]]))
    0.5
    """
    flat = np.asarray(prior).reshape(len(prior), -1)
    return float(np.unique(flat, axis=0, return_counts=True)[1].max() / len(flat))


def measure(
    x: Float[Array, " T *features"], truth: InformedTruth, bound: float = 1.0
) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure for every training.

    Args:
        x: the pick of each.
        truth: what was there.
        bound: the largest success that the training's guarantee allows; 1 where it has none.
    """
    right, null = picked(x, truth).astype(np.float64), guess(truth.prior)
    return {
        "advantage": (right - null) / (1 - null) if null < 1 else np.zeros_like(right),
        "success": right,
        "null_guess": np.full_like(right, null),
        "success_bound": np.full_like(right, bound),
    }


def estimates(per_target: Mapping[str, Real[np.ndarray, " T"]]) -> dict[str, Estimate]:
    """Every measure with the exact interval of so many independent trainings, of one seed or several.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
    """
    mean = {name: float(np.mean(values)) for name, values in per_target.items()}
    count, null = len(per_target["success"]), mean["null_guess"]
    ends = clopper_pearson(int(np.sum(per_target["success"])), count)
    intervals = {"success": ends, "advantage": [(end - null) / (1 - null) if null < 1 else 0.0 for end in ends]}

    def estimate(name: str) -> Estimate:
        unit, direction, _, _ = MEASURES[name]
        low, high = intervals.get(name, (mean[name], mean[name]))
        return Estimate(mean[name], low, high, count, unit, direction)

    return {name: estimate(name) for name in MEASURES}
