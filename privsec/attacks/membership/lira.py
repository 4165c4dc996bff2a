"""LiRA: how much likelier the target's answer is under models trained with the record than under others.

References:
    Carlini et al. 2022, "Membership inference attacks from first principles", arXiv 2112.03570.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Examples
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.augment import view
from privsec.ops.leave_out import Moments, chunks, moments

Variance = Literal["pooled", "per_example", "shrunk"]

ENOUGH = 64
"""References from which on a variance per record is better than a common one (section VI-C of the paper)."""
FLOOR = 0.1
"""A record's standard deviation is at least this share of the pooled one: few values can agree by chance."""
RESOLUTION = 1e-6
"""And at least the rounding of a float32 signal."""


class LiRA(Attack):
    """The likelihood-ratio attack, online (IN and OUT references) or offline (OUT references only)."""

    name: Literal["lira"] = "lira"
    online: bool = True
    """Whether the attacker has references trained on the candidates. Offline is one-sided, against OUT ones."""
    variance: Literal["auto", "pooled", "per_example", "shrunk"] = "auto"
    """One variance for all records, one per record, or one per record drawn toward the common one. `auto` takes
    `per_example` with 64 usable references or more, else `pooled`."""
    prior_weight: float = Field(default=8.0, gt=0)
    """How many observations the common variance counts for (`variance: shrunk`)."""
    queries: int = Field(default=1, ge=1, le=18)
    """How many views of each record are asked about: the record, and augmented copies of it (see `ops/augment.py`).
    Their log-ratios are added (offline: the z-scores averaged), as if the answers were independent. More than one pays
    against models trained on augmented records; against others the record itself says most, and copies dilute it."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Carlini et al. 2022, arXiv 2112.03570"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        scores, variance = [], self.variance
        # A spread takes two values.
        for seen in views(target, knowledge, key, self.queries, inside=2 * self.online, outside=2):
            if variance == "auto":
                variance = "per_example" if seen.usable.sum(axis=1).min() >= ENOUGH else "pooled"
            ratio = likelihood_ratio(*seen, online=self.online, variance=variance, prior_weight=self.prior_weight)
            scores.append(ratio if self.online else ratio / self.queries)
        return MembershipScores(functools.reduce(np.add, scores), float(self.queries))


def views(
    target: Target, knowledge: Knowledge, key: jax.Array, queries: int, *, inside: int, outside: int
) -> Iterator[shadows.Shadows]:
    """The margins of each view of the candidates, one after the other; the first is the candidates themselves.

    Args:
        target: the targets.
        knowledge: the attacker's candidates and references.
        key: for the noise in the views; all models are asked about the same ones.
        queries: how many views.
        inside: see `shadows.observe`, also for the errors.
        outside: likewise.
    """
    records = shadows.candidates_of(knowledge)
    for number in range(queries):
        if number:
            x = np.asarray(view(records.x, number, key))
            x = x if knowledge.box is None else np.clip(x, *(np.asarray(end) for end in knowledge.box))
            knowledge = replace(knowledge, candidates=Examples(x, records.y))
        yield shadows.observe(target, knowledge, "margin", inside=inside, outside=outside)


def likelihood_ratio(
    phi: Float[np.ndarray, "T N"],
    references: Float[np.ndarray, "M N"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
    *,
    online: bool = True,
    variance: Variance = "pooled",
    prior_weight: float = 8.0,
) -> Float64[np.ndarray, "T N"]:
    """The LiRA score of N records for T targets at once, streamed over records.

    Online: log N(phi; mu_in, s_in^2) - log N(phi; mu_out, s_out^2). Offline: (phi - mu_out) / s_out, which orders
    records as its normal distribution function does, without running into 1.

    Args:
        phi: the logit of the true class's probability on the targets.
        references: the same on the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row where all targets may use the same.
        online: whether IN references count.
        variance: see the fields of `LiRA`.
        prior_weight: likewise.
    """
    scores = np.empty(phi.shape)
    pooled_out = pooled_variance(references, ~included, usable)
    pooled_in = pooled_variance(references, included, usable) if online else pooled_out
    for rows in chunks(phi.shape[1]):
        values, known, was_in = phi[:, rows].astype(np.float64), references[:, rows], included[:, rows]
        outside = moments(known, ~was_in, usable)
        z_out, s_out = _standardized(values, outside, pooled_out, variance, prior_weight)
        scores[:, rows] = z_out
        if online:
            z_in, s_in = _standardized(values, moments(known, was_in, usable), pooled_in, variance, prior_weight)
            scores[:, rows] = 0.5 * (z_out**2 - z_in**2) + np.log(s_out / s_in)
    return scores


def pooled_variance(
    references: Float[np.ndarray, "M N"], chosen: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "T M"]
) -> Float64[np.ndarray, "T 1"]:
    """The variance round each record's own mean, common to all records.

    s^2 = sum of squared deviations / sum of (n - 1), over records, for each target's usable references.
    """
    squares, freedom = 0.0, 0.0
    for rows in chunks(references.shape[1]):
        part = moments(references[:, rows], chosen[:, rows], usable)
        squares = squares + part.squares.sum(axis=1, keepdims=True)
        freedom = freedom + np.maximum(part.count - 1.0, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(squares / np.maximum(freedom, 1.0))


def _standardized(
    values: Float64[np.ndarray, "T N"],
    known: Moments,
    pooled: Float64[np.ndarray, "#T 1"],
    variance: Variance,
    prior_weight: float,
) -> tuple[Float64[np.ndarray, "T N"], Float64[np.ndarray, "#T N"]]:
    """Distance from the mean in standard deviations, and the standard deviation."""
    freedom = np.maximum(known.count - 1.0, 0.0)
    if variance == "pooled":
        estimate = np.broadcast_to(pooled, known.mean.shape)
    elif variance == "per_example":
        estimate = np.where(freedom > 0, known.squares / np.maximum(freedom, 1.0), pooled)
    else:
        estimate = (prior_weight * pooled + known.squares) / (prior_weight + freedom)
    deviation = np.maximum(np.sqrt(np.maximum(estimate, FLOOR**2 * pooled)), RESOLUTION)
    return (values - known.mean) / deviation, deviation
