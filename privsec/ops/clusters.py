"""Few axes and two clusters of many records, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float64

RESTARTS = 20
"""Pairs of first centers that are tried."""
ITERATIONS = 100
"""Steps of one of them, at most."""
SAMPLE = 2000
"""Records that a silhouette is the mean over, at most."""


def principal(x: Float[np.ndarray, "N F"], components: int, *, whiten: bool = False) -> Float64[np.ndarray, "N _"]:
    """The records along the directions in which they vary most; fewer than `components` where they have no more.

    Whitened they vary by 1 in each. Independent components (ICA) are these in another orthonormal basis: distances
    between records are the same.
    """
    centered = np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    some = values[:components] > 1e-9 * max(values[0], 1e-300) if len(values) else np.zeros(0, bool)
    left, values = left[:, :components][:, some], values[:components][some]
    return left * (np.sqrt(len(x)) if whiten else values)


def two_means(x: Float[np.ndarray, "N F"], rng: np.random.Generator) -> Bool[np.ndarray, " N"]:
    """Which of two clusters each record is in, True for the smaller one: the best of several runs of Lloyd's k-means.

    First centers are the means of both halves of each axis, and others drawn by k-means++ (Arthur & Vassilvitskii
    2007). Where all records are the same, or there is one, none is in the smaller cluster.
    """
    x = np.asarray(x, np.float64)
    best, side = np.inf, np.zeros(len(x), bool)
    if not np.any(x != x[:1]):
        return side
    for centers in _starts(x, rng):
        for _ in range(ITERATIONS):
            squares = np.stack([np.sum((x - center) ** 2, axis=1) for center in centers])
            second = squares[1] < squares[0]
            moved = np.stack([x[~second].mean(axis=0), x[second].mean(axis=0)])
            if np.allclose(moved, centers, rtol=0, atol=1e-12):
                break
            centers = moved
        cost = float(squares.min(axis=0).sum())
        if cost < best - 1e-9:
            best, side = cost, second
    return side if side.mean() <= 0.5 else ~side


def _starts(x: Float[np.ndarray, "N F"], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Pairs of first centers [2, F]."""
    for axis in x.T:
        beyond = axis > (axis.min() + axis.max()) / 2
        if beyond.any():
            yield np.stack([x[~beyond].mean(axis=0), x[beyond].mean(axis=0)])
    for _ in range(RESTARTS):
        first = x[rng.integers(len(x))]
        squares = np.sum((x - first) ** 2, axis=1)
        yield np.stack([first, x[rng.choice(len(x), p=squares / squares.sum())]])


def silhouette(x: Float[np.ndarray, "N F"], side: Bool[np.ndarray, " N"], rng: np.random.Generator) -> float:
    """The mean of (b - a) / max(a, b): a is a record's mean distance to its own cluster, b to the other; in [-1, 1].

    A record alone in its cluster counts as 0. Of more than `SAMPLE` records a random sample is looked at.

    References: Rousseeuw 1987, doi 10.1016/0377-0427(87)90125-7.
    """
    if len(x) > SAMPLE:
        rows = rng.permutation(len(x))[:SAMPLE]
        x, side = x[rows], side[rows]
    if side.all() or not side.any():
        return 0.0
    x = np.asarray(x, np.float64)
    sizes, values = (np.sum(~side), np.sum(side)), []
    for row, mine in zip(x, side, strict=True):
        distance = np.linalg.norm(x - row, axis=1)
        own = distance[side == mine].sum() / max(sizes[int(mine)] - 1, 1)
        other = distance[side != mine].mean()
        alone = sizes[int(mine)] == 1 or max(own, other) == 0
        values.append(0.0 if alone else (other - own) / max(own, other))
    return float(np.mean(values))
