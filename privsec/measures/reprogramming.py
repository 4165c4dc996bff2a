"""Whether a reprogrammed model does the attacker's task better than what the attacker could do without it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from privsec.core.data import Array, Examples
from privsec.core.estimate import Estimate
from privsec.core.evidence import Program
from privsec.measures.advantage import advantage, over_points
from privsec.measures.intervals import Ids, Measure, clopper_pearson, shared_points
from privsec.measures.pairs import pairs_of

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "accuracy, rescaled: 0 is the best of the three nulls, 1 is a perfect score",
    ),
    "accuracy": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "test records of the task that the reprogrammed model answers right"
    ),
    "null_accuracy": Measure("share", "descriptive", (0.0, 1.0), "the best of the three nulls"),
    "null_probe": Measure(
        "share",
        "descriptive",
        (0.0, 1.0),
        "a linear classifier of the raw records, trained on what the attacker has, without any model",
    ),
    "null_twin": Measure(
        "share", "descriptive", (0.0, 1.0), "the same attack on the same architecture with random weights"
    ),
    "null_majority": Measure("share", "descriptive", (0.0, 1.0), "always the attacker's most frequent class"),
    "detected_softmax": Measure(
        "share", "higher_is_better", (0.0, 1.0), "programmed inputs less sure than all but 5% of ordinary ones"
    ),
    "detected_energy": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "programmed inputs of a higher energy, -log sum exp(logits), than all but 5% of ordinary ones",
    ),
    "detected_similar": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "series of 20 programmed inputs whose borders differ less from each other than in all but 5% of ordinary "
        "series",
    ),
    "refused": Measure("share", "higher_is_better", (0.0, 1.0), "programmed inputs that the model itself refused"),
    "pattern_norm": Measure("feature units", "descriptive", (0.0, np.inf), "L2 norm of the program"),
    "queries": Measure("queries", "descriptive", (0.0, np.inf), "model queries spent on finding the program"),
    "points": Measure("records", "descriptive", (0.0, np.inf), "test records of the task"),
}
"""The measures of the family, in the order of tables; those of detection where its inputs are given."""

FALSE_POSITIVES = 0.05
"""Share of ordinary inputs (or series) that a detector may take for programmed ones."""
SERIES = 20
"""Queries of one client that a stateful detector compares."""
DRAWS = 400
"""Random series of ordinary inputs that its threshold rests on."""
REFUSED = -1
PENALTIES = (1.0, 0.1)
PROBE_STEPS = 400


class Seen(NamedTuple):
    """What a detector at the model sees of M ordinary and N programmed inputs.

    Attributes:
        ordinary: inputs of the model's own kind.
        programmed: what each target was asked.
        logits_ordinary: the bare model's, whatever its endpoint answers.
        logits_programmed: likewise.
    """

    ordinary: Float[Array, " M *features"]
    programmed: Float[Array, " T N *features"]
    logits_ordinary: Float[Array, "T M C"]
    logits_programmed: Float[Array, "T N C"]


class ReprogrammingTruth(NamedTuple):
    """What only the measures know, of N test records of the task that the attacker did not have.

    Attributes:
        y: their classes.
        called: what each reprogrammed target answers (`ops.reprogram.decided`); -1 where it refused.
        called_twin: the same of models with random weights under programs of their own.
        called_probe: what a linear classifier calls them (`probe`).
        majority: the most frequent class among the attacker's records.
        seen: for the detectors; None to leave them out.
    """

    y: Int[np.ndarray, " N"]
    called: Int[np.ndarray, "T N"]
    called_twin: Int[np.ndarray, "T N"]
    called_probe: Int[np.ndarray, " N"]
    majority: int
    seen: Seen | None = None


def measure(evidence: Program, truth: ReprogrammingTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target.

    `advantage = (s - s0) / (1 - s0)` with s0 the best of three nulls on the same records: a linear probe, the
    reprogrammed twin with random weights, and the most frequent class. The best of three on the test records is a
    little better than the best one truly is, so the advantage is a little too small rather than too large.
    """
    called = np.asarray(truth.called)
    targets, points = called.shape
    pattern = np.asarray(evidence.pattern, np.float64).reshape(targets, -1)
    nulls = {
        "null_probe": _right(np.broadcast_to(truth.called_probe, called.shape), truth.y),
        "null_twin": _right(np.broadcast_to(truth.called_twin, called.shape), truth.y),
        "null_majority": _right(np.full(called.shape, truth.majority), truth.y),
    }
    accuracy, best = _right(called, truth.y), np.max(list(nulls.values()), axis=0)
    return {
        "advantage": advantage(accuracy, best, points),
        "accuracy": accuracy,
        "null_accuracy": best,
        **nulls,
        **({} if truth.seen is None else _detected(truth.seen)),
        "refused": np.mean(called == REFUSED, axis=1),
        "pattern_norm": np.sqrt(np.sum(pattern**2, axis=1)),
        "queries": np.full(targets, float(evidence.queries)),
        "points": np.full(targets, float(points)),
    }


