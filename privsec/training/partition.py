"""Records put into parts by what is in them, so that a part hangs on nothing but the records that are in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from privsec.ops.contents import digests


def part_of(digests: Sequence[bytes], partitions: int) -> Int[np.ndarray, " N"]:
    """In which of the parts each record is, by its digest."""
    return np.array([int.from_bytes(digest[:8], "little") % partitions for digest in digests], np.int64)


def parts(
    x: Float[np.ndarray, " N *features"],
    y: Int[np.ndarray, " N"],
    among: Bool[np.ndarray, " N"],
    partitions: int,
) -> list[Int[np.ndarray, " _"]]:
    """The rows of each part among some of N records, in an order that hangs on their contents alone.

    Records that are equal in every number and in their label may stand either way: nobody can tell.
    """
    rows = np.flatnonzero(among)
    hashed = digests(np.asarray(x)[rows])
    labels, where = np.asarray(y)[rows], part_of(hashed, partitions)
    made: list[list[int]] = [[] for _ in range(partitions)]
    for i in sorted(range(len(rows)), key=lambda i: (hashed[i], labels[i])):
        made[where[i]].append(rows[i])
    return [np.array(part, np.int32) for part in made]
