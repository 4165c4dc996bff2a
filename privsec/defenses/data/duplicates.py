"""Records that are there twice, or in the defender's own set too, are left out.

References: Lee et al. 2022, "Deduplicating training data makes language models better", arXiv 2107.06499; Kandpal,
Wallace & Raffel 2022, "Deduplicating training data mitigates privacy risks in language models", arXiv 2202.06539;
Tramer et al. 2022, "Truth serum", arXiv 2204.00032 (mislabeled copies).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.ops.neighbors import first_of_their_kind, flat, in_conflict, nearest, pairs_within, typical_distance


class Duplicates(DataDefense):
    """Keeps one of several records that are equal or nearly so, and none whose copies are labeled differently.

    A record that is there twice is learned twice as well, so it is found out more easily, and copies with wrong labels
    are how a poisoner makes a record's membership visible. A record that is public too is no secret, and if the public
    records are held out, accuracy on them is no evidence.

    References: Lee et al. 2022, arXiv 2107.06499; Kandpal et al. 2022, arXiv 2202.06539; Tramer et al. 2022,
    arXiv 2204.00032.
    """

    name: Literal["duplicates"] = "duplicates"
    paper = "Lee et al. 2022, arXiv 2107.06499; Kandpal et al. 2022, arXiv 2202.06539"

    near: float | None = Field(default=0.05, ge=0, lt=1)
    """Records are copies at up to this share of the median distance of two; 0 for equal ones only; null for none."""
    conflicts: Literal["remove", "first"] = "remove"
    """Whether copies with different labels all go, or the first of them stays."""
    public: bool = True
    """Whether copies of the defender's own records go too."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        if self.near is None:
            return Cleaned.untouched(data)
        rng = keys.generator(keys.derive(curator.key, "distance"))
        found = copies(np.asarray(data.x), np.asarray(data.y), np.asarray(curator.public.x), self.near, rng)
        kept = found.group == np.arange(data.size)
        if self.conflicts == "remove":
            kept &= ~found.conflict
        if self.public:
            kept &= ~found.public
        return Cleaned(np.asarray(data.y), kept, -found.distance)


class Copies(NamedTuple):
    """What is there more than once, of N records.

    Attributes:
        group: the first record that each one is a copy of; its own number where there is none before it.
        conflict: whether records of its group have different labels.
        public: whether it is a copy of a public record.
        distance: to the nearest other record or public one, over the median distance of two.
    """

    group: Int64[np.ndarray, " N"]
    conflict: Bool[np.ndarray, " N"]
    public: Bool[np.ndarray, " N"]
    distance: Float64[np.ndarray, " N"]


def copies(
    x: Float[np.ndarray, " N *features"],
    y: np.ndarray,
    public: Float[np.ndarray, " K *features"],
    near: float,
    rng: np.random.Generator,
) -> Copies:
    """Equal and nearly equal records within a training set, and between it and public records.

    Args:
        x: the training records.
        y: their labels.
        public: other records, perhaps none.
        near: how near a copy is, as a share of the median distance of two training records.
        rng: draws the pairs that the median is of.

    >>> x = np.array([[0.0], [5.0], [0.0], [9.0]])
    >>> found = copies(x, np.array([0, 0, 1, 1]), np.array([[5.0]]), 0.0, np.random.default_rng(0))
    >>> found.group.tolist(), found.conflict.tolist(), found.public.tolist()
    ([0, 1, 0, 3], [True, False, True, False], [False, True, False, False])
    """
    x, public = flat(x), flat(public)
    unit = typical_distance(x, rng) or 1.0
    _, first, equal = np.unique(x, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # of different records, in the order in which they come
    rank = np.argsort(order)[equal.ravel()]
    first = first[order]
    stands_for = np.arange(len(first))
    if near > 0:
        stands_for = first_of_their_kind(pairs_within(x[first], near * unit), len(first))
    group = first[stands_for[rank]]
    to_public = nearest(x, public, 1)[0] if len(public) else np.full((len(x), 1), np.inf)
    nothing = np.full((len(x), 1), np.inf)
    among = nearest(x, None, 1)[0] if len(x) > 1 else nothing
    distance = np.minimum(to_public, among)[:, 0] / unit
    distance = np.where(np.isfinite(distance), distance, np.nan)
    return Copies(group, in_conflict(group, np.asarray(y)), to_public[:, 0] <= near * unit, distance)
