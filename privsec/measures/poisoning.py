"""What records in the training data changed: against models that were spared them, and what a defender saw of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from privsec.core.estimate import Estimate
from privsec.core.evidence import Triggered
from privsec.measures.advantage import advantage, over_points
from privsec.measures.intervals import Ids, Measure, clopper_pearson, shared_points, trials_behind
from privsec.measures.outcomes import wins
from privsec.measures.pairs import pairs_of

FALSE_ALARMS = 0.05
"""Share of clean training records that a detector may suspect."""
SHOWN = 12
"""Records whose pictures a report may show."""

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "success, rescaled: 0 is what the model without the poison does anyway, 1 is every record",
    ),
    "success": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "test records that the poisoned model takes for what the attacker wants"
    ),
    "null_success": Measure(
        "share", "descriptive", (0.0, 1.0), "the same records, taken so by the model without the poison: the null"
    ),
    "refused": Measure("share", "descriptive", (0.0, 1.0), "test records that the model refuses to judge"),
    "clean_accuracy": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "untouched records outside its training set that the poisoned model gets right",
    ),
    "unpoisoned_accuracy": Measure(
        "share", "descriptive", (0.0, 1.0), "the same records, by the model without the poison"
    ),
    "poisoned": Measure("share", "descriptive", (0.0, 1.0), "training records that are the attacker's"),
    "detected": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "poisoned training records more suspicious than 95% of the clean ones",
    ),
    "poison_kept": Measure("share", "higher_is_worse", (0.0, 1.0), "poisoned records still there after cleaning"),
    "clean_kept": Measure("share", "higher_is_better", (0.0, 1.0), "clean records still there after cleaning"),
    "certified": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "test records whose answer, right or wrong, provably stays under any poison that changes as few records",
    ),
    "certified_changes": Measure(
        "records",
        "higher_is_better",
        (0.0, np.inf),
        "changed training records that half of the answers provably withstand, the median over test records",
    ),
    "changes": Measure(
        "records",
        "descriptive",
        (0.0, np.inf),
        "insertions, removals and relabelings that make the clean training set the poisoned one; a replaced record is "
        "two",
    ),
    "points": Measure("records", "descriptive", (0.0, np.inf), "different test records asked about, over all models"),
}
"""The measures of the family, in the order of tables; some only where a defender looked at the records, or where
there is something to prove."""

OF_ASKED = frozenset({"advantage", "success", "null_success", "refused"})
"""Those of the records asked about."""


class PoisonTruth(NamedTuple):
    """What only the measures know.

    Attributes:
        called: what each poisoned target calls the records asked about.
        control: what the model without the poison calls them.
        accuracy: each target's on untouched records that it was not trained on.
        control_accuracy: that of the model without the poison.
        rejected: the label that means "refused", None where there is none.
        given: which of the records each model was given.
        poisoned: which of the records are the attacker's.
        kept: which of the given ones were left by a defender; None where nobody looked.
        suspicion: how suspicious each looked, NaN where nothing is said; None where nobody looked.
        votes: of the model without the poison, how many members vote for each class, where each is trained on a part
            of the records of its own and the most votes win; None where nothing is proven.
        changes: by how many insertions, removals and relabelings each poisoned training set differs; None likewise.
    """

    called: Int[np.ndarray, "T N"]
    control: Int[np.ndarray, "T N"]
    accuracy: Float[np.ndarray, " T"]
    control_accuracy: Float[np.ndarray, " T"]
    rejected: int | None
    given: Bool[np.ndarray, "T R"]
    poisoned: Bool[np.ndarray, " R"]
    kept: Bool[np.ndarray, "T R"] | None = None
    suspicion: Float[np.ndarray, "T R"] | None = None
    votes: Int[np.ndarray, "T N C"] | None = None
    changes: Int[np.ndarray, " T"] | None = None


def measure(evidence: Triggered, truth: PoisonTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target.

    `advantage = (s - s0) / (1 - s0)`: s is the share of the records asked about that the target takes for the goal (or
    for any goal gets wrong, without refusing them), s0 that of the model without the poison.

    Returns:
        `refused` only where a model refuses; `detected`, `poison_kept`, `clean_kept` only where a defender looked,
        `detected` NaN for a model without poison or without anything said of suspicion; `certified`,
        `certified_changes`, `changes` only where members vote.
    """
    success, null = (
        np.mean(wins(called, evidence, truth.rejected), axis=1) for called in (truth.called, truth.control)
    )
    points = truth.called.shape[1]
    asked = len(np.unique(evidence.rows)) if asks_own(evidence) else points
    poison = truth.given & truth.poisoned
    values = {
        "advantage": advantage(success, null, points),
        "success": success,
        "null_success": null,
        "clean_accuracy": np.asarray(truth.accuracy, np.float64),
        "unpoisoned_accuracy": np.asarray(truth.control_accuracy, np.float64),
        "poisoned": np.mean(poison.sum(axis=1, keepdims=True) / truth.given.sum(axis=1, keepdims=True), axis=1),
        "points": np.full(len(success), float(asked)),
    }
    if truth.rejected is not None:
        values["refused"] = np.mean(truth.called == truth.rejected, axis=1)
    if truth.kept is not None and truth.suspicion is not None:
        clean = truth.given & ~truth.poisoned
        values["detected"] = np.array(
            [detected(row[p], row[c]) for row, p, c in zip(truth.suspicion, poison, clean, strict=True)]
        )
        for name, which in (("poison_kept", poison), ("clean_kept", clean)):
            count = which.sum(axis=1)
            values[name] = np.where(count, (truth.kept & which).sum(axis=1) / np.maximum(count, 1), np.nan)
    if truth.votes is not None and truth.changes is not None:
        values["certified"] = np.mean(certified(truth), axis=1)
        values["certified_changes"] = np.median(withstood(truth.votes), axis=1)
        values["changes"] = truth.changes.astype(np.float64)
    return {name: values[name] for name in MEASURES if name in values}


