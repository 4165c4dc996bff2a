"""Whether a model is worth the same to every group of people: accuracy by group, demographic parity, equalized odds.

All of it is counted on records outside of each target's training set. A gap between groups is never below 0, and groups
of finite size differ by chance: each gap is shown beside what it would be were groups assigned at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer, Real

from privsec.core.errors import DataError
from privsec.core.estimate import Estimate, unresolved
from privsec.measures.intervals import Ids, Measure, clustered

FEWEST = 20
"""A group with fewer records, or fewer of a class, outside some target's training set is left out."""
DRAWS = 20
"""Random assignments of groups, whose mean gap is the one by chance."""

MEASURES: dict[str, Measure] = {
    "group_accuracy": Measure(
        "share",
        "higher_is_better",
        (0.0, 1.0),
        "records of the group, outside the training set, that are labelled right",
    ),
    "worst_group_accuracy": Measure(
        "share", "higher_is_better", (0.0, 1.0), "the accuracy in the group where it is lowest"
    ),
    "accuracy_gap": Measure("share", "higher_is_worse", (0.0, 1.0), "the highest accuracy of a group less the lowest"),
    "demographic_parity": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "how much more often one group gets an answer than another, at most over groups and answers: "
        "max_c (max_g P(c | g) - min_g P(c | g))",
    ),
    "equalized_odds": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "the same among records whose true class is the same, at most over classes: false and true answers hit groups "
        "unequally. max_k,c (max_g P(c | k, g) - min_g P(c | k, g))",
    ),
}
"""The measures of fairness, in the order of tables; in a table they carry their attribute: `equalized_odds[sex]`."""
GAPS = ("worst_group_accuracy", "accuracy_gap", "demographic_parity", "equalized_odds")


class Groups(NamedTuple):
    """A sensitive attribute of N records: codes 0..G-1 and the names of the groups."""

    codes: Integer[np.ndarray, " N"]
    names: Sequence[str]


class Fairness(NamedTuple):
    """What is found for one attribute.

    Attributes:
        per_target: measure -> a value for each target; groups are named in brackets: `group_accuracy[Female]`.
        by_chance: gap -> its mean over random assignments of groups.
        records: of each group, the fewest outside of a target's training set; those left out too.
        left_out: groups with fewer records than `FEWEST`.
    """

    per_target: dict[str, Float64[np.ndarray, " T"]]
    by_chance: dict[str, float]
    records: dict[str, int]
    left_out: tuple[str, ...]


def measure(
    predicted: Integer[np.ndarray, "T N"],
    y: Integer[np.ndarray, " _N"],
    member: Bool[np.ndarray, "_T _N"],
    groups: Groups,
    classes: int,
    seed: int = 0,
) -> Fairness:
    """Accuracy by group and the gaps between groups, of every target, on the records it was not trained on.

    Args:
        predicted: labels 0..C-1 that each target answers with.
        y: the true labels.
        member: who was in target t's training set.
        groups: whose members the records are.
        classes: C.
        seed: of the random assignments.

    Returns:
        NaN for gaps where fewer than two groups are large enough; equalized odds where no class has two such groups.

    Raises:
        DataError: the shapes differ.

    References: Hardt et al. 2016, arXiv 1610.02413 (equalized odds); Agarwal et al. 2018, arXiv 1803.02453.
    """
    predicted, y, outside = np.asarray(predicted), np.asarray(y), ~np.asarray(member, bool)
    codes = np.asarray(groups.codes)
    if predicted.shape != outside.shape or not predicted.shape[1:] == y.shape == codes.shape:
        raise DataError(
            f"answers and membership must be [targets, records], labels and groups [records]: got {predicted.shape}, "
            f"{outside.shape}, {y.shape} and {codes.shape}"
        )
    size = len(groups.names), classes
    counts = _tallies(predicted, y, outside, codes, *size)
    of_group = counts.sum(axis=(2, 3)).min(axis=0)
    large, known = of_group >= FEWEST, counts.sum(axis=3).min(axis=0) >= FEWEST
    accuracy, gaps = _gaps(counts, large, known)
    per_target = {f"group_accuracy[{groups.names[g]}]": accuracy[:, g] for g in np.flatnonzero(large).tolist()}
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in GAPS}
    for _ in range(DRAWS):
        anyhow = _tallies(predicted, y, outside, random.permutation(codes), *size)
        alike = _tallies(predicted, y, outside, _within(y, codes, random), *size)
        chance = _gaps(anyhow, large, known)[1] | {"equalized_odds": _gaps(alike, large, known)[1]["equalized_odds"]}
        for name, values in chance.items():
            drawn[name].append(float(np.mean(values)))
    return Fairness(
        per_target | gaps,
        {name: float(np.mean(values)) for name, values in drawn.items()},
        {str(name): int(count) for name, count in zip(groups.names, of_group, strict=True)},
        tuple(str(groups.names[g]) for g in np.flatnonzero(~large).tolist()),
    )


