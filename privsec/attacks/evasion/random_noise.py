"""Noise of the same size as an attack's changes: what errs under it was not robust to begin with.

References:
    Fawzi, Moosavi-Dezfooli & Frossard 2016, "Robustness of classifiers: from adversarial to random noise",
    arXiv 1608.08967.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import Best, nothing, offer
from privsec.attacks.evasion.gradients import step_keys
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.space import Space, scattered


class RandomNoise(Evasion):
    """The control: random changes of the same size, the best of so many; it follows nothing.

    `x + u` with u uniform over the ball, or over its largest changes.

    References: Fawzi et al. 2016, arXiv 1608.08967.
    """

    name: Literal["random_noise"] = "random_noise"
    trials: int = Field(default=1, ge=1)
    """Changes tried for each point, at most. One is the null that an attack has to beat; more are an attack."""
    where: Literal["corners", "ball"] = "corners"
    """`corners`: the largest changes only (+-radius at every feature, or the sphere); `ball`: anywhere inside."""

    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Fawzi, Moosavi-Dezfooli & Frossard 2016, arXiv 1608.08967"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        def offered(best: Best, x: jax.Array, keys: jax.Array) -> Best:
            active = ~best.settled
            return offer(best, target, points, space, x, keys, self.norm, radius=self.radius, active=active)[0]

        def unfinished(state: tuple) -> jax.Array:
            trial, best = state
            return (trial < self.trials) & ~jnp.all(best.settled)

        def attempt(state: tuple) -> tuple:
            trial, best = state
            keys = step_keys(points, 2 * trial)
            change = scattered(keys, points.x.shape[1:], self.radius, self.norm, corners=self.where == "corners")
            return trial + 1, offered(best, points.x + change, step_keys(points, 2 * trial + 1))

        start = (0, offered(nothing(points), points.x, points.keys))
        return jax.lax.while_loop(unfinished, attempt, start)[1].found
