"""Bounds on epsilon from two error rates: Clopper-Pearson's, and the Gaussian one that is read off the same two ends.

A test that calls members "in" has a true and a false positive rate. (epsilon, delta)-DP caps the first by the second;
exact binomial ends of both, each wrong with probability alpha / 2, turn counts into a bound. That takes independent
trials, and a threshold that owes nothing to the trials that are counted.

References: Jagielski et al. 2020, arXiv 2006.07709; Nasr et al. 2023, arXiv 2302.07956 (GDP); Kairouz et al. 2015,
arXiv 1311.0776.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

from privsec.core.errors import ConfigError, DataError, did_you_mean
from privsec.privacy.bound import Design, LowerBound, check, check_counts, lower_bound, ranked, stream
from privsec.privacy.gaussian import gdp_epsilon

Threshold = Literal["ranks", "split", "bonferroni"]
HELD_OUT = 0.2
"""Share of each side that only chooses the threshold under `"split"`: of .2, .3 and .5 the one with most power."""

TITLES: dict[Threshold, str] = {
    "ranks": "thresholds at preset ranks of one side, corrected for their number",
    "split": f"threshold chosen on a held-out {HELD_OUT:.0%}",
    "bonferroni": "best of all thresholds, corrected for their number",
}


class _Tests(NamedTuple):
    """One or more thresholds: k_t of n1 members and k_f of n0 non-members called "in", and the alpha that each gets."""

    k_t: np.ndarray
    n1: int
    k_f: np.ndarray
    n0: int
    alpha_t: float
    alpha_f: float

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The lower end of each TPR and the upper end of each FPR."""
        with np.errstate(invalid="ignore"):
            low = betaincinv(self.k_t, self.n1 - self.k_t + 1, self.alpha_t)
            high = betaincinv(self.k_f + 1, self.n0 - self.k_f, 1 - self.alpha_f)
        return np.where(self.k_t == 0, 0.0, low), np.where(self.k_f == self.n0, 1.0, high)


class _Reading(NamedTuple):
    """What the two ends of a test show, and the epsilon that it stands for."""

    name: str
    title: str
    shown: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    epsilon: Callable[[float, float], float]
    assumptions: tuple[str, ...]

    def best(self, tests: _Tests, delta: float) -> float:
        """The largest epsilon that any of the tests shows."""
        return self.epsilon(max(float(np.max(self.shown(*tests.ends(), delta))), 0.0), delta)


