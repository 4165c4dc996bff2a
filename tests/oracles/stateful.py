"""A stateful endpoint as its paper describes it: one list of earlier queries, one query after another."""

from __future__ import annotations

import math


def refused(
    queries: list[list[float]], neighbors: int, window: int, threshold: float, accounts: float
) -> tuple[list[bool], list[int]]:
    """Which queries are refused, and the numbers (from 1) of those that got an account banned."""
    earlier: list[list[float]] = []
    answers, bans = [], []
    for number, query in enumerate(queries, start=1):
        if len(bans) == accounts:
            answers.append(True)
            continue
        distances = sorted(distance(query, other) for other in earlier)
        alarm = len(distances) >= neighbors and sum(distances[:neighbors]) / neighbors < threshold
        answers.append(alarm)
        if alarm:
            bans.append(number)
            earlier = []
        else:
            earlier.append(query)
            if len(earlier) > window:
                earlier.pop(0)
    return answers, bans


def distance(one: list[float], other: list[float]) -> float:
    """Root mean square of the features' differences."""
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one))


def threshold(records: list[list[float]], neighbors: int, share: float) -> float:
    """The floor((N + 1) share)-th smallest mean distance of a record to its nearest among all others."""
    means = []
    for i, record in enumerate(records):
        others = sorted(distance(record, other) for j, other in enumerate(records) if j != i)
        means.append(sum(others[:neighbors]) / neighbors)
    return sorted(means)[math.floor((len(records) + 1) * share) - 1]
