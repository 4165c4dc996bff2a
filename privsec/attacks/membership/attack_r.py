"""Attack R: on how many models that never saw the record its loss is higher than on the target.

References:
    Ye et al. 2022, "Enhanced membership inference attacks against machine learning models", arXiv 2111.09679, Attack R.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64

from privsec.attacks.membership import shadows
from privsec.attacks.membership.lira import likelihood_ratio
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.leave_out import chunks, counts


class AttackR(Attack):
    """The reference-model attack: a threshold for each record, from the losses of references not trained on it."""

    name: Literal["attack_r"] = "attack_r"

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Ye et al. 2022, arXiv 2111.09679"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        del key
        return MembershipScores(outdone_share(*shadows.observe(target, knowledge, "margin", inside=0, outside=2)))


def outdone_share(
    phi: Float[np.ndarray, "T N"],
    references: Float[np.ndarray, "M N"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
) -> Float64[np.ndarray, "T N"]:
    """The share of OUT references whose loss is higher than the target's (an equal one counts half).

    The logit of the true class's probability falls as the loss rises and keeps its digits where the loss is near 0. A
    share of a dozen references cannot reach a low false-positive rate, so equal shares are ordered by the distance from
    the mean OUT reference in standard deviations.

    Args:
        phi: the logit on the targets.
        references: the same on the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row where all targets may use the same.

    Returns:
        Scores in (0, 1).
    """
    scores = likelihood_ratio(phi, references, included, usable, online=False, variance="pooled")
    for rows in chunks(phi.shape[1]):
        outdone = np.zeros(scores[:, rows].shape)
        for values, was_in, by in zip(references[:, rows], included[:, rows], usable.T, strict=True):
            outdone += (by[:, None] & ~was_in) * (0.5 * (values < phi[:, rows]) + 0.5 * (values <= phi[:, rows]))
        scores[:, rows] = shadows.break_ties(outdone, scores[:, rows], counts(~included[:, rows], usable))
    return scores
