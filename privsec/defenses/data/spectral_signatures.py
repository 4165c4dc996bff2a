"""Records that stretch their class in one direction are left out.

References: Tran, Li & Madry 2018, "Spectral signatures in backdoor attacks", arXiv 1811.00636.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from pydantic import Field

from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.ops.representation import represented


class SpectralSignatures(DataDefense):
    """Leaves out the records that lie farthest along the direction in which their class varies most.

    A model is trained on everything first. Of each class, with the representations R that its last layer reads, less
    their mean: score = (R v)^2, v the top right singular vector of R.

    References: Tran et al. 2018, arXiv 1811.00636 (algorithm 1).
    """

    name: Literal["spectral_signatures"] = "spectral_signatures"
    paper = "Tran, Li & Madry 2018, arXiv 1811.00636"

    share: float = Field(default=0.15, ge=0, lt=1)
    """Which share of each class's records goes: one and a half times the poison expected there; 0 for none."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        y = np.asarray(data.y)
        if self.share == 0:
            return Cleaned.untouched(data)
        target = curator.fit(y, np.ones(len(y), bool), curator.key)
        score = spectral_scores(represented(target, data.x), y)
        return Cleaned.without(data, score, self.share, by_class=True)


def spectral_scores(representations: Float[np.ndarray, "N F"], y: Int[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """`((R_i - mean R) . v)^2` within each class.

    >>> spectral_scores(np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]), np.zeros(3, int)).round(6).tolist()
    [1.0, 1.0, 4.0]
    """
    scores = np.zeros(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        centered = representations[rows].astype(np.float64)
        centered -= centered.mean(axis=0)
        direction = np.linalg.svd(centered, full_matrices=False)[2][0]
        scores[rows] = (centered @ direction) ** 2
    return scores
