"""Whether a model tells more of a hidden attribute than the attacker could work out without it.

Much of what looks like inference is imputation: the rest of a record, and its label, say a lot about the attribute. An
attacker gains only what goes beyond the same learner without the model (Jayaraman & Evans 2022, arXiv 2209.01292).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Real

from privsec.core.estimate import Estimate
from privsec.core.evidence import Predictions
from privsec.measures.advantage import advantage
from privsec.measures.intervals import Ids, Measure, clustered

SUREST = 0.1
"""Share of the records whose guesses are taken for the positive predictive value: the surest ones."""

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "how much of what imputation leaves open the surest guesses get right: 0 is imputation, 1 is always right",
    ),
    "ppv": Measure("share", "higher_is_worse", (0.0, 1.0), "right guesses among the 10% surest ones"),
    "ppv_imputed": Measure("share", "descriptive", (0.0, 1.0), "the same of imputation, which never meets the model"),
    "accuracy": Measure("share", "higher_is_worse", (0.0, 1.0), "right guesses among all records"),
    "accuracy_imputed": Measure("share", "descriptive", (0.0, 1.0), "right guesses of imputation among all records"),
    "accuracy_gain": Measure("share", "higher_is_worse", (-1.0, 1.0), "accuracy less that of imputation"),
    "member_gap": Measure(
        "share",
        "higher_is_worse",
        (-1.0, 1.0),
        "accuracy on the model's training records less that on others, each less imputation's: what was memorized",
    ),
    "records": Measure("records", "descriptive", (0.0, np.inf), "records whose attribute was guessed"),
}
"""The measures of the family, in the order of tables."""


class AttributeTruth(NamedTuple):
    """What only the measures know.

    Attributes:
        values: which of the V values each of the K records has.
        member: who of them was in target t's training set.
    """

    values: Int[np.ndarray, " K"]
    member: Bool[np.ndarray, "T K"]


def measure(evidence: Predictions, truth: AttributeTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target.

    `advantage = (s - s0) / (1 - s0)`, with s the positive predictive value at the 10% surest guesses and s0 that of
    imputation on the same records. Where imputation's are all right, one record stands for what is left open.

    Returns:
        `member_gap` is NaN where no record, or every one, was trained on.
    """
    scores, imputed = np.asarray(evidence.scores, np.float64), np.asarray(evidence.imputed, np.float64)
    right, right_imputed = (np.argmax(each, axis=-1) == truth.values for each in (scores, imputed))
    count = len(truth.values)
    ppv = np.array([surest_right(each, hits) for each, hits in zip(scores, right, strict=True)])
    null = surest_right(imputed, right_imputed)
    accuracy = right.mean(axis=1)
    gain = right.astype(np.float64) - right_imputed
    same = np.ones(len(scores))
    return {
        "advantage": advantage(ppv, null * same, _surest(count)),
        "ppv": ppv,
        "ppv_imputed": null * same,
        "accuracy": accuracy,
        "accuracy_imputed": right_imputed.mean() * same,
        "accuracy_gain": gain.mean(axis=1),
        "member_gap": _mean(gain, truth.member) - _mean(gain, ~truth.member),
        "records": count * same,
    }


def estimates(per_target: Mapping[str, Real[np.ndarray, " T"]], seeds: Ids | None = None) -> dict[str, Estimate]:
    """One Estimate a measure, over pairs of targets; all of a seed are asked about the same records.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
    """
    count = int(per_target["records"][0])
    of_surest = "advantage", "ppv", "ppv_imputed"

    def estimate(name: str, values: Real[np.ndarray, " T"]) -> Estimate:
        unit, direction, bounds, _ = MEASURES[name]
        counted = _surest(count) if name in of_surest else count if unit == "share" else None
        pairs = np.arange(len(values)) // 2
        return clustered(values, pairs, seeds, unit=unit, direction=direction, bounds=bounds, trials=counted)

    return {name: estimate(name, values) for name, values in per_target.items()}


def exhibits(evidence: Predictions, truth: AttributeTruth) -> dict[str, np.ndarray]:
    """The table of values: how often each occurs, is found where it occurs, and is right where it is guessed.

    Returns:
        `count` int [V]; `recall`, `precision` float64 [V], means over targets, and `recall_imputed`,
        `precision_imputed`; NaN where a value does not occur, or is never guessed.
    """
    values = np.arange(evidence.imputed.shape[1])
    tables = {}
    for suffix, scores in (("", evidence.scores), ("_imputed", np.asarray(evidence.imputed)[None])):
        guessed = np.argmax(scores, axis=-1)[..., None] == values
        hits = np.sum(guessed & (truth.values[:, None] == values), axis=(0, 1))
        occurs = len(guessed) * np.sum(truth.values[:, None] == values, axis=0)
        tables[f"recall{suffix}"] = _ratio(hits, occurs)
        tables[f"precision{suffix}"] = _ratio(hits, guessed.sum(axis=(0, 1)))
    return {"count": np.bincount(truth.values, minlength=len(values)), **tables}


def surest_right(scores: Float64[np.ndarray, "K V"], right: Bool[np.ndarray, " K"]) -> float:
    """The share of right guesses among the 10% surest: those whose best value leads the others by most.

    Guesses that tie for the last places count by their share of right ones.

    >>> surest_right(np.array([[0.0, 9.0], [5.0, 0.0]]), np.array([True, False]))
    1.0
    """
    lead = np.max(scores, axis=1) - np.logaddexp.reduce(scores, axis=1)
    places = _surest(len(right))
    last = np.sort(lead)[::-1][places - 1]
    above, tied = lead > last, lead == last
    return float((right[above].sum() + (places - above.sum()) * right[tied].mean()) / places)


def _surest(count: int) -> int:
    return max(1, round(SUREST * count))


def _mean(values: Float64[np.ndarray, "T K"], where: Bool[np.ndarray, "T K"]) -> Float64[np.ndarray, " T"]:
    return _ratio(np.sum(values * where, axis=1), np.sum(where, axis=1))


def _ratio(part: Real[np.ndarray, " N"], whole: Real[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
