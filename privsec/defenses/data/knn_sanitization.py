"""Labels that a record's nearest neighbors contradict are left out or corrected.

References: Paudice, Munoz-Gonzalez & Lupu 2018, "Label sanitization against label flipping poisoning attacks",
arXiv 1803.00992; Peri et al. 2020, "Deep k-NN defense against clean-label data poisoning attacks", arXiv 1909.13374.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.ops.neighbors import flat, nearest
from privsec.ops.representation import represented


class KNNSanitization(DataDefense):
    """Leaves out or relabels records of whose nearest neighbors most have one other label.

    Neighbors are among the training records themselves: by what the last layer of a model trained on everything reads
    (deep k-NN), or in the input itself.

    References: Paudice et al. 2018, arXiv 1803.00992 (relabeling); Peri et al. 2020, arXiv 1909.13374 (removal, by
    representations).
    """

    name: Literal["knn_sanitization"] = "knn_sanitization"
    paper = "Paudice et al. 2018, arXiv 1803.00992; Peri et al. 2020, arXiv 1909.13374"

    k: int = Field(default=10, ge=0)
    """How many neighbors; 0 for nothing."""
    agreement: float = Field(default=0.5, ge=0, lt=1)
    """More than this share of them must have the same other label."""
    action: Literal["remove", "relabel"] = "remove"
    """Whether the record goes, or gets its neighbors' label."""
    space: Literal["input", "representation"] = "input"
    """Where neighbors are near: flipped labels show in the input, changed inputs in a model's representation."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        y = np.asarray(data.y)
        if self.k == 0 or len(y) < 2:
            return Cleaned.untouched(data)
        x = np.asarray(data.x)
        if self.space == "representation":
            x = represented(curator.fit(y, np.ones(len(y), bool), keys.derive(curator.key, "fit")), x)
        votes = neighbor_votes(x, y, self.k)
        share, other = strongest_other(votes, y)
        wrong = share > self.agreement
        if self.action == "relabel":
            return Cleaned(np.where(wrong, other, y).astype(np.int32), np.ones(len(y), bool), share)
        return Cleaned(y, ~wrong, share)


def neighbor_votes(
    x: Float[np.ndarray, " N *features"], y: Int[np.ndarray, " N"], k: int
) -> Float64[np.ndarray, "N C"]:
    """Which share of each record's k nearest others has each label.

    >>> neighbor_votes(np.array([[0.0], [1.0], [1.1], [9.0]]), np.array([0, 1, 1, 1]), 2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    """
    _, rows = nearest(flat(x), None, k)
    return np.mean(np.eye(int(y.max()) + 1)[y[rows]], axis=1)


def strongest_other(
    votes: Float64[np.ndarray, "N C"], y: Int[np.ndarray, " N"]
) -> tuple[Float64[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """The largest share of neighbors with one label other than the record's own, and that label."""
    others = np.where(np.arange(votes.shape[1]) == y[:, None], -1.0, votes)
    return np.maximum(np.max(others, axis=1), 0.0), np.argmax(others, axis=1)
