"""Gradient ascent with a memory.

References:
    Dong et al. 2018, "Boosting adversarial attacks with momentum", arXiv 1710.06081.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import nothing
from privsec.attacks.evasion.gradients import point_loss
from privsec.attacks.evasion.pgd import Rule, climb
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.space import Space


class MIFGSM(Evasion):
    """Climbs the cross-entropy along a running sum of gradients, whose steps carry over to other models better.

    `g_{t+1} = decay * g_t + grad / ||grad||_1`, `x_{t+1} = P(x_t + radius / steps * u(g_{t+1}))`.

    References: Dong et al. 2018, arXiv 1710.06081.
    """

    name: Literal["mi_fgsm"] = "mi_fgsm"
    steps: int = Field(default=10, ge=1)
    """Gradient steps, each radius / steps long."""
    decay: float = Field(default=1.0, ge=0, le=1)
    """Share of the memory that is kept at each step."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Dong et al. 2018, arXiv 1710.06081"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        rule = momentum(self, self.radius / self.steps, self.decay)
        loss, best = point_loss("ce"), nothing(points)
        best, _ = climb(self, best, target, points, space, points.x, rule, loss, self.steps, self.draws)
        return best.found


def momentum(attack: Evasion, size: float, decay: float) -> Rule:
    """Steps of length `size`, in the attack's norm, along the decaying sum of gradients of unit L1 norm."""

    def rule(gradient: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        length = jnp.sum(jnp.abs(gradient), axis=tuple(range(1, gradient.ndim)), keepdims=True)
        memory = decay * memory + gradient / jnp.where(length > 0, length, 1.0)
        return size * steepest(memory, attack.norm), memory

    return rule