def _log_ratios(tpr: np.ndarray, fpr: np.ndarray, delta: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        calls_in = np.log(np.maximum(tpr - delta, 0.0)) - np.log(fpr)
        calls_out = np.log(np.maximum(1 - fpr - delta, 0.0)) - np.log(1 - tpr)
    return np.maximum(calls_in, calls_out)


def _mu(tpr: np.ndarray, fpr: np.ndarray, delta: float) -> np.ndarray:
    """Both quantiles from the unfavorable ends; where they cross, nothing is shown, not |mu|."""
    return ndtri(tpr) - ndtri(fpr)


_EPSILON = _Reading("clopper_pearson", "Clopper-Pearson", _log_ratios, lambda shown, delta: shown, ())
_GDP = _Reading(
    "gdp", "Gaussian DP", _mu, gdp_epsilon, ("Seen from one record, the training is a Gaussian mechanism.",)
)


def clopper_pearson(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    delta: float = 0.0,
    alpha: float = 0.05,
    design: Design,
) -> LowerBound:
    """The epsilon that a test's counts refute, its threshold having been fixed before the trials were made.

    max(0, log((TPR_lo - delta) / FPR_hi), log((1 - FPR_hi - delta) / (1 - TPR_lo))), the ends at alpha / 2 each.

    Args:
        true_positives: of the `positives` trials with the record those that were called "in".
        positives: trials with the record, >= 1.
        false_positives: of the `negatives` trials without it those that were called "in".
        negatives: trials without it, >= 1.
        delta: of the claim that is refuted, in [0, 1).
        alpha: accepted P(bound > truth).
        design: how the trials came about; `"independent_runs"` makes a proof.

    Raises:
        ConfigError: a delta, alpha or design out of range.
        DataError: counts that cannot be.

    >>> bound = clopper_pearson(90, 100, 5, 100, design="independent_runs")
    >>> round(bound.estimate.value, 3), round(bound.ceiling, 3), bound.grade
    (1.988, 3.281, 'proof')
    """
    return _fixed(_EPSILON, (true_positives, positives, false_positives, negatives), delta, alpha, design)


def gdp(
    true_positives: int,
    positives: int,
    false_positives: int,
    negatives: int,
    *,
    delta: float,
    alpha: float = 0.05,
    design: Design,
) -> LowerBound:
    """The same, for a mechanism that is Gaussian: the least mu within both ends, then epsilon at delta of that mu.

    mu_lo = Phi^-1(TPR_lo) - Phi^-1(FPR_hi), and 0 where that is negative. Arguments and errors as `clopper_pearson`;
    delta > 0, as a Gaussian mechanism has no epsilon at 0.
    """
    return _fixed(_GDP, (true_positives, positives, false_positives, negatives), delta, alpha, design)


def clopper_pearson_scores(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float = 0.0,
    alpha: float = 0.05,
    design: Design,
    threshold: Threshold | float = "ranks",
    seed: int = 0,
) -> LowerBound:
    """`clopper_pearson` of scores, with a threshold that may be searched for without breaking the bound.

    - `"ranks"`: thresholds just above the (k + 1)th highest non-member for k = 0, 4, 16, 64 ..., and just below the
      lowest members alike. That side's rate has then a known law whatever its scores are (k is not random), and the
      other side is counted afresh; a Bonferroni correction over the about 2 log_4(n) thresholds. The most powerful.
    - `"split"`: a random fifth of each side chooses the threshold, the rest is counted.
    - `"bonferroni"`: every threshold. At all thresholds together the FPR has at most n0 ways to be misjudged, one a
      rank, and the TPR n1: the alpha of each is divided by that.
    - a number: records that score at least that are called "in"; fixed before looking at the scores.

    Args:
        scores: higher = more likely a member; NaN = not attacked, left out.
        member: who was trained on.
        delta: as in `clopper_pearson`.
        alpha: as in `clopper_pearson`.
        design: as in `clopper_pearson`.
        threshold: how it is chosen.
        seed: breaks ties and draws the split.

    Raises:
        ConfigError: an argument out of range, an unknown way to choose.
        DataError: scores or membership that cannot be judged; too few records to split.
    """
    return _searched(_EPSILON, scores, member, delta, alpha, design, threshold, seed)


def gdp_scores(
    scores: ArrayLike,
    member: ArrayLike,
    *,
    delta: float,
    alpha: float = 0.05,
    design: Design,
    threshold: Threshold | float = "ranks",
    seed: int = 0,
) -> LowerBound:
    """`gdp` of scores; arguments as `clopper_pearson_scores`."""
    return _searched(_GDP, scores, member, delta, alpha, design, threshold, seed)


def _fixed(
    reading: _Reading, counts: tuple[int, int, int, int], delta: float, alpha: float, design: Design
) -> LowerBound:
    k_t, n1, k_f, n0 = counts
    check(delta, alpha, design, gaussian=reading is _GDP)
    check_counts(true_positives=(k_t, n1), false_positives=(k_f, n0))
    tests, perfect = _one(k_t, n1, k_f, n0, alpha), _one(n1, n1, 0, n0, alpha)
    return _judged(reading, tests, perfect, n1 + n0, "threshold fixed beforehand", delta, alpha, design)


def _searched(
    reading: _Reading,
    scores: ArrayLike,
    member: ArrayLike,
    delta: float,
    alpha: float,
    design: Design,
    threshold: Threshold | float,
    seed: int,
) -> LowerBound:
    check(delta, alpha, design, gaussian=reading is _GDP)
    rng = stream(seed)
    order = ranked(scores, member, rng)
    n1, n0 = int(order.sum()), int((~order).sum())
    apart = np.arange(n1 + n0) < n1
    if threshold == "ranks":
        tests, perfect = _at_ranks(order, alpha), _at_ranks(apart, alpha)
    elif threshold == "bonferroni":
        tests, perfect = _everywhere(order, alpha), _everywhere(apart, alpha)
    elif threshold == "split":
        tests = _held_out(reading, scores, member, delta, alpha, rng)
        perfect = _one(tests.n1, tests.n1, 0, tests.n0, alpha)
    elif isinstance(threshold, (int, float)) and not np.isnan(threshold):
        called, who = np.asarray(scores, np.float64) >= threshold, np.asarray(member, bool)
        tests = _one(int((called & who).sum()), n1, int((called & ~who).sum()), n0, alpha)
        perfect = _one(n1, n1, 0, n0, alpha)
    else:
        raise ConfigError(
            f"no threshold is chosen by {threshold!r}.{did_you_mean(threshold, TITLES)} Write "
            f"{', '.join(map(repr, TITLES))}, or a number that was fixed before looking at the scores."
        )
    title = TITLES.get(threshold, "threshold fixed beforehand")  # type: ignore[arg-type]
    return _judged(reading, tests, perfect, n1 + n0, title, delta, alpha, design)


def _judged(
    reading: _Reading, tests: _Tests, perfect: _Tests, n: int, title: str, delta: float, alpha: float, design: Design
) -> LowerBound:
    return lower_bound(
        reading.best(tests, delta),
        reading.best(perfect, delta),
        n,
        name=reading.name,
        title=f"{reading.title}, {title}",
        delta=delta,
        alpha=alpha,
        design=design,
        needs="independent_runs",
        assumptions=reading.assumptions,
    )


def _one(k_t: int, n1: int, k_f: int, n0: int, alpha: float) -> _Tests:
    return _Tests(np.array([k_t]), n1, np.array([k_f]), n0, alpha / 2, alpha / 2)


def _at_ranks(order: np.ndarray, alpha: float) -> _Tests:
    inside, outside = np.flatnonzero(order), np.flatnonzero(~order)
    n1, n0 = len(inside), len(outside)
    k, j = ranks(n0), ranks(n1)
    members_above = outside[k] - k
    non_members_above = inside[n1 - 1 - j] - (n1 - 1 - j)
    each = alpha / (len(k) + len(j)) / 2
    k_t, k_f = np.concatenate([members_above, n1 - j]), np.concatenate([k, non_members_above])
    return _Tests(k_t, n1, k_f, n0, each, each)


def ranks(n: int) -> np.ndarray:
    """0, 4, 16, 64 ... up to n / 2."""
    powers = 4 ** np.arange(1, 30)
    return np.concatenate([[0], powers[powers <= n // 2]])


def _everywhere(order: np.ndarray, alpha: float) -> _Tests:
    k_t = np.concatenate([[0], np.cumsum(order)])
    k_f = np.arange(len(k_t)) - k_t
    n1, n0 = int(k_t[-1]), int(k_f[-1])
    return _Tests(k_t, n1, k_f, n0, alpha / 2 / n1, alpha / 2 / n0)


def _held_out(
    reading: _Reading, scores: ArrayLike, member: ArrayLike, delta: float, alpha: float, rng: np.random.Generator
) -> _Tests:
    values, who = np.asarray(scores, np.float64), np.asarray(member, bool)
    sides = [rng.permutation(values[~np.isnan(values) & side]) for side in (who, ~who)]
    if min(map(len, sides)) < 2:
        raise DataError(
            "a held-out threshold takes two members and two non-members at least: got "
            f"{len(sides[0])} and {len(sides[1])}. Use threshold='ranks', or more records."
        )
    sizes = [max(1, round(HELD_OUT * len(side))) for side in sides]
    chosen_on = [np.sort(side[:size]) for side, size in zip(sides, sizes, strict=True)]
    counted = [side[size:] for side, size in zip(sides, sizes, strict=True)]
    candidates = np.unique(np.concatenate(chosen_on))
    k_t, k_f = (len(side) - np.searchsorted(side, candidates) for side in chosen_on)
    tried = _Tests(k_t, sizes[0], k_f, sizes[1], alpha / 2, alpha / 2)
    threshold = candidates[np.argmax(reading.shown(*tried.ends(), delta))]
    k_t, k_f = (int((side >= threshold).sum()) for side in counted)
    return _one(k_t, len(counted[0]), k_f, len(counted[1]), alpha)