def _tallies(
    predicted: Integer[np.ndarray, "T N"],
    y: Integer[np.ndarray, " N"],
    outside: Bool[np.ndarray, "T N"],
    codes: Integer[np.ndarray, " N"],
    groups: int,
    classes: int,
) -> Int[np.ndarray, "T G K C"]:
    """How many records of group g and class k outside target t's training set are labelled c."""
    cell = (codes * classes + y)[None] * classes + predicted
    width = groups * classes * classes
    targets = len(predicted)
    flat = (np.arange(targets)[:, None] * width + cell)[outside]
    return np.bincount(flat, minlength=targets * width).reshape(targets, groups, classes, classes)


def _gaps(
    counts: Int[np.ndarray, "T G K C"], large: Bool[np.ndarray, " G"], known: Bool[np.ndarray, "G K"]
) -> tuple[Float64[np.ndarray, "T G"], dict[str, Float64[np.ndarray, " T"]]]:
    """The accuracy of every group, and the gaps between those that are large enough."""
    of_group = np.maximum(counts.sum(axis=(2, 3)), 1)
    accuracy = np.trace(counts, axis1=2, axis2=3) / of_group
    nothing = np.full(len(counts), np.nan)
    if large.sum() < 2:
        return accuracy, dict.fromkeys(GAPS, nothing)
    rate = counts.sum(axis=2) / of_group[..., None]
    odds = counts / np.maximum(counts.sum(axis=3, keepdims=True), 1)
    by_class = [
        np.ptp(odds[:, known[:, k], k], axis=1).max(axis=1) for k in range(known.shape[1]) if known[:, k].sum() > 1
    ]
    return accuracy, {
        "worst_group_accuracy": accuracy[:, large].min(axis=1),
        "accuracy_gap": np.ptp(accuracy[:, large], axis=1),
        "demographic_parity": np.ptp(rate[:, large], axis=1).max(axis=1),
        "equalized_odds": np.max(by_class, axis=0) if by_class else nothing,
    }


def _within(
    y: Integer[np.ndarray, " N"], codes: Integer[np.ndarray, " N"], random: np.random.Generator
) -> Integer[np.ndarray, " N"]:
    """The codes shuffled among the records of each class."""
    shuffled = codes.copy()
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        shuffled[rows] = codes[random.permutation(rows)]
    return shuffled


def estimates(
    per_target: Mapping[str, Real[np.ndarray, " T"]],
    clusters: Ids,
    seeds: Ids | None = None,
    *,
    by_chance: Mapping[str, float] | None = None,
    records: Mapping[str, int] | None = None,
) -> dict[str, Estimate]:
    """The mean of each measure over targets, with an interval over complementary pairs.

    Args:
        per_target: names as in a table, `equalized_odds[sex]`; seeds concatenated.
        clusters: equal for the two models of a pair.
        seeds: None for one seed.
        by_chance: of gaps, for their notes.
        records: of groups, by the name of their accuracy.
    """
    answer = {}
    for name, values in per_target.items():
        unit, direction, bounds, _ = MEASURES[kind_of(name)]
        if not np.isfinite(values).any():
            why = f"fewer than two groups have {FEWEST} records, or {FEWEST} of one class, outside the training sets"
            answer[name] = unresolved(0, unit, direction, why)
            continue
        trials = (records or {}).get(name)
        made = clustered(values, clusters, seeds, unit=unit, direction=direction, bounds=bounds, trials=trials)
        chance = (by_chance or {}).get(name)
        notes = [made.note, "" if chance is None else f"{chance:.3f} were groups assigned at random"]
        answer[name] = made._replace(note="; ".join(filter(None, notes)))
    return answer


def named(name: str, attribute: str) -> str:
    """The name in a table of a measure of one attribute.

    >>> named("equalized_odds", "sex"), named("group_accuracy[Female]", "sex")
    ('equalized_odds[sex]', 'group_accuracy[sex=Female]')
    """
    kind, _, group = name.partition("[")
    return f"{kind}[{attribute}={group}" if group else f"{kind}[{attribute}]"


def kind_of(name: str) -> str:
    """The measure that a name in a table is of.

    >>> kind_of("equalized_odds[sex]")
    'equalized_odds'
    """
    return name.partition("[")[0]
