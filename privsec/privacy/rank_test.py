"""A bound on epsilon from ranks alone, exact where Clopper-Pearson's two ends are each as bad as can be.

Let the threshold be the (k + 1)th highest of n0 non-members, k fixed beforehand. Its false positive rate U is then
Beta(k + 1, n0 - k), whatever the scores are, and (epsilon, delta)-DP caps the true positive rate by B(U). The number of
members above is at most a binomial with that rate, mixed over U: one exact tail instead of two ends at alpha / 2 that
would have to fail together. The same holds with the sides swapped.

References: Kairouz et al. 2015, arXiv 1311.0776 (the region B); Wilks 1941, Annals of Mathematical Statistics 12 (the
law of U).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincinv

from privsec.privacy.accounting import tpr_bound
from privsec.privacy.bound import Design, LowerBound, check, lower_bound, ranked, stream
from privsec.privacy.error_rates import TITLES, ranks
from privsec.privacy.families import last

CELLS = np.append(np.geomspace(1, 1e-9, 800), 0.0)
"""P(U > u) at the ends of the cells that the mixture is summed over; each cell counts at its larger end."""

Rank = tuple[int, int, int, int]
"""(k, n0, found, n1): `found` of n1 records of one side lie beyond the (k + 1)th outermost of n0 of the other."""


def rank_test_scores(
    scores: ArrayLike, member: ArrayLike, *, delta: float = 0.0, alpha: float = 0.05, design: Design, seed: int = 0
) -> LowerBound:
    """The largest epsilon that the ranks of members among non-members refute, and the other way round.

    At ranks 0, 4, 16, 64 ... of each side, each at alpha over their number. It assumes what Clopper-Pearson assumes and
    shows more, most of all where little leaks.

    Args:
        scores: one a trial, higher = more likely a member; NaN = not attacked, left out.
        member: who was trained on.
        delta: of the claim that is refuted, in [0, 1).
        alpha: accepted P(bound > truth).
        design: how the trials came about; `"independent_runs"` makes a proof.
        seed: breaks ties.

    Raises:
        ConfigError: a delta, alpha or design out of range.
        DataError: scores or membership that cannot be judged.

    >>> bound = rank_test_scores(range(200), [trial >= 100 for trial in range(200)], design="independent_runs")
    >>> round(bound.estimate.value, 3) == round(bound.ceiling, 3), bound.grade
    (True, 'proof')
    """
    check(delta, alpha, design)
    order = ranked(scores, member, stream(seed))
    return lower_bound(
        _most_refuted(rank_tests(order), delta, alpha),
        _most_refuted(rank_tests(np.sort(order)[::-1]), delta, alpha),
        len(order),
        name="rank_test",
        title=f"Exact rank test, {TITLES['ranks']}",
        delta=delta,
        alpha=alpha,
        design=design,
        needs="independent_runs",
        assumptions=(),
    )


def rank_p_value(test: Rank, epsilon: float, delta: float) -> float:
    """The largest probability, over (epsilon, delta)-DP trainings, that so many or more lie beyond the rank.

    Args:
        test: k, n0, how many of the other side lie beyond, and of how many.
        epsilon: >= 0.
        delta: in [0, 1).
    """
    k, n0, found, n1 = test
    if found == 0:
        return 1.0
    rate = np.clip(tpr_bound(epsilon, delta, _rates(k, n0)), 0.0, 1.0)
    return float(np.sum(-np.diff(CELLS) * betainc(found, n1 - found + 1, rate)))


@functools.lru_cache(maxsize=256)
def _rates(k: int, n0: int) -> np.ndarray:
    """The larger end of each cell of U."""
    return np.append(betaincinv(k + 1, n0 - k, 1 - CELLS[1:-1]), 1.0)


def rank_tests(order: np.ndarray) -> tuple[Rank, ...]:
    """The tests of a ranking by descending score: members above non-members, and non-members below members."""
    found = []
    for beyond in (order, ~order[::-1]):
        others = np.flatnonzero(~beyond)
        n0 = len(others)
        found += [(int(k), n0, int(others[k] - k), len(beyond) - n0) for k in ranks(n0)]
    return tuple(found)


@functools.lru_cache(maxsize=1024)
def _most_refuted(tests: tuple[Rank, ...], delta: float, alpha: float) -> float:
    best = 0.0
    for test in tests:
        best = last(lambda epsilon, test=test: rank_p_value(test, epsilon, delta) < alpha / len(tests), best)
    return best
