"""How much a model loses to whoever may change its inputs a little, beyond what it loses anyway.

The attack's word counts for nothing: the model is asked again about every changed record, and a change counts only
inside the box and, where a radius is stated, inside the ball. Success is counted over *all* attacked points, never over
those that were right before: a worse model would gain by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float64, Int, Real
from scipy.special import bdtrc

from privsec.core.errors import PrivsecError
from privsec.core.estimate import Estimate, unresolved
from privsec.core.evidence import Perturbed
from privsec.measures.advantage import advantage, over_points
from privsec.measures.intervals import Ids, Measure, clopper_pearson, share_difference, shared_points
from privsec.measures.outcomes import (
    EvasionTruth,
    broken_at,
    certified,
    in_box,
    median_distance,
    outcome,
    reach,
    refusals,
    wins,
)
from privsec.measures.pairs import pairs_of

ALARM = 1e-3
"""Chance that an honest cell fails one statistical self-check."""
SHOWN = 24
"""Points whose pictures a report may show."""
STEPS = 40
"""Intervals of the radius in a curve of accuracy."""

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "success, rescaled: 0 is what clean and randomly changed points give away, 1 is every point",
    ),
    "success": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "all points, also those wrong anyway, that the attacker has in the end"
    ),
    "robust_accuracy": Measure("share", "higher_is_better", (0.0, 1.0), "points right before and after the attack"),
    "refused": Measure("share", "descriptive", (0.0, 1.0), "points after the attack that the model refuses to judge"),
    "clean_accuracy": Measure("share", "higher_is_better", (0.0, 1.0), "the same points right, unchanged"),
    "noise_accuracy": Measure("share", "higher_is_better", (0.0, 1.0), "right after a random change of the same size"),
    "null_success": Measure(
        "share", "descriptive", (0.0, 1.0), "success without any attack: the larger of the next two, the null"
    ),
    "clean_success": Measure("share", "descriptive", (0.0, 1.0), "unchanged points that the attacker has already"),
    "noise_success": Measure("share", "descriptive", (0.0, 1.0), "success of random changes of the same size"),
    "naive_success": Measure(
        "share", "descriptive", (0.0, 1.0), "success of the same attack without knowledge of the defense"
    ),
    "masking_gap": Measure(
        "share", "descriptive", (-1.0, 1.0), "success knowing of the defense less success not knowing: what it only hid"
    ),
    "wrong_in_most_draws": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "points that a model answering at random loses more often than not"
    ),
    "certified_accuracy": Measure(
        "share", "higher_is_better", (0.0, 1.0), "points proven right everywhere within the radius"
    ),
    "median_distance": Measure(
        "feature units",
        "higher_is_better",
        (0.0, np.inf),
        "the change that half of the rightly classified points survive, at most (an attack finds no smallest one)",
    ),
    "queries": Measure("queries", "descriptive", (0.0, np.inf), "answers asked for, a point"),
    "gradients": Measure("gradients", "descriptive", (0.0, np.inf), "gradients evaluated, a point"),
    "points": Measure("points", "descriptive", (0.0, np.inf), "points attacked"),
}
"""The measures of the family, in the order of tables; some only where there is a detector, a defense, a proof."""


class SelfCheckFailed(PrivsecError):
    """A cell contradicts itself: its numbers would be about a mistake, not about the model."""


def measure(evidence: Perturbed, truth: EvasionTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target.

    `advantage = (s - s0) / (1 - s0)`. s is the share of all attacked points that the attacker has in the end: taken for
    the goal, or for any goal neither right nor refused. s0 is what it has without an attack: the larger of that share
    among the clean points and that among random points of the same ball. With several draws of a model that answers at
    random, shares are means over draws.

    A point that the attacker has already, clean, counts as had (of a model that answers alike, which can be checked
    beforehand). A change beyond the radius or outside of the box is not counted: the point is then as it was.

    Returns:
        `refused`, `naive_success`, `masking_gap`, `wrong_in_most_draws`, `certified_accuracy` only where there is a
        detector, a defense to know of, a model that answers at random, a proof. `median_distance` is infinite where
        most points stood, NaN where none was right. `median_distance_low` and `_high` are the ends of its exact 95%
        interval over points.
    """
    found = outcome(evidence, truth, evidence.x, truth.called)
    y = np.asarray(evidence.y)
    clean, noise = (
        _mean(wins(called, evidence, truth.rejected)) for called in (truth.called_clean, truth.called_noise)
    )
    success, null = _mean(found.won), np.maximum(clean, noise)
    values = {
        "advantage": advantage(success, null, len(y)),
        "success": success,
        "robust_accuracy": _mean(found.right),
        "clean_accuracy": _mean(truth.called_clean == y),
        "noise_accuracy": _mean(truth.called_noise == y),
        "null_success": null,
        "clean_success": clean,
        "noise_success": noise,
        **median_distance(evidence, truth),
        "queries": _mean(np.asarray(evidence.queries, np.float64)),
        "gradients": _mean(np.asarray(evidence.gradients, np.float64)),
        "points": np.full(len(success), float(len(y))),
    }
    if truth.rejected is not None:
        values["refused"] = _mean(found.refused)
    if evidence.naive is not None and truth.called_naive is not None:
        naive = outcome(evidence, truth, evidence.naive, truth.called_naive)
        values |= {"naive_success": _mean(naive.won), "masking_gap": success - _mean(naive.won)}
    if len(truth.called) > 1:
        values["wrong_in_most_draws"] = _mean(found.won > 0.5)
    if truth.certified is not None:
        values["certified_accuracy"] = _mean(certified(truth, y, truth.radius))
    return {name: values[name] for name in (*MEASURES, "median_distance_low", "median_distance_high") if name in values}


