"""Slow, plain versions of attribute inference and its measures, loops over single records, written from the papers."""

from __future__ import annotations

import itertools
import math


def map_posterior(prior, confidence):
    """P(a | rest, y) by Bayes' rule for one record: prior [V], p_y with each value [V]."""
    joint = [p * c for p, c in zip(prior, confidence, strict=True)]
    return [part / sum(joint) for part in joint]


def error_rates(y, answers, classes):
    """P(true | answered) with one error of each kind added."""
    table = [[1 for _ in range(classes)] for _ in range(classes)]
    for true, said in zip(y, answers, strict=True):
        table[true][said] += 1
    return [[table[i][j] / sum(table[k][j] for k in range(classes)) for j in range(classes)] for i in range(classes)]


def ppv_at_the_surest(posteriors, values):
    """Share of right guesses among the 10% surest, averaged over every order of the records that tie."""
    surest = [max(row) for row in posteriors]
    right = [row.index(max(row)) == value for row, value in zip(posteriors, values, strict=True)]
    places = max(1, round(0.1 * len(values)))
    ranked = sorted(range(len(values)), key=lambda i: -surest[i])
    last = surest[ranked[places - 1]]
    above = [i for i in ranked if surest[i] > last]
    tied = [i for i in ranked if surest[i] == last]
    shares = [
        sum(right[i] for i in (*above, *chosen)) / places
        for chosen in itertools.combinations(tied, places - len(above))
    ]
    return math.fsum(shares) / len(shares)
