"""The loss-trajectory attack: how the target came to its answer tells more than the answer.

The attacker sees the model at several moments of its training, as a participant of federated learning or whoever gets
hold of saved checkpoints does. The paper rebuilds such a trajectory by distilling the model; here it is observed.

References:
    Liu et al. 2022, "Membership inference attacks by exploiting loss trajectory", arXiv 2208.14933.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.attacks.membership.lira import RESOLUTION
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.leave_out import chunks, moments


class Trajectory(Attack):
    """The likelihood ratio of a record's margins at every checkpoint and at the end, under IN and OUT references."""

    name: Literal["trajectory"] = "trajectory"
    shrinkage: float = Field(default=0.5, ge=0, le=1)
    """How much of the correlation between moments is left out: 0 takes it as the references show it, 1 takes moments
    for independent."""
    calibrated: bool = True
    """False takes how far the margin rose from its mean over the checkpoints to the end, and needs no references: what
    is hard to learn and known in the end was trained on."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES | Access.UPDATES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Liu et al. 2022, arXiv 2208.14933"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        del key
        candidates, checkpoints = shadows.candidates_of(knowledge), len(target.checkpoints)
        if not checkpoints:
            raise NotApplicable("no model from earlier in the training was kept: set training.checkpoints (4, say)")

        def margins(models: Target) -> Float[np.ndarray, "T N K"]:
            if len(models.checkpoints) != checkpoints:
                raise ValueError(
                    f"the target has {checkpoints} checkpoints and the references have {len(models.checkpoints)}: keep "
                    "the same moments of both trainings"
                )
            return np.stack([one.observe(candidates, "margin") for one in (*models.checkpoints, models)], axis=-1)

        if self.calibrated:
            seen = shadows.ask(target, knowledge, margins, inside=2, outside=2)  # a spread takes two values
            scores = trajectory_ratio(*seen, shrinkage=self.shrinkage)
        else:
            scores = rise(margins(target))
        return MembershipScores(scores, 1.0 + checkpoints)


def rise(phi: Float[np.ndarray, "T N K"]) -> Float64[np.ndarray, "T N"]:
    """The last margin less the mean of the earlier ones; K >= 2 moments, first to last."""
    phi = phi.astype(np.float64)
    return phi[..., -1] - phi[..., :-1].mean(axis=-1)


def trajectory_ratio(
    phi: Float[np.ndarray, "T N K"],
    references: Float[np.ndarray, "M N K"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
    *,
    shrinkage: float = 0.5,
) -> Float64[np.ndarray, "T N"]:
    """log N(phi; mu_in, S_in) - log N(phi; mu_out, S_out) over K moments, for all targets at once.

    Each record has means of its own; the covariance round them is common to all records, so it can be told from few
    references.

    Args:
        phi: margins on the targets.
        references: the same on the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row where all targets may use the same.
        shrinkage: share of the correlations that is left out.
    """
    return log_density(phi, references, included, usable, shrinkage) - log_density(
        phi, references, ~included, usable, shrinkage
    )


def log_density(
    phi: Float[np.ndarray, "T N K"],
    references: Float[np.ndarray, "M N K"],
    chosen: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
    shrinkage: float,
) -> Float64[np.ndarray, "T N"]:
    """log N(phi; mu, S) less a constant, with a mean for each record over usable references in which it is `chosen`.

    Arguments as in `trajectory_ratio`.
    """
    count = phi.shape[-1]
    squares, freedom = np.zeros((len(usable), count, count)), np.zeros((len(usable), 1, 1))
    deviations = np.empty(phi.shape)
    for rows in chunks(phi.shape[1]):
        known, mine = references[:, rows].astype(np.float64), chosen[:, rows]
        center = np.median(known, axis=0)
        known = np.where(mine[..., None], known - center, 0.0)
        found = [moments(known[..., k], mine, usable) for k in range(count)]
        offset = np.stack([of_moment.mean for of_moment in found], axis=-1)
        weight = found[0].count
        products = np.einsum("mnk,mnl->mkl", known, known).reshape(len(known), -1)
        squares += (usable @ products).reshape(squares.shape) - np.einsum("tn,tnk,tnl->tkl", weight, offset, offset)
        freedom += np.maximum(weight - 1.0, 0.0).sum(axis=1)[:, None, None]
        deviations[:, rows] = phi[:, rows] - center - offset
    covariance = squares / np.maximum(freedom, 1.0)
    variance = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), RESOLUTION**2)
    covariance = (1 - shrinkage) * covariance + (shrinkage * variance + RESOLUTION**2)[:, None] * np.eye(count)
    factor = np.broadcast_to(np.linalg.cholesky(covariance), (len(phi), count, count))
    standard = np.linalg.solve(factor, deviations.transpose(0, 2, 1))
    log_volume = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    return -0.5 * np.sum(standard**2, axis=1) - log_volume[:, None]