def exhibits(evidence: Perturbed, truth: EvasionTruth) -> dict[str, np.ndarray]:
    """What a report shows.

    Returns:
        Of every point: `rows`, `y`, `goal` [N], `called_clean` and `called` int [T, N] (the most frequent answer of
        several draws), `won` (share of draws) and `distance` (infinite where the attacker has not got it, at any
        distance) float64 [T, N]. Curves: `radii` [R], `accuracy` [T, R] (points not yet lost there), `certified_curve`
        [T, R] where there is a proof. Pictures of S points, those the attack broke first: `shown` int [S] (positions
        among the N), `before` [S, ...features], `after` [T, S, ...features].
    """
    found = outcome(evidence, truth, evidence.x, truth.called)
    distance = broken_at(evidence, truth)
    reached = distance[np.isfinite(distance)]
    radii = np.unique(np.append(np.linspace(0, max(truth.radius, *reached, 0.0), STEPS + 1), truth.radius))
    broken = (found.won > 0.5) & (distance > 0)
    shown = np.argsort(-broken.sum(axis=0), kind="stable")[:SHOWN]
    arrays = {
        "rows": np.asarray(evidence.rows),
        "y": np.asarray(evidence.y),
        "goal": np.asarray(evidence.goal),
        "called_clean": np.asarray(truth.called_clean),
        "called": _most_frequent(truth.called),
        "won": found.won,
        "distance": distance,
        "radii": radii,
        "accuracy": (distance[:, :, None] > reach(radii)).mean(axis=1),
        "shown": shown,
        "before": np.asarray(truth.x, np.float32)[shown],
        "after": np.asarray(evidence.x, np.float32)[:, shown],
    }
    if truth.certified is not None:
        y = np.asarray(evidence.y)
        arrays["certified_curve"] = np.stack([_mean(certified(truth, y, float(radius))) for radius in radii], axis=1)
    return arrays


def self_checks(
    evidence: Perturbed, truth: EvasionTruth, *, bounded: bool = False, alpha: float = 1e-3
) -> tuple[list[str], list[str]]:
    """What cannot be: a cell of which one of these is true says nothing about the model.

    Args:
        evidence: the changed records.
        truth: the model's answers.
        bounded: whether the attack promises to stay within the radius.
        alpha: chance that one certificate is wrong, by its own account.

    Returns:
        (failures, warnings), sentences: a change outside of the box, of the ball or not finite; an attack that loses
        to random noise (a warning where changes go beyond the radius, as those of smallest changes may); broken points
        inside certified radii; changed records that changed nothing.
    """
    failures, warnings = [], []
    x, clean = np.asarray(evidence.x, np.float64), np.asarray(truth.x, np.float64)
    if not np.isfinite(x).all():
        return ["a changed record is not finite"], []
    found = outcome(evidence, truth, evidence.x, truth.called)
    outside = ~in_box(x, truth)
    if outside.any():
        failures.append(f"{_of(outside)} changed records lie outside the box")
    beyond = found.distance > reach(truth.radius)
    if bounded and beyond.any():
        worst = float(found.distance.max())
        failures.append(f"{_of(beyond)} changes exceed the radius {truth.radius:g} (the largest is {worst:g})")

    # Points that only noise takes against points that only the attack takes: equally many, were they equally good.
    noise = np.asarray(wins(truth.called_noise, evidence, truth.rejected), np.float64).mean(axis=0)
    lost, gained = (float(np.maximum(d, 0).sum(axis=1).mean()) for d in (noise - found.won, found.won - noise))
    if lost > gained and float(bdtrc(math.floor(lost) - 1, math.ceil(lost + gained), 0.5)) < ALARM:
        text = f"random noise of the same size beats the attack: {_mean(noise).mean():.3f} of the points against "
        (warnings if beyond.any() else failures).append(text + f"{_mean(found.won).mean():.3f}")

    if truth.certified is not None:
        label, radius = (np.asarray(part) for part in truth.certified)
        far = np.sqrt(np.square(x - clean).reshape(*x.shape[:2], -1).sum(axis=-1))
        inside = (label >= 0) & (far < radius)
        broken = inside & np.all((truth.called != label) & ~refusals(truth.called, truth.rejected), axis=0)
        # Inside the radius each draw of a smoothed model is more often right than not, so all of D err at most 2^-D.
        chance = alpha + (0.5 ** len(truth.called) if len(truth.called) > 1 else 0.0)
        tried, hit = int(inside.sum()), int(broken.sum())
        if hit and float(bdtrc(hit - 1, tried, chance)) < ALARM:
            failures.append(f"{hit} of {tried} points are broken inside their certified radius: a proof is wrong")

    moved = np.any(x != clean, axis=tuple(range(2, x.ndim)))
    idle = moved & (found.won == 0) & ~beyond
    if len(truth.called) == 1 and idle.sum() > 0.05 * moved.sum():
        warnings.append(f"{int(idle.sum())} of {int(moved.sum())} changed records are not taken for anything else")
    return failures, warnings


