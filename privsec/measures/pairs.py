"""Which targets of several seeds are the two models of a complementary pair."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int, Shaped

from privsec.measures.intervals import Ids


def pairs_of(count: int, seeds: Ids | None) -> tuple[Int[np.ndarray, " T"], Shaped[np.ndarray, " T"]]:
    """The pair that each of `count` targets is in, numbered within its seed, and its seed (0 where there is one).

    Targets 2p and 2p + 1 of a seed are a pair; seeds may come in any order, mixed.

    >>> [part.tolist() for part in pairs_of(6, [7, 7, 7, 7, 9, 9])]
    [[0, 0, 1, 1, 0, 0], [7, 7, 7, 7, 9, 9]]
    """
    seed = np.zeros(count, np.int64) if seeds is None else np.asarray(seeds)
    return np.array([int(np.sum(seed[:t] == seed[t])) for t in range(count)]) // 2, seed
