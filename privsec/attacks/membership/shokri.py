"""The shadow-model classifier: a model that has learnt, on shadow models, what answers to members look like.

References:
    Shokri et al. 2017, "Membership inference attacks against machine learning models", arXiv 1610.05820.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.core import axis, keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Array
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.leave_out import chunks

NEWTON_STEPS = 20
CLIP = 4.0
"""Standardized features are not followed further out than this: their squares would decide alone."""


class Shokri(Attack):
    """One logistic classifier a class, on the sorted log-scores and the record's own margin, and on their squares."""

    name: Literal["shokri"] = "shokri"
    folds: int = Field(default=4, ge=1)
    """Leave-one-out: targets share a classifier in so many groups; it learns on the shadows all of them may use."""
    samples: int = Field(default=100_000, ge=100)
    """The most (record, shadow) pairs that a classifier is trained on."""
    ridge: float = Field(default=1.0, gt=0)
    """How strongly a class's classifier is drawn toward the one for all classes, in pairs."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Shokri et al. 2017, arXiv 1610.05820"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        top, known_top, included, usable = shadows.observe(target, knowledge, "top_scores", inside=0, outside=1)
        phi, known_phi, _, _ = shadows.observe(target, knowledge, "margin", inside=0, outside=1)
        y = np.asarray(shadows.candidates_of(knowledge).y)
        rng = keys.generator(key)
        scores = np.empty(phi.shape)
        for targets, allowed in groups(usable, self.folds):
            count = int(allowed.sum()) * len(y)
            m, n = np.divmod(rng.choice(count, min(self.samples, count), replace=False), len(y))
            m = np.flatnonzero(allowed)[m]
            classifier = fit(known_top[m, n], known_phi[m, n], y[n], included[m, n], knowledge.num_classes, self.ridge)
            own = targets.tolist() if len(usable) > 1 else range(len(phi))

            def one(t: int, classifier: Classifier = classifier) -> None:
                scores[t] = log_odds(classifier, top[t], phi[t], y)

            axis.each_model(one, own)
        return MembershipScores(scores)


class Classifier(NamedTuple):
    """D features are standardized by `mean` and `deviation`; `weights` are one class a row."""

    mean: Float64[np.ndarray, " D"]
    deviation: Float64[np.ndarray, " D"]
    weights: Float64[np.ndarray, "C 1+2*D"]


def groups(usable: Bool[np.ndarray, "T M"], folds: int) -> list[tuple[Int[np.ndarray, " _"], Bool[np.ndarray, " M"]]]:
    """Targets that share a classifier, and the references that every one of them may use.

    Args:
        usable: targets with equal rows stay together, so a group never contains half of a pair.
        folds: how many groups, at most.
    """
    rows, which = np.unique(usable, axis=0, return_inverse=True)
    parts = np.array_split(np.arange(len(rows)), min(folds, len(rows)))
    found = [(np.flatnonzero(np.isin(which.reshape(-1), part)), np.all(rows[part], axis=0)) for part in parts]
    if all(allowed.any() for _, allowed in found):
        return found
    return groups(usable, folds + 1)  # ends at one row a group, where `usable` itself is not empty


def fit(
    top: Float[np.ndarray, "S K"],
    phi: Float[np.ndarray, " S"],
    y: Int[Array, " S"],
    member: Bool[np.ndarray, " S"],
    num_classes: int,
    ridge: float,
) -> Classifier:
    """The classifier of S pairs (record, shadow): first one for all classes, then one for each, drawn toward it.

    Args:
        top: sorted log-scores.
        phi: margins.
        y: labels.
        member: whether the record was in the shadow's training set.
        num_classes: C.
        ridge: strength of the prior.
    """
    raw = np.concatenate([top, phi[:, None]], axis=1).astype(np.float64)
    classifier = Classifier(raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-6), np.empty(0))
    features, member = _features(classifier, raw), member.astype(np.float64)
    common = _logistic(features, member, np.zeros(features.shape[1]), ridge)
    of_class = [_logistic(features[y == label], member[y == label], common, ridge) for label in range(num_classes)]
    return classifier._replace(weights=np.stack(of_class))


def log_odds(
    classifier: Classifier, top: Float[np.ndarray, "N K"], phi: Float[np.ndarray, " N"], y: Int[np.ndarray, " N"]
) -> Float64[np.ndarray, " N"]:
    """Log-odds that the answers with `top` and `phi` are to members."""
    odds = np.empty(len(phi))
    for rows in chunks(len(phi)):
        raw = np.concatenate([top[rows], phi[rows, None]], axis=1).astype(np.float64)
        odds[rows] = np.einsum("nd,nd->n", _features(classifier, raw), classifier.weights[y[rows]])
    return odds


def _features(classifier: Classifier, raw: Float64[np.ndarray, "N D"]) -> Float64[np.ndarray, "N 1+2*D"]:
    standard = np.clip((raw - classifier.mean) / classifier.deviation, -CLIP, CLIP)
    return np.concatenate([np.ones((len(raw), 1)), standard, standard**2], axis=1)


def _logistic(
    x: Float64[np.ndarray, "S F"], t: Float64[np.ndarray, " S"], prior: Float64[np.ndarray, " F"], ridge: float
) -> Float64[np.ndarray, " F"]:
    """argmin_w sum log(1 + exp(x w)) - t x w + ridge / 2 |w - prior|^2, by Newton steps, halved until they descend."""

    def objective(w: np.ndarray) -> float:
        z = x @ w
        return float(np.sum(np.logaddexp(0.0, z) - t * z) + 0.5 * ridge * np.sum((w - prior) ** 2))

    w, value = prior, objective(prior)
    for _ in range(NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -500.0, 500.0)))
        gradient = x.T @ (p - t) + ridge * (w - prior)
        step = np.linalg.solve((x * (p * (1.0 - p))[:, None]).T @ x + ridge * np.eye(len(w)), gradient)
        while (lower := objective(w - step)) > value and np.abs(step).max() > 1e-9:
            step = step / 2
        if value - lower < 1e-7 * (1.0 + abs(value)):
            break
        w, value = w - step, lower
    return w
