"""Records far from the others of their class are left out.

References: Steinhardt, Koh & Liang 2017, "Certified defenses for data poisoning attacks", arXiv 1706.03691; Paudice et
al. 2018, "Detection of adversarial training examples in poisoning attacks through anomaly detection", arXiv 1802.03041.
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

Measure = Literal["sphere", "slab", "neighbors"]


class OutlierRemoval(DataDefense):
    """Leaves out the records of each class that are farthest from the defender's own records of that class.

    By the distance to the class's center (sphere), along the line to the nearest other class's center (slab), or to the
    k-th nearest of the class's records (neighbors). Centers and neighbors are of the defender's records, which nobody
    tampered with; a class without any of them is measured by its training records.

    References: Steinhardt et al. 2017, arXiv 1706.03691 (sphere and slab); Paudice et al. 2018, arXiv 1802.03041
    (neighbors).
    """

    name: Literal["outlier_removal"] = "outlier_removal"
    paper = "Steinhardt, Koh & Liang 2017, arXiv 1706.03691; Paudice et al. 2018, arXiv 1802.03041"

    share: float = Field(default=0.1, ge=0, lt=1)
    """Which share of each class's records goes; 0 for none."""
    measure: Measure = "neighbors"
    """What far is."""
    k: int = Field(default=5, ge=1)
    """Which neighbor's distance counts."""
    space: Literal["input", "representation"] = "input"
    """Where it is measured: in the input, or in what the last layer of a model trained on everything reads."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        if self.share == 0:
            return Cleaned.untouched(data)
        y, x, known = np.asarray(data.y), np.asarray(data.x), np.asarray(curator.public.x)
        if self.space == "representation":
            target = curator.fit(y, np.ones(len(y), bool), keys.derive(curator.key, "fit"))
            x, known = represented(target, x), represented(target, known)
        far = distances(flat(x), y, flat(known), np.asarray(curator.public.y), self.measure, self.k)
        return Cleaned.without(data, far, self.share, by_class=True)


def distances(
    x: Float[np.ndarray, "N D"],
    y: Int[np.ndarray, " N"],
    known: Float[np.ndarray, "K D"],
    known_y: Int[np.ndarray, " K"],
    measure: Measure,
    k: int = 5,
) -> Float64[np.ndarray, " N"]:
    """How far each record is from the known ones of its class; from the others of its class where none is known.

    >>> x, y = np.array([[0.0], [4.0]]), np.array([0, 0])
    >>> distances(x, y, np.array([[1.0], [1.0], [9.0]]), np.array([0, 0, 1]), "sphere").tolist()
    [1.0, 3.0]
    """
    far, labels = np.zeros(len(y)), np.unique(y)
    own = {label: known[known_y == label] if np.any(known_y == label) else None for label in labels}
    if measure == "neighbors":
        for label in labels:
            rows, others = np.flatnonzero(y == label), own[label]
            distance, _ = nearest(x[rows], others, k)
            far[rows] = distance[:, -1] if distance.shape[1] else 0.0
        return far
    centers = np.stack([np.mean(part if (part := own[c]) is not None else x[y == c], axis=0) for c in labels])
    for i, label in enumerate(labels):
        rows = np.flatnonzero(y == label)
        away = x[rows] - centers[i]
        if measure == "slab" and len(labels) > 1:
            others = np.delete(centers, i, axis=0) - centers[i]
            line = others[np.argmin(np.linalg.norm(others, axis=1))]
            far[rows] = np.abs(away @ line) / max(float(np.linalg.norm(line)), 1e-12)
        else:
            far[rows] = np.linalg.norm(away, axis=1)
    return far