def estimates(per_target: Mapping[str, Real[np.ndarray, " T"]], seeds: Ids | None = None) -> dict[str, Estimate]:
    """One Estimate a measure; its interval covers which points were drawn and which models were trained.

    All targets of a seed are attacked at the same points, so the mean over targets is no better known than one target's
    share; the spread between pairs and seeds is added (`intervals.shared_points`). One pair of one seed shows no
    spread: the interval is then about these models.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
    """
    pairs, seed = pairs_of(len(per_target["points"]), seeds)
    points = int(np.min(per_target["points"]))
    means = {name: float(np.mean(values)) for name, values in per_target.items()}

    def estimate(name: str) -> Estimate:
        unit, direction, bounds, _ = MEASURES[name]
        values = np.asarray(per_target[name], np.float64)
        if name == "median_distance" and not np.isfinite(values).all():
            note = "most points stood" if np.isinf(values).any() else "no clean point is right"
            return unresolved(points, unit, direction, note)
        return shared_points(
            values,
            _over_points(name, means, points),
            pairs,
            seed,
            points=points,
            unit=unit,
            direction=direction,
            bounds=bounds,
        )

    return {name: estimate(name) for name in per_target if name in MEASURES}


def _over_points(name: str, means: Mapping[str, float], n: int) -> tuple[float, float]:
    """The 95% interval of a mean for the models at hand, over which n points were drawn."""
    value = means[name]
    if name == "median_distance":
        return means.get(f"{name}_low", value), means.get(f"{name}_high", value)
    if name == "masking_gap":  # both sides see the same points, which makes this one too wide rather than too narrow
        low, high = share_difference(means["success"] * n, n, means["naive_success"] * n, n)
        return float(low), float(high)
    if MEASURES[name].unit == "share":
        return clopper_pearson(value * n, n)
    if name == "advantage":
        return _of_advantage(value, means, n)
    return value, value  # a count, not a share of anything


def _of_advantage(value: float, means: Mapping[str, float], n: int) -> tuple[float, float]:
    """With the clean points as null it is a share of those not had already, and Clopper-Pearson among them is exact."""
    trials = (1 - means["null_success"]) * n
    if means["null_success"] > means["clean_success"] or trials <= 0:
        return over_points(means["success"], means["null_success"], n)
    return clopper_pearson(min(max(value, 0.0), 1.0) * trials, trials)


def _most_frequent(called: Int[np.ndarray, "D T N"]) -> Int[np.ndarray, "T N"]:
    """The answer given most often over the draws, the smaller label of two."""
    counts = [(called == label).sum(axis=0) for label in range(int(called.max()) + 1)]
    return np.argmax(counts, axis=0)


def _mean(values: Real[np.ndarray, " *draws T N"] | Bool[np.ndarray, " *draws T N"]) -> Float64[np.ndarray, " T"]:
    """The mean over points, and over draws where there are any."""
    values = np.asarray(values, np.float64).mean(axis=-1)
    return values.mean(axis=0) if values.ndim > 1 else values


def _of(mask: Bool[np.ndarray, "T N"]) -> str:
    return f"{int(mask.sum())} of {mask.size}"