def asks_own(evidence: Triggered) -> bool:
    """Whether models were asked about records of their own, not all about the same."""
    rows = np.asarray(evidence.rows)
    return bool((rows != rows[0]).any())


def withstood(votes: Int[np.ndarray, "*batch C"]) -> Int[np.ndarray, "*batch"]:
    """How many votes may be cast otherwise, however that is, without another class winning; ties go to the smaller.

    floor((n_c - max_{c' != c}(n_{c'} + [c' < c])) / 2) for the winner c: a changed vote is one less for it and, at
    worst, one more for the second.

    References: Levine & Feizi 2021, arXiv 2006.14768, theorem 1.

    >>> withstood(np.array([[9, 1], [5, 5], [4, 6], [5, 6]])).tolist()
    [4, 0, 0, 0]
    """
    winner = np.argmax(votes, axis=-1)[..., None]
    classes = np.arange(votes.shape[-1])
    rivals = np.where(classes == winner, -1, votes + (classes < winner))
    return np.asarray((np.take_along_axis(votes, winner, -1)[..., 0] - rivals.max(axis=-1)) // 2)


def certified(truth: PoisonTruth) -> Bool[np.ndarray, "T N"]:
    """Which answers of the models without the poison provably stay under any poison of as many changes.

    Only answers that the votes account for: nothing is claimed of a record that is called otherwise.
    """
    assert truth.votes is not None and truth.changes is not None
    wins = np.argmax(truth.votes, axis=-1) == truth.control
    return wins & (withstood(truth.votes) >= truth.changes[:, None])


def broken(truth: PoisonTruth) -> int:
    """How many certified answers the poison changed all the same; 0 where nothing is claimed."""
    if truth.votes is None:
        return 0
    return int(np.sum(certified(truth) & (truth.called != truth.control)))


def detected(poison: Float[np.ndarray, " P"], clean: Float[np.ndarray, " Q"]) -> float:
    """The share of poisoned records that a threshold finds which at most 5% of the clean ones exceed.

    NaN where there is no poison, or nothing is said of a record's suspicion.

    >>> detected(np.array([99.0, 50.0]), np.arange(100.0))
    0.5
    """
    poison, clean = poison[~np.isnan(poison)], clean[~np.isnan(clean)]
    if not len(poison) or not len(clean):
        return math.nan
    threshold = np.sort(clean)[::-1][math.floor(FALSE_ALARMS * len(clean))]
    return float(np.mean(poison > threshold))


def exhibits(evidence: Triggered, truth: PoisonTruth) -> dict[str, np.ndarray]:
    """What a report shows of the first target.

    Returns:
        `asked` [S, ...] the first records asked about, `y`, `goal`, `called`, `control` int [S]; `won` and `null`
        float32 [T, N]; where a defender looked, `poison_suspicion` and `clean_suspicion`, flat over all targets.
    """
    shown = slice(0, SHOWN)
    arrays = {
        "asked": np.asarray(evidence.x[0][shown], np.float32),
        "y": np.asarray(evidence.y[0][shown]),
        "goal": np.asarray(evidence.goal[0][shown]),
        "called": truth.called[0][shown],
        "control": truth.control[0][shown],
        "won": wins(truth.called, evidence, truth.rejected).astype(np.float32),
        "null": wins(truth.control, evidence, truth.rejected).astype(np.float32),
    }
    if truth.suspicion is not None:
        said = ~np.isnan(truth.suspicion) & truth.given
        arrays["poison_suspicion"] = truth.suspicion[said & truth.poisoned].astype(np.float32)
        arrays["clean_suspicion"] = truth.suspicion[said & ~truth.poisoned].astype(np.float32)
    return arrays


def estimates(
    per_target: Mapping[str, Real[np.ndarray, " T"]],
    seeds: Ids | None = None,
    records: Mapping[str, float] | None = None,
    *,
    own: bool = False,
) -> dict[str, Estimate]:
    """One Estimate a measure; its interval covers which records were asked about and which models were trained.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
        records: of how many records a measure is a share, where these are not the `points`.
        own: whether each pair of models was asked about records of its own (`asks_own`): the spread over pairs then
            has the chance of which records these were, too.
    """
    pairs, seed = pairs_of(len(per_target["points"]), seeds)
    points = int(np.min(per_target["points"]))
    means = {name: _mean(values) for name, values in per_target.items()}

    def estimate(name: str) -> Estimate:
        unit, direction, bounds, _ = MEASURES[name]
        value, count = means[name], max(1, round((records or {}).get(name, points)))
        values, trials = per_target[name], float(count)
        if own and name in OF_ASKED:
            shares = ("success", "null_success") if name == "advantage" else (name,)
            trials = min(trials_behind(per_target[share], pairs, seed) for share in shares)
            values = np.full(len(values), value)  # their spread is in `trials`
        if name == "advantage":
            sampling = over_points(means["success"], means["null_success"], trials)
        elif unit == "share" and name != "poisoned" and math.isfinite(value):  # how much is planted is no sample
            sampling = clopper_pearson(value * trials, trials)
        else:
            sampling = (value, value)
        described = {"points": count, "unit": unit, "direction": direction, "bounds": bounds}
        return shared_points(values, sampling, pairs, seed, **described)

    return {name: estimate(name) for name in per_target}


def _mean(values: Real[np.ndarray, " T"]) -> float:
    known = np.asarray(values, np.float64)[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
