"""Statistics of a bank of reference models for every target at once, each without the models withheld from it.

A target's attacker may use some references and not others (`usable`). Every statistic here is a sum over usable
references, hence one matrix product `usable @ values` for all targets together: T x M x N multiplications, nothing of
size T x M x N in memory, and a withheld row enters with weight zero instead of being subtracted, so no digits are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

CHUNK = 2048
"""Records handled at once; bounds the memory, never changes a number."""

SOME = 16
"""References that tell round which number a record's values are summed up."""


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations from that mean, of each target and record; a mean of nothing is 0."""

    count: Float64[np.ndarray, "T N"]
    mean: Float64[np.ndarray, "T N"]
    squares: Float64[np.ndarray, "T N"]


def chunks(records: int) -> Iterator[slice]:
    """Consecutive slices that cover `records`.

    >>> [part.stop - part.start for part in chunks(5000)]
    [2048, 2048, 904]
    """
    for start in range(0, records, CHUNK):
        yield slice(start, min(start + CHUNK, records))


def counts(chosen: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "T M"]) -> Float64[np.ndarray, "T N"]:
    """How many usable references have `chosen` set."""
    return usable.astype(np.float64) @ chosen.astype(np.float64)


def fewest(chosen: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "T M"]) -> int:
    """The smallest of `counts` over all targets and records."""
    return int(min(counts(chosen[:, rows], usable).min() for rows in chunks(chosen.shape[1])))


def moments(
    values: Float[np.ndarray, "M N"], chosen: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "T M"]
) -> Moments:
    """Moments of `values` over the usable references in which each record is `chosen`.

    Values are centered per record on one of themselves before they are squared: exact for constants, and stable.

    Args:
        values: a signal of N records on M references.
        chosen: for example who was trained on what, or its complement.
        usable: which references count for which target.

    >>> import numpy as np
    >>> out = moments(np.array([[1.0], [3.0], [99.0]]), np.ones((3, 1), bool), np.array([[True, True, False]]))
    >>> out.count.item(), out.mean.item(), out.squares.item()
    (2.0, 2.0, 2.0)
    """
    usable, chosen = usable.astype(np.float64), chosen.astype(np.float64)
    center = _center(values)
    deviation = values.astype(np.float64) - center
    count = usable @ chosen
    offset = (usable @ (chosen * deviation)) / np.maximum(count, 1.0)
    squares = np.maximum(usable @ (chosen * deviation**2) - count * offset**2, 0.0)
    return Moments(count, np.where(count > 0, center + offset, 0.0), squares)


def log_mean_exp(
    values: Float[np.ndarray, "M N"], chosen: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "T M"]
) -> Float64[np.ndarray, "T N"]:
    """The log of the mean of exp(values) over the usable references in which each record is `chosen`.

    -inf where there is none. Arguments as in `moments`.
    """
    usable, chosen = usable.astype(np.float64), chosen.astype(np.float64)
    center = _center(values)
    relative = np.exp(np.clip(values.astype(np.float64) - center, -700.0, 700.0))
    with np.errstate(divide="ignore"):
        return center + np.log(usable @ (chosen * relative)) - np.log(np.maximum(usable @ chosen, 1.0))


def complements(included: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "T M"]) -> list[list[tuple[int, int]]]:
    """For each row, pairs of its models of which one was trained on just the records that the other was not.

    No model is in two pairs of a row.

    >>> complements(np.array([[True, False], [True, True], [False, True]]), np.ones((1, 3), bool))
    [[(0, 2)]]
    """
    own, other = ([np.packbits(row).tobytes() for row in side] for side in (included, ~included))
    found = []
    for allowed in usable:
        waiting: dict[bytes, list[int]] = {}
        pairs = []
        for m in np.flatnonzero(allowed).tolist():
            if partners := waiting.get(other[m]):
                pairs.append((partners.pop(0), m))
            else:
                waiting.setdefault(own[m], []).append(m)
        found.append(pairs)
    return found


def _center(values: Float[np.ndarray, "M N"]) -> Float64[np.ndarray, "1 N"]:
    """Each record's lower median over some references: it occurs, and few outliers do not move it."""
    some = values[:: max(1, len(values) // SOME)]
    middle = (len(some) - 1) // 2
    return np.partition(some, middle, axis=0)[middle : middle + 1].astype(np.float64)
