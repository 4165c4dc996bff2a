"""Averages over records of like level: how a statistic of many records hangs on one number of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int

GROUPS = 10
"""In how many groups of equal size records are averaged, at most."""
FEWEST = 20
"""Records of a group, at least."""


class Smoother(NamedTuple):
    """A value for each group of records of like level, and straight lines between the groups' centers.

    Below the lowest center and above the highest the value is constant.

    >>> level = np.arange(400.0)
    >>> smoothed = Smoother.of(level)(3 * level)
    >>> bool(np.allclose(smoothed[20:-20], 3 * level[20:-20])), float(smoothed[0])
    (True, 58.5)
    """

    level: Float64[np.ndarray, " N"]
    groups: list[np.ndarray]
    centers: Float64[np.ndarray, " G"]
    lines: Int[np.ndarray, " N"]
    """After which center each record's straight line starts."""

    @classmethod
    def of(cls, level: Float64[np.ndarray, " N"]) -> Smoother:
        """Groups of equal size by level; records of equal level stay in their order."""
        count = int(np.clip(len(level) // FEWEST, 1, GROUPS))
        groups = np.array_split(np.argsort(level, kind="stable"), count)
        centers = np.array([np.mean(level[group]) for group in groups])
        return cls(level, groups, centers, _lines(centers, level))

    def __call__(
        self, values: Float64[np.ndarray, " N"], at: Float64[np.ndarray, " K"] | None = None
    ) -> Float64[np.ndarray, " _"]:
        """The mean of `values` at each record's level, or at other levels."""
        return self._between(self._each(np.mean, values), at)

    def median(self, values: Float64[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
        """The median of `values` at each record's level."""
        return self._between(self._each(np.median, values), None)

    def falling(
        self, values: Float64[np.ndarray, " N"], at: Float64[np.ndarray, " K"] | None = None
    ) -> Float64[np.ndarray, " _"]:
        """The mean of `values`, at least 0 and nowhere rising with the level."""
        return self._between(np.maximum(falling(self._each(np.mean, values)), 0.0), at)

    def _each(self, statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> np.ndarray:
        return np.array([statistic(values[group]) for group in self.groups])

    def _between(self, of_group: np.ndarray, at: np.ndarray | None) -> np.ndarray:
        level, lines = (self.level, self.lines) if at is None else (at, _lines(self.centers, at))
        if len(self.groups) == 1:
            return np.full(level.shape, of_group[0])
        apart = np.diff(self.centers)
        rise = np.diff(of_group) / np.where(apart > 0, apart, 1.0)  # between equal centers nothing lies
        inside = np.clip(level, self.centers[0], self.centers[-1])
        return of_group[lines] + rise[lines] * (inside - self.centers[lines])


def _lines(centers: Float64[np.ndarray, " G"], level: Float64[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    return np.clip(np.searchsorted(centers, level, side="right") - 1, 0, max(len(centers) - 2, 0))


def falling(values: Float64[np.ndarray, " G"]) -> Float64[np.ndarray, " G"]:
    """The sequence that never rises and is nearest to `values` in squares: neighbors that rise are pooled.

    >>> falling(np.array([3.0, 1.0, 2.0, 0.0])).tolist()
    [3.0, 1.5, 1.5, 0.0]

    References: Ayer et al. 1955, Annals of Mathematical Statistics 26.
    """
    pools: list[list[float]] = []
    for value in values:
        pools.append([float(value)])
        while len(pools) > 1 and np.mean(pools[-2]) < np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    return np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
