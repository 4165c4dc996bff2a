"""Which records are near which, in NumPy and in parts: no N x N matrix is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

CHUNK = 512
"""Records held against all others at once."""


def flat(x: Float[np.ndarray, " N *features"]) -> Float64[np.ndarray, "N D"]:
    """Each record as one row of float64."""
    return np.asarray(x, np.float64).reshape(len(x), math.prod(np.shape(x)[1:]))


def nearest(
    x: Float[np.ndarray, "N D"], known: Float[np.ndarray, "K D"] | None, k: int
) -> tuple[Float64[np.ndarray, "N _"], Int64[np.ndarray, "N _"]]:
    """The L2 distances to the k nearest of the `known`, nearest first, and which they are.

    Args:
        x: the records.
        known: what they are held against; each other (but not themselves) where None.
        k: how many; all there are where that is fewer.

    >>> distance, row = nearest(np.array([[0.0], [1.0], [5.0]]), None, 1)
    >>> distance.ravel().tolist(), row.ravel().tolist()
    ([1.0, 1.0, 4.0], [1, 0, 1])
    """
    x, own = flat(x), known is None
    others = x if known is None else flat(known)
    k = min(k, len(others) - own)
    if k < 1:
        return np.zeros((len(x), 0)), np.zeros((len(x), 0), np.int64)
    distances, rows = [], []
    for start, squares in _squares(x, others):
        if own:
            squares[np.arange(len(squares)), start + np.arange(len(squares))] = np.inf
        found = np.argpartition(squares, k - 1, axis=1)[:, :k]
        exact = np.linalg.norm(x[start : start + len(squares), None] - others[found], axis=-1)
        order = np.lexsort((found, exact), axis=-1)
        distances.append(np.take_along_axis(exact, order, 1))
        rows.append(np.take_along_axis(found, order, 1))
    return np.concatenate(distances), np.concatenate(rows).astype(np.int64)


def pairs_within(x: Float[np.ndarray, "N D"], radius: float) -> Int64[np.ndarray, "P 2"]:
    """All pairs i < j of records at most `radius` apart, in order of i, then j."""
    x, found = flat(x), [np.zeros((0, 2), np.int64)]
    slack = 1e-9 * (1 + np.max(np.sum(x**2, axis=1), initial=0.0))  # of the products; the distance is taken again
    for start, squares in _squares(x, x):
        i, j = np.nonzero(squares <= radius**2 + slack)
        i += start
        i, j = i[i < j], j[i < j]
        near = np.linalg.norm(x[i] - x[j], axis=1) <= radius
        found.append(np.stack([i[near], j[near]], axis=1))
    return np.concatenate(found)


def typical_distance(x: Float[np.ndarray, "N D"], rng: np.random.Generator, draws: int = 2000) -> float:
    """The median L2 distance of two records drawn at random; 0 where there are no two."""
    if len(x) < 2:
        return 0.0
    x = flat(x)
    first, second = rng.integers(0, len(x), draws), rng.integers(1, len(x), draws)
    return float(np.median(np.linalg.norm(x[first] - x[(first + second) % len(x)], axis=1)))


def first_of_their_kind(pairs: Int64[np.ndarray, "P 2"], count: int) -> Int64[np.ndarray, " N"]:
    """Who stands for each of `count` records: the first earlier one that stands for itself and is near, or itself.

    No chain of near ones makes two far ones the same.

    >>> first_of_their_kind(np.array([[0, 1], [1, 2]]), 3).tolist()
    [0, 0, 2]
    """
    stands_for = np.arange(count)
    for i, j in pairs:  # in order of i: all that decides on i is decided
        if stands_for[i] == i and stands_for[j] == j:
            stands_for[j] = i
    return stands_for


def in_conflict(groups: Int64[np.ndarray, " N"], y: np.ndarray) -> Bool[np.ndarray, " N"]:
    """Whether somebody of a record's group has another label."""
    order = np.argsort(groups, kind="stable")
    _, start = np.unique(groups[order], return_index=True)
    low, high = np.minimum.reduceat(y[order], start), np.maximum.reduceat(y[order], start)
    return np.isin(groups, groups[order][start][low != high])


def _squares(x: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The squared distances [B, K] of `CHUNK` records at a time, to rounding of the products."""
    lengths = np.sum(others**2, axis=1)
    for start in range(0, len(x), CHUNK):
        rows = x[start : start + CHUNK]
        yield start, np.sum(rows**2, axis=1)[:, None] + lengths - 2 * rows @ others.T
