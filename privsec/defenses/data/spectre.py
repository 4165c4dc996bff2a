"""Records that stretch their class in a way the bulk of the class does not are left out.

References: Hayase, Kong, Somani & Oh 2021, "SPECTRE: defending against backdoor attacks using robust statistics",
arXiv 2104.11315; Dong, Hopkins & Li 2019, "Quantum entropy scoring for fast robust mean estimation and improved
outlier detection", arXiv 1906.11366.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from pydantic import Field

from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.ops.clusters import principal
from privsec.ops.representation import represented
from privsec.ops.robust import trimmed, whitened


class Spectre(DataDefense):
    """Leaves out the records that vary most where their class, seen through its bulk, should vary alike.

    A model is trained on everything first. Each class's representations, on the k axes along which they vary most, are
    whitened by mean and covariance of the class's bulk, so that spread that the class has anyway counts for nothing:
    score = x' Q x, `Q = exp(alpha (S - I) / (|S| - 1)) / tr`, S the covariance of the whitened x. Of several k it is
    the one after whose removal the whole class stretches farthest beyond what is left.

    References: Hayase et al. 2021, arXiv 2104.11315 (algorithms 1 and 2; alpha 4); Dong et al. 2019, arXiv 1906.11366.
    The bulk is found by trimming, not by the paper's filter.
    """

    name: Literal["spectre"] = "spectre"
    paper = "Hayase et al. 2021, arXiv 2104.11315; Dong, Hopkins & Li 2019, arXiv 1906.11366"

    share: float = Field(default=0.15, ge=0, lt=0.5)
    """Which share of each class's records goes: one and a half times the poison expected there; 0 for none."""
    axes: int = Field(default=32, ge=1)
    """The most axes that are looked at: k is a square up to that, or that."""
    alpha: float = Field(default=4.0, ge=0)
    """How much the axes of most spread count: 0 for all alike, infinity for one."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        y = np.asarray(data.y)
        if self.share == 0:
            return Cleaned.untouched(data)
        target = curator.fit(y, np.ones(len(y), bool), curator.key)
        score = spectre_scores(represented(target, data.x), y, self.share, self.axes, self.alpha)
        return Cleaned.without(data, score, self.share, by_class=True)


def spectre_scores(
    representations: Float[np.ndarray, "N F"],
    y: Int[np.ndarray, " N"],
    share: float,
    axes: int = 32,
    alpha: float = 4.0,
) -> Float64[np.ndarray, " N"]:
    """How far each record is out within its class, on as many axes as show most; 0 for a class in which none vary."""
    scores = np.zeros(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        scores[rows] = _within(representations[rows], share, axes, alpha)
    return scores


def _within(
    representations: Float[np.ndarray, "N F"], share: float, axes: int, alpha: float
) -> Float64[np.ndarray, " N"]:
    """The scores of one class. At least four records an axis are left in the bulk, or its covariance says little."""
    bulk = len(representations) - int(share * len(representations))
    reduced = principal(representations, max(1, min(axes, bulk // 4)))
    best, found = -np.inf, np.zeros(len(reduced))
    if not reduced.shape[1]:
        return found
    for k in sorted({k * k for k in range(1, axes + 1) if k * k < reduced.shape[1]} | {reduced.shape[1]}):
        few = reduced[:, :k]
        scores = entropy_scores(whitened(few, *trimmed(few, share)), alpha)
        left = np.sort(np.argsort(scores, kind="stable")[:bulk])
        rest = reduced[left]
        centered = rest - rest.mean(axis=0)
        stretch = float(
            np.mean(entropy_scores(whitened(reduced, rest.mean(axis=0), centered.T @ centered / bulk), alpha))
        )
        if stretch > best:
            best, found = stretch, scores
    return found


def entropy_scores(x: Float[np.ndarray, "N K"], alpha: float) -> Float64[np.ndarray, " N"]:
    """Quantum entropy scores `x' Q x` of whitened records, `Q = exp(alpha (S - I) / (|S| - 1)) / tr`.

    S is the covariance of x and |S| its largest eigenvalue; where that is 1 or less all axes count alike.

    >>> entropy_scores(np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 0.0).tolist()
    [4.5, 4.5, 0.5, 0.5]
    """
    centered = x - x.mean(axis=0)
    values, axes = np.linalg.eigh(centered.T @ centered / len(x))
    largest = values[-1]
    weights = np.exp(alpha * (values - largest) / (largest - 1)) if largest > 1 + 1e-9 else np.ones(len(values))
    return np.square(x @ axes) @ (weights / weights.sum())
