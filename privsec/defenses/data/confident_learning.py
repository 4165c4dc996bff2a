"""Labels that models which never saw the record contradict are left out.

References: Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset labels",
arXiv 1911.00068.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.ops.representation import scored

Prune = Literal["off_diagonal", "noise_rate", "class"]


class ConfidentLearning(DataDefense):
    """Leaves out records whose label is probably wrong, by the probabilities of models not trained on them.

    t_j is the mean probability of class j over records labeled j; a record labeled i is counted in C[i, j] where j is
    the most probable of the classes that reach their t. What is off the diagonal is mislabeled. The probabilities are
    out of fold: a model that was trained on a wrong label has learned it, and would confirm it.

    References: Northcutt et al. 2021, arXiv 1911.00068 (equations 1 and 2; pruning in section 3.2).
    """

    name: Literal["confident_learning"] = "confident_learning"
    paper = "Northcutt, Jiang & Chuang 2021, arXiv 1911.00068"

    most: float = Field(default=0.5, ge=0, lt=1)
    """At most this share of a class's records goes; 0 for none."""
    prune: Prune = "off_diagonal"
    """Which go: those counted off the diagonal; or as many as the joint says are mislabeled, by class pair those of the
    largest margin (noise_rate) or by class those of the lowest probability of their label (class)."""
    folds: int = Field(default=4, ge=2)
    """Parts of the training set; a model is trained without each."""

    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        y = np.asarray(data.y)
        if self.most == 0:
            return Cleaned.untouched(data)
        p = out_of_fold(data, curator, self.folds)
        wrong = mislabeled(p, y, self.prune)
        own = p[np.arange(len(y)), y]
        others = np.where(np.arange(p.shape[1]) == y[:, None], -np.inf, p)
        margin = np.max(others, axis=1) - own
        return Cleaned(y, ~_worst(wrong, margin, y, self.most), margin)


def out_of_fold(data: Examples, curator: Curator, folds: int) -> Float64[np.ndarray, "N C"]:
    """What a model thinks of each record that was trained on the other folds only; every class is in every fold."""
    y = np.asarray(data.y)
    rng = keys.generator(keys.derive(curator.key, "folds"))
    fold = np.zeros(len(y), int)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        fold[rows] = (rng.integers(folds) + np.arange(len(rows))) % folds
    p = None
    for f in np.unique(fold):
        target = curator.fit(y, fold != f, keys.derive(curator.key, "fold", f))
        own = scored(target, np.asarray(data.x)[fold == f])
        p = np.zeros((len(y), own.shape[1])) if p is None else p
        p[fold == f] = own
    assert p is not None
    return p


def thresholds(p: Float[np.ndarray, "N C"], y: Int[np.ndarray, " N"]) -> Float64[np.ndarray, " C"]:
    """t_j, the mean probability of class j over the records labeled j; infinite for a class without a record."""
    return np.array([p[y == j, j].mean() if np.any(y == j) else np.inf for j in range(p.shape[1])])


def confident_class(p: Float[np.ndarray, "N C"], y: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The most probable class of those that reach their threshold; -1 where none does.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
    >>> confident_class(p, np.array([0, 0, 1, 1])).tolist()
    [0, -1, 1, 0]
    """
    reached = np.where(p >= thresholds(p, y), p, -1.0)
    return np.where(np.any(reached >= 0, axis=1), np.argmax(reached, axis=1), -1)


def confident_joint(p: Float[np.ndarray, "N C"], y: Int[np.ndarray, " N"]) -> Int[np.ndarray, "C C"]:
    """C[i, j]: how many records labeled i are confidently of class j."""
    found, joint = confident_class(p, y), np.zeros((p.shape[1], p.shape[1]), int)
    np.add.at(joint, (y[found >= 0], found[found >= 0]), 1)
    return joint


def calibrated(joint: Int[np.ndarray, "C C"], y: Int[np.ndarray, " N"]) -> Float64[np.ndarray, "C C"]:
    """The joint as expected counts: each row scaled to the number of records with that label.

    A row without a confident record says that all are labeled right.
    """
    counts = np.bincount(y, minlength=len(joint)).astype(np.float64)
    joint = np.where(joint.sum(axis=1, keepdims=True) > 0, joint, np.eye(len(joint)))
    return joint / joint.sum(axis=1, keepdims=True) * counts[:, None]


def mislabeled(p: Float[np.ndarray, "N C"], y: Int[np.ndarray, " N"], prune: Prune) -> Bool[np.ndarray, " N"]:
    """Which records are taken for mislabeled."""
    if prune == "off_diagonal":
        found = confident_class(p, y)
        return (found >= 0) & (found != y)
    expected, wrong = calibrated(confident_joint(p, y), y), np.zeros(len(y), bool)
    for i in range(p.shape[1]):
        rows = np.flatnonzero(y == i)
        if prune == "class":
            count = round(expected[i].sum() - expected[i, i])
            wrong[rows[np.argsort(p[rows, i], kind="stable")[:count]]] = True
            continue
        for j in np.flatnonzero(np.arange(p.shape[1]) != i):
            margin = p[rows, j] - p[rows, i]
            wrong[rows[np.argsort(-margin, kind="stable")[: round(expected[i, j])]]] = True
    return wrong


def _worst(wrong: np.ndarray, margin: np.ndarray, y: np.ndarray, most: float) -> np.ndarray:
    """The wrong records of each class, or those with the largest margin of them where they are too many."""
    out = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero((y == label) & wrong)
        limit = int(most * np.sum(y == label))
        out[rows[np.argsort(-margin[rows], kind="stable")[:limit]]] = True
    return out
