"""How far a measured number can be trusted: binomial, AUC and clustered intervals, and Holm's correction.

Two models trained on complementary halves of the same records are dependent: what one knows, the other does not. Such a
pair is one *cluster*, and clusters are what an interval over many models counts. Everything is float64 NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Real, Shaped
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri, stdtr, stdtrit

from privsec.core.errors import DataError
from privsec.core.estimate import Direction, Estimate, unresolved
from privsec.measures.roc import below

Values = Real[np.ndarray, " T"] | Sequence[float]
"""One number a target."""
Ids = Shaped[np.ndarray, " T"] | Sequence[int]
"""Which cluster or seed a target belongs to."""


class Measure(NamedTuple):
    """What a measure counts: its unit, its direction for the model's owner, its range, a sentence for the report."""

    unit: str
    direction: Direction
    bounds: tuple[float, float]
    meaning: str


class ClusterMean(NamedTuple):
    """A mean over targets, its standard error, the error's degrees of freedom (0: no error), the number of clusters."""

    value: float
    error: float
    df: float
    clusters: int

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "the mean is 0" (Student's t); 1 where there is nothing to test with."""
        if self.df == 0 or self.value == 0:
            return 1.0
        return float(2 * stdtr(self.df, -abs(self.value) / self.error)) if self.error > 0 else 0.0


def clopper_pearson(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share after `k` successes in `n` independent trials; [0, 1] without a trial.

    >>> [round(end, 4) for end in clopper_pearson(0, 200)]
    [0.0, 0.0183]

    References: Clopper & Pearson 1934, Biometrika 26.
    """
    if not 0 <= k <= n:
        raise ValueError(f"successes must lie between 0 and the number of trials: got {k} of {n}")
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def wilson(
    k: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[Float64[np.ndarray, " *shape"], Float64[np.ndarray, " *shape"]]:
    """The score interval of a share, elementwise for arrays; narrower than Clopper-Pearson and right on average.

    References: Wilson 1927, JASA 22.
    """
    k, n = np.asarray(k, np.float64), np.asarray(n, np.float64)
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    center, spread = k + z2 / 2, np.sqrt(z2 * (k * (n - k) / n + z2 / 4))
    return np.where(k == 0, 0.0, (center - spread) / (n + z2)), np.where(k == n, 1.0, (center + spread) / (n + z2))


def share_difference(
    k1: ArrayLike, n1: ArrayLike, k0: ArrayLike, n0: ArrayLike, confidence: float = 0.95
) -> tuple[Float64[np.ndarray, " *shape"], Float64[np.ndarray, " *shape"]]:
    """The interval of k1/n1 - k0/n0, two independent shares, elementwise; it keeps its width at 0% and 100%.

    References: Newcombe 1998, Statistics in Medicine 17, method 10.
    """
    p1, p0 = np.divide(k1, n1), np.divide(k0, n0)
    (low1, high1), (low0, high0) = wilson(k1, n1, confidence), wilson(k0, n0, confidence)
    gap = np.asarray(p1 - p0)
    return np.asarray(gap - np.hypot(p1 - low1, high0 - p0)), np.asarray(gap + np.hypot(high1 - p1, p0 - low0))


def delong(scores: Real[np.ndarray, " N"], member: Bool[np.ndarray, " N"]) -> tuple[float, float]:
    """The AUC of one fixed model and its standard error, in O(N log N) by mid-ranks.

    Args:
        scores: higher = more likely a member; NaN = not attacked.
        member: who was trained on.

    Returns:
        (AUC with ties counted half, standard error). The error is 0 under perfect separation and NaN with fewer than
        two records on a side.

    References: DeLong et al. 1988, Biometrics 44; Sun & Xu 2014, IEEE Signal Processing Letters 21.
    """
    scores, member = np.asarray(scores, np.float64), np.asarray(member, bool)
    attacked = ~np.isnan(scores)
    inside, outside = scores[attacked & member], scores[attacked & ~member]
    if not len(inside) or not len(outside):
        raise DataError("an AUC needs at least one member and one non-member with a score")
    wins = below(inside, outside) / len(outside)  # of each member, over the non-members
    losses = below(outside, inside) / len(inside)
    if min(len(inside), len(outside)) < 2:
        return float(wins.mean()), math.nan
    return float(wins.mean()), math.sqrt(wins.var(ddof=1) / len(wins) + losses.var(ddof=1) / len(losses))


def cluster_mean(values: Values, clusters: Ids, seeds: Ids | None = None) -> ClusterMean:
    """The mean over targets and its standard error over independent clusters of targets.

    With several seeds the value is the mean of the seeds' means, and its error the larger of two: the pooled one over
    clusters within seeds (it has `clusters - seeds` degrees of freedom, a mean being spent on each seed) and the one
    between seeds, `sd / sqrt(seeds)`, which alone sees what all targets of a seed share (the candidates, the reference
    models). Two or three seeds say little about the second: where it is the larger, Satterthwaite's formula lets the
    degrees of freedom slide from `clusters - seeds` to `seeds - 1` as the excess grows.

    Args:
        values: a NaN is left out.
        clusters: equal for dependent targets of a seed; the ids of another seed are other clusters, even where they
            recur.
        seeds: None for one seed.

    References: Satterthwaite 1946, Biometrics Bulletin 2.
    """
    values = np.asarray(values, np.float64)
    kept = np.isfinite(values)
    values = values[kept]
    if not len(values):
        return ClusterMean(math.nan, math.nan, 0, 0)
    seed = np.zeros(len(values), np.int64) if seeds is None else _codes(np.asarray(seeds)[kept])
    pair = _codes(np.asarray(clusters)[kept])
    cluster = _codes(seed * (pair.max() + 1) + pair)
    s, g = int(seed.max()) + 1, int(cluster.max()) + 1
    size = np.bincount(seed)
    means = np.bincount(seed, values) / size
    pull = np.bincount(cluster, (values - means[seed]) / size[seed])  # each cluster's part in its seed's error
    within = float(np.sum(pull**2)) / s**2 * g / (g - s) if g > s else 0.0
    between = float(np.var(means, ddof=1)) / s if s > 1 else 0.0
    if between <= within or g == s:
        df = g - s if g > s else s - 1
    else:
        df = between**2 / (within**2 / (g - s) + (between - within) ** 2 / (s - 1))
    return ClusterMean(float(means.mean()), math.sqrt(max(within, between)), df, g)


def _codes(ids: Shaped[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    return np.unique(ids, return_inverse=True)[1]


def clustered(
    values: Values,
    clusters: Ids,
    seeds: Ids | None = None,
    *,
    unit: str = "",
    direction: Direction = "descriptive",
    bounds: tuple[float, float] = (-math.inf, math.inf),
    trials: int | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """The mean over targets with a Student-t interval over clusters of dependent targets; `n` counts the clusters.

    Args:
        values: a NaN is left out.
        clusters: equal for dependent targets of a seed.
        seeds: None for one seed.
        unit: what the value counts.
        direction: of the measure, for the model's owner.
        bounds: the range of the measure; the interval is cut off there.
        trials: records behind one target's value, where it is a share stretched over `bounds`. Targets that all agree
            (every one at 0, say) show no spread, which is no proof of certainty: the interval is then Clopper-Pearson's
            for one target.
        confidence: coverage of the interval.

    Returns:
        With one cluster the interval is the whole range, and the note says so; without a value, unresolved.

    >>> print(clustered([0.5, 0.7, 0.6, 0.8], [0, 0, 1, 1]))
    0.650 [0.015, 1.285]
    """
    values = np.asarray(values, np.float64)
    mean = cluster_mean(values, clusters, seeds)
    missing = int(np.sum(~np.isfinite(values)))
    note = f"{missing} of {len(values)} targets gave no value" if missing else ""
    if not mean.clusters:
        return unresolved(0, unit, direction, "no target gave a value")
    if mean.df == 0:
        note = "; ".join(filter(None, ["one pair: no interval", note]))
        return Estimate(mean.value, *bounds, 1, unit, direction, note)
    floor, ceiling = bounds
    if trials and mean.error < 1e-12:
        share = min(max((mean.value - floor) / (ceiling - floor), 0.0), 1.0)  # rounding may step over an end
        low, high = (floor + (ceiling - floor) * end for end in clopper_pearson(share * trials, trials, confidence))
    else:
        half = float(stdtrit(mean.df, (1 + confidence) / 2)) * mean.error
        low, high = max(mean.value - half, floor), min(mean.value + half, ceiling)
    return Estimate(mean.value, low, high, mean.clusters, unit, direction, note)


def shared_points(
    values: Values,
    sampling: tuple[float, float],
    clusters: Ids,
    seeds: Ids | None = None,
    *,
    points: int,
    unit: str = "",
    direction: Direction = "descriptive",
    bounds: tuple[float, float] = (-math.inf, math.inf),
    confidence: float = 0.95,
) -> Estimate:
    """The mean over targets that were all asked about the same points; `n` counts the points.

    The mean errs in two ways, by which points were drawn and by which models were trained, and more models do not mend
    the first. Each end lies `sqrt(a^2 + b^2)` from the mean: a is the distance of the interval over points for the
    models at hand, b the half-width of Student's interval over clusters of targets. What the models' spread has of the
    points' chance (other points in other seeds) is counted twice: too wide rather than too narrow.

    Args:
        values: a NaN is left out.
        sampling: the interval of their mean over points, say Clopper-Pearson's.
        clusters: equal for dependent targets of a seed.
        seeds: None for one seed.
        points: how many points.
        unit: what the value counts.
        direction: of the measure, for the model's owner.
        bounds: the range of the measure; the interval is cut off there.
        confidence: coverage of the interval, and of `sampling`.

    Returns:
        With one cluster the interval is the one over points, and the note says so; without a value, unresolved.

    >>> print(shared_points([0.5, 0.5, 0.5, 0.5], clopper_pearson(50, 100), [0, 0, 1, 1], points=100))
    0.500 [0.398, 0.602]

    References: Zou & Donner 2008, Statistics in Medicine 27 (intervals of sums from intervals of the summands).
    """
    mean = cluster_mean(values, clusters, seeds)
    if not mean.clusters:
        return unresolved(0, unit, direction, "no target gave a value")
    half = float(stdtrit(mean.df, (1 + confidence) / 2)) * mean.error if mean.df else 0.0
    low = mean.value - math.hypot(mean.value - sampling[0], half)
    high = mean.value + math.hypot(sampling[1] - mean.value, half)
    note = "" if mean.df else "one pair: these models, other points"
    return Estimate(mean.value, max(low, bounds[0]), min(high, bounds[1]), points, unit, direction, note)


def trials_behind(values: Values, clusters: Ids, seeds: Ids | None = None) -> float:
    """How many independent trials would know a mean share as well as these clusters of targets do.

    `p (1 - p) / error^2`, times `(t_{n-1} / t_df)^2` for what the clusters' spread leaves unknown of itself; no more
    than there are clusters, and no fewer than one. An exact interval of so many trials keeps its width near 0 and 1,
    where Student's has none.

    Args:
        values: shares, in [0, 1]; a NaN is left out.
        clusters: equal for dependent targets of a seed.
        seeds: None for one seed.

    References: Korn & Graubard 1998, Survey Methodology 24.

    >>> trials_behind([1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    3.0
    """
    mean = cluster_mean(values, clusters, seeds)
    trials = float(max(mean.clusters, 1))
    if not mean.df or not mean.error:
        return trials
    found = mean.value * (1 - mean.value) / mean.error**2
    found *= float(stdtrit(trials - 1, 0.975) / stdtrit(mean.df, 0.975)) ** 2
    return float(min(max(round(found, 9), 1.0), trials))


def paired_difference(
    values_a: Values, values_b: Values, clusters: Ids, seeds: Ids | None = None, **described: Any
) -> Estimate:
    """The mean of a - b over the same targets (say, defended minus undefended) with its interval.

    Which records a target was trained on moves both values alike and cancels. `cluster_mean(a - b, ...).p_value` is the
    test that belongs to it, for `holm`.

    Args:
        values_a: the first.
        values_b: the second; a target that lacks either value is left out.
        clusters: equal for dependent targets of a seed.
        seeds: None for one seed.
        **described: `unit`, `direction`, `bounds`, `confidence` of `clustered`.
    """
    return clustered(np.asarray(values_a, np.float64) - np.asarray(values_b, np.float64), clusters, seeds, **described)


def holm(p_values: Real[np.ndarray, " P"] | Sequence[float]) -> Float64[np.ndarray, " P"]:
    """Holm's adjusted p-values: reject where <= alpha, and any false rejection in the family has probability <= alpha.

    A NaN (a comparison that was not made) stays NaN and is not counted.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]

    References: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values)[: int(np.sum(~np.isnan(p_values)))]
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