def exhibits(
    evidence: Program, truth: ReprogrammingTruth, x: Real[Array, " N *task"], rows: int = 8
) -> dict[str, np.ndarray]:
    """What a report shows: the programs, and the first records before and after.

    Args:
        evidence: the programs.
        truth: with `seen` for the programmed inputs.
        x: the task's test records.
        rows: how many of them are shown.

    Returns:
        `pattern` float32 [T, ...features], `mapping` [T, C, G], `task` [rows, ...task], `y` int [rows], `called` int
        [T, rows], `confusion` int [T, G, G + 1] (the last column is refused), and `programmed` [T, rows, ...features]
        where the truth has them.
    """
    mapping, called = np.asarray(evidence.mapping, np.float32), np.asarray(truth.called)
    goals = mapping.shape[2]
    confusion = np.zeros((len(called), goals, goals + 1), np.int64)
    for t, answers in enumerate(called):
        np.add.at(confusion[t], (truth.y, answers), 1)  # REFUSED is the last column
    shown = {
        "pattern": np.asarray(evidence.pattern, np.float32),
        "mapping": mapping,
        "task": np.asarray(x[:rows], np.float32),
        "y": np.asarray(truth.y[:rows]),
        "called": called[:, :rows],
        "confusion": confusion,
    }
    if truth.seen is not None:
        shown["programmed"] = np.asarray(truth.seen.programmed, np.float32)[:, :rows]
    return shown


def estimates(per_target: Mapping[str, Real[np.ndarray, " T"]], seeds: Ids | None = None) -> dict[str, Estimate]:
    """One Estimate a measure; its interval covers which test records were drawn and which models were trained.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
    """
    pairs, seed = pairs_of(len(per_target["points"]), seeds)
    points = int(np.min(per_target["points"]))
    means = {name: float(np.mean(values)) for name, values in per_target.items()}

    def estimate(name: str) -> Estimate:
        unit, direction, bounds, _ = MEASURES[name]
        trials = points // SERIES if name == "detected_similar" else points
        if name == "advantage":
            sampling = over_points(means["accuracy"], means["null_accuracy"], points)
        else:
            share = unit == "share"
            sampling = clopper_pearson(means[name] * trials, trials) if share else (means[name], means[name])
        described = {"points": trials, "unit": unit, "direction": direction, "bounds": bounds}
        return shared_points(per_target[name], sampling, pairs, seed, **described)

    return {name: estimate(name) for name in per_target}


def probe(task: Examples, x: Real[Array, " N *task"]) -> Int[np.ndarray, " N"]:
    """What a linear classifier of the raw records, trained on the attacker's `task`, calls the records `x`.

    Multinomial logistic regression, by scikit-learn; of two strengths of its penalty that one which, fit on three
    quarters of the attacker's records, does better on the last.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    raw, y = np.asarray(task.x, np.float32).reshape(task.size, -1), np.asarray(task.y)
    cut = max(3 * task.size // 4, 1)

    def fit(penalty: float, rows: slice) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is one more penalty
            return LogisticRegression(C=1 / penalty, max_iter=PROBE_STEPS).fit(raw[rows], y[rows])

    if len(np.unique(y[:cut])) > 1 and cut < task.size:
        best = max(PENALTIES, key=lambda penalty: fit(penalty, slice(cut)).score(raw[cut:], y[cut:]))
    else:
        best = PENALTIES[0]
    return np.asarray(fit(best, slice(None)).predict(np.asarray(x, np.float32).reshape(len(x), -1)), np.int64)


def border(shape: tuple[int, ...]) -> Bool[np.ndarray, " *features"]:
    """True in the outermost eighth of an image on every side; everywhere in a record of a table."""
    mask = np.ones(shape, bool)
    if len(shape) == 3:
        high, wide = (max(length // 8, 1) for length in shape[:2])
        mask[high:-high, wide:-wide] = False
    return mask


def spread(x: Float[np.ndarray, " S K *features"], mask: Bool[np.ndarray, " *features"]) -> Float64[np.ndarray, " S"]:
    """How much K queries differ from each other under the mask: root of half the mean squared pairwise distance."""
    inside = np.asarray(x, np.float64)[:, :, mask]
    return np.sqrt(np.mean(np.var(inside, axis=1, ddof=1), axis=1))


def _detected(seen: Seen) -> dict[str, Float64[np.ndarray, " T"]]:
    """The true-positive rate of every detector where its false-positive rate is at most 5%."""
    ordinary, programmed = np.asarray(seen.logits_ordinary, np.float64), np.asarray(seen.logits_programmed, np.float64)
    signals = {"detected_softmax": _doubt, "detected_energy": lambda logits: -_log_sum_exp(logits)}
    found = {name: _caught(signal(ordinary), signal(programmed)) for name, signal in signals.items()}
    asked = np.asarray(seen.programmed, np.float32)
    count = asked.shape[1] // SERIES
    if count and len(seen.ordinary) >= SERIES:
        mask = border(asked.shape[2:])
        rng = np.random.default_rng(0)
        rows = np.stack([rng.permutation(len(seen.ordinary))[:SERIES] for _ in range(DRAWS)])
        usual = spread(np.asarray(seen.ordinary, np.float32)[rows], mask)
        series = asked[:, : count * SERIES].reshape(-1, SERIES, *asked.shape[2:])
        alike = spread(series, mask).reshape(len(asked), count)
        found["detected_similar"] = _caught(np.broadcast_to(-usual, (len(asked), DRAWS)), -alike)
    return found


def _caught(ordinary: Float64[np.ndarray, "T M"], programmed: Float64[np.ndarray, "T N"]) -> Float64[np.ndarray, " T"]:
    threshold = np.quantile(ordinary, 1 - FALSE_POSITIVES, axis=1, method="higher", keepdims=True)
    return np.mean(programmed > threshold, axis=1)


def _doubt(logits: Float64[np.ndarray, "T M C"]) -> Float64[np.ndarray, "T M"]:
    return _log_sum_exp(logits) - logits.max(axis=-1)


def _log_sum_exp(logits: Float64[np.ndarray, "T M C"]) -> Float64[np.ndarray, "T M"]:
    top = logits.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(logits - top).sum(axis=-1))


def _right(called: Int[np.ndarray, "T N"], y: Int[np.ndarray, " N"]) -> Float64[np.ndarray, " T"]:
    return np.mean(called == y, axis=1)
