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
        outdone = _outdone(phi[:, rows], references[:, rows], ~included[:, rows], usable)
        scores[:, rows] = shadows.break_ties(outdone, scores[:, rows], counts(~included[:, rows], usable))
    return scores


def _outdone(
    phi: Float[np.ndarray, "T N"],
    references: Float[np.ndarray, "M N"],
    out: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
) -> Float64[np.ndarray, "T N"]:
    """How many usable references with `out` a target exceeds, equal ones counting half.

    Of all references at once by a sort, less those, one by one, that a target may not use: mostly itself and its twin.
    """
    known = np.sort(np.where(out, references, np.nan).T, axis=1)  # NaN comes last, above all numbers
    order = np.argsort(phi.T, axis=1)  # a search is quicker for one value after the other
    asked = np.take_along_axis(phi.T, order, axis=1)
    found = np.zeros(asked.shape)
    for side in ("left", "right"):
        for row, values, sought in zip(found, known, asked, strict=True):
            row += np.searchsorted(values, sought, side=side)
    outdone = np.empty(asked.shape)
    np.put_along_axis(outdone, order, found / 2, axis=1)
    outdone = outdone.T
    for t, m in np.argwhere(~np.broadcast_to(usable, (len(phi), len(references)))):
        outdone[t] -= out[m] * (0.5 * (references[m] < phi[t]) + 0.5 * (references[m] <= phi[t]))
    return outdone
