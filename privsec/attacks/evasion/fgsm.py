"""One step along the gradient.

References:
    Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", arXiv 1412.6572.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import nothing, offer
from privsec.attacks.evasion.gradients import evaluations, loss_and_gradient, point_loss, step_keys
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.space import Space


class FGSM(Evasion):
    """One step of the whole radius along the gradient of the cross-entropy; exact where the model is linear.

    `x + radius * sign(grad loss(x))` for linf, `x + radius * grad / ||grad||_2` for L2.

    References: Goodfellow et al. 2015, arXiv 1412.6572.
    """

    name: Literal["fgsm"] = "fgsm"
    draws: int = Field(default=20, ge=1)
    """Gradients averaged where the model answers at random."""

    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Goodfellow, Shlens & Szegedy 2015, arXiv 1412.6572"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        clean, first, last = (step_keys(points, part) for part in range(3))
        best, _ = offer(nothing(points), target, points, space, points.x, clean, self.norm, radius=self.radius)
        left = ~best.settled
        _, gradient = loss_and_gradient(target, points.x, points, point_loss("ce"), first, self.draws)
        x = points.x + self.radius * steepest(gradient, self.norm)
        best = best.spent(evaluations(target, self.draws), left)
        return offer(best, target, points, space, x, last, self.norm, radius=self.radius, active=left)[0].found
