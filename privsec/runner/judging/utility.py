"""What the defended model is still worth, as its users meet it: behind its output defenses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.estimate import Estimate
from privsec.core.target import Target
from privsec.measures import fairness, utility
from privsec.runner.case import Judgement
from privsec.runner.plan import Bank
from privsec.runner.world import World


def judged(target: Target, world: World, bank: Bank) -> Judgement:
    """The measures of utility, and what the training says of itself."""
    records, member, outside = _asked(world)
    correct = target.observe(records, "correct")
    scores = target.observe(records, "top_scores")[..., 0] if Access.SCORES in target.grants else None
    per_target = utility.measure(correct, member, scores, outside)
    fewest = int(outside.sum(axis=1).min())
    facts: dict[str, Any] = {"kind": "utility", "records": min(bank.recipe.records, fewest)}
    if world.dataset.sensitive and world.experiment.population.by == "record":
        found, facts["fairness"] = _fairness(_labels(target, world, correct), world)
        per_target |= found
    if bank.recipe.dp_event is not None and bank.claim is not None:
        facts |= {**bank.claim._asdict(), **bank.recipe.dp_event._asdict()}
    return Judgement(per_target, facts, {})


class Tested(NamedTuple):
    """What models get right of the clean records that they were not trained on.

    Attributes:
        accuracy: the share of all, [T].
        by_class: that of each class's, [T, C]; NaN where a model is tested on none.
        records: how many these are, for the model that has fewest.
    """

    accuracy: np.ndarray
    by_class: np.ndarray
    records: int


def tested(target: Target, world: World) -> Tested:
    """Each model on the clean records that it was not trained on, together and class by class.

    Not on the defender's own, where there are others: a defense may have trained the model further on these.
    """
    records, _, outside = _asked(world)
    right = target.observe(records, "correct") * outside
    of_class = np.arange(world.dataset.num_classes) == np.asarray(records.y)[:, None]
    count = outside.astype(np.float64) @ of_class
    by_class = np.where(count > 0, (right.astype(np.float64) @ of_class) / np.maximum(count, 1), np.nan)
    return Tested(right.sum(axis=1) / outside.sum(axis=1), by_class, int(outside.sum(axis=1).min()))


def _asked(world: World) -> tuple[Examples, np.ndarray, np.ndarray]:
    """Records, who is in whose training set [M, N], and on which records which model is tested [M, N].

    The candidates that a model was not trained on are of classes that it never saw where halves are drawn by class: it
    is tested on the defender's records of the others.
    """
    candidates, member = world.candidates, world.member
    if world.experiment.population.by == "record":
        return candidates, member, ~member
    holdout, classes = world.holdout, np.arange(world.dataset.num_classes)
    knows = np.stack([np.isin(classes, np.asarray(candidates.y)[row]) for row in member])
    records = Examples(*(np.concatenate(parts) for parts in zip(candidates, holdout, strict=True)))
    nobody = np.zeros((len(member), holdout.size), bool)
    tested = np.concatenate([np.zeros_like(member), knows[:, np.asarray(holdout.y)]], axis=1)
    return records, np.concatenate([member, nobody], axis=1), tested


def _labels(target: Target, world: World, correct: np.ndarray) -> np.ndarray:
    """The labels int [T, N] that every target answers with: of two classes, the wrong one is the other."""
    y, classes = np.asarray(world.candidates.y), world.dataset.num_classes
    if classes == 2:
        return np.where(correct > 0, y, 1 - y)
    asked = (Examples(world.candidates.x, np.full_like(y, c)) for c in range(classes))
    return np.argmax(np.stack([target.observe(examples, "correct") for examples in asked]), axis=0)


def _fairness(labels: np.ndarray, world: World) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The measures of every sensitive attribute by their names in the table, and what is to be said of them."""
    per_target: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"by_chance": {}, "records": {}, "left_out": {}}
    for attribute, codes in world.dataset.sensitive.items():
        names = world.dataset.group_names.get(attribute) or [f"{attribute} {c}" for c in range(int(codes.max()) + 1)]
        groups = fairness.Groups(np.asarray(codes)[world.splits.candidates], names)
        y = np.asarray(world.candidates.y)
        found = fairness.measure(labels, y, world.member, groups, world.dataset.num_classes, world.seed)
        per_target |= {fairness.named(name, attribute): values for name, values in found.per_target.items()}
        facts["by_chance"] |= {fairness.named(name, attribute): value for name, value in found.by_chance.items()}
        records = {fairness.named(f"group_accuracy[{name}]", attribute): n for name, n in found.records.items()}
        facts["records"] |= records
        facts["left_out"][attribute] = list(found.left_out)
    return per_target, facts


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates, the claimed epsilon among them where there is one."""
    pairs = np.arange(len(next(iter(per_target.values())))) // 2
    by_group = {name: values for name, values in per_target.items() if fairness.kind_of(name) in fairness.MEASURES}
    of_all = {name: values for name, values in per_target.items() if name not in by_group}
    answer = utility.estimates(of_all, pairs, seeds, records=facts["records"])
    if by_group:
        said = facts["fairness"]
        answer |= fairness.estimates(by_group, pairs, seeds, by_chance=said["by_chance"], records=said["records"])
    if "epsilon" in facts:
        claimed = facts["epsilon"]
        answer["epsilon_claimed"] = Estimate(claimed, claimed, claimed, 0, f"epsilon at delta {facts['delta']:g}")
    return answer
