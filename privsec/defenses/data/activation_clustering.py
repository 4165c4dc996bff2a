"""Each class's representations fall into two clusters; a small one is taken for poison.

References: Chen et al. 2018, "Detecting backdoor attacks on deep neural networks by activation clustering",
arXiv 1811.03728.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.ops.clusters import principal, silhouette, two_means
from privsec.ops.representation import represented

Criterion = Literal["size", "silhouette"]


class ActivationClustering(DataDefense):
    """Splits each class in two by what the last layer reads of its records, and leaves a conspicuous part out.

    A model is trained on everything first. The representations of each class are reduced to a few axes and split by
    2-means. Poison of a backdoor is in the goal's class for another reason than the others, so it is a cluster of its
    own: one that is small, or one that stands well apart (a high silhouette).

    References: Chen et al. 2018, arXiv 1811.03728 (section 5; relative size 0.35, silhouette 0.1 to 0.15).
    """

    name: Literal["activation_clustering"] = "activation_clustering"
    paper = "Chen et al. 2018, arXiv 1811.03728"

    most: float = Field(default=0.35, ge=0, le=0.5)
    """The smaller cluster goes where it is less than this share of its class; 0 for never."""
    criterion: Criterion = "size"
    """Whether a small cluster goes always, or only where its silhouette is high too."""
    apart: float = Field(default=0.15, gt=0, lt=1)
    """What a high silhouette is, for that criterion."""
    components: int = Field(default=10, ge=1)
    """Axes the representations are reduced to."""
    whiten: bool = False
    """Scales the axes alike: then distances are those between independent components (ICA)."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        y = np.asarray(data.y)
        if self.most == 0:
            return Cleaned.untouched(data)
        target = curator.fit(y, np.ones(len(y), bool), keys.derive(curator.key, "fit"))
        seen, suspicion, kept = represented(target, data.x), np.full(len(y), np.nan), np.ones(len(y), bool)
        rng = keys.generator(keys.derive(curator.key, "clusters"))
        for label in np.unique(y):
            rows = np.flatnonzero(y == label)
            found = split_in_two(seen[rows], self.components, self.whiten, rng)
            suspicion[rows] = found.suspicion
            high = self.criterion == "size" or found.silhouette >= self.apart
            if high and found.small.mean() < self.most:
                kept[rows[found.small]] = False
        return Cleaned(y, kept, suspicion)


class Halves(NamedTuple):
    """How one class of n records falls apart.

    Attributes:
        small: bool [n]: who is in the smaller cluster.
        silhouette: of the two clusters, in [-1, 1].
        suspicion: float64 [n]: how much nearer a record is to the smaller cluster's center, over the distance between
            both, times how unequal the clusters are (0 for halves, near 1 for a tiny one); in [-1, 1].
    """

    small: Bool[np.ndarray, " n"]
    silhouette: float
    suspicion: Float64[np.ndarray, " n"]


def split_in_two(
    representations: Float[np.ndarray, "n F"], components: int, whiten: bool, rng: np.random.Generator
) -> Halves:
    """The two clusters of one class's representations.

    >>> line = np.array([[0.0], [0.1], [0.2], [9.0]])
    >>> split_in_two(line, 10, False, np.random.default_rng(0)).small.tolist()
    [False, False, False, True]
    """
    reduced = principal(representations, components, whiten=whiten)
    small = two_means(reduced, rng)
    if not small.any():
        return Halves(small, 0.0, np.zeros(len(small)))
    centers = reduced[~small].mean(axis=0), reduced[small].mean(axis=0)
    large_distance, small_distance = (np.linalg.norm(reduced - center, axis=1) for center in centers)
    nearer = (large_distance - small_distance) / np.linalg.norm(centers[0] - centers[1])
    return Halves(small, silhouette(reduced, small, rng), nearer * (1 - 2 * small.mean()))
