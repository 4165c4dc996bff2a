"""The smallest change by a ball that grows until an attack in it succeeds, and shrinks from there.

References:
    Pintor, Roli, Brendel & Biggio 2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints",
    arXiv 2102.12827.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import nothing, offer
from privsec.attacks.evasion.gradients import evaluations, loss_and_gradient, point_loss, step_keys
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import Norm, steepest
from privsec.ops.space import Space, distance


class FMN(Evasion):
    """The smallest change that errs, at one gradient a step; returned whatever `radius` is.

    Each step goes along `grad margin / ||grad margin||_2` and is projected onto a ball of radius r round the record: r
    starts as `||delta|| - margin / ||grad margin||_q`, until a point errs, and grows by a share gamma where the last
    point did not err, and shrinks by it where it did. Step size and gamma fall along half a cosine.

    References: Pintor et al. 2021, arXiv 2102.12827.
    """

    name: Literal["fmn"] = "fmn"
    norm: Norm = "l2"
    """What the size of a change is measured in."""
    steps: int = Field(default=200, ge=1)
    """Gradient steps."""
    step_size: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Length of the first step, in units of the ball (the L2 length of its corner, for linf), so of no fixed scale."""
    last_step_size: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    """Length of the last step, in the same units."""
    gamma: float = Field(default=0.05, gt=0, lt=1)
    """How much the ball grows or shrinks at first, as a share."""
    last_gamma: float = Field(default=1e-3, gt=0, lt=1)
    """How much at last."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    needs: ClassVar[Access] = Access.GRADIENTS
    bounded: ClassVar[bool] = False
    paper: ClassVar[str] = "Pintor, Roli, Brendel & Biggio 2021, arXiv 2102.12827"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        corner = 1.0 if self.norm == "l2" else math.sqrt(points.x[0].size)  # L2 length of a ball of radius 1
        loss = point_loss("margin")

        def beside(of_point: jax.Array) -> jax.Array:
            return of_point.reshape(-1, *[1] * (points.x.ndim - 1))

        def step(number: int | jax.Array, state: tuple) -> tuple:
            x, radius, best = state
            left = (1 + jnp.cos(jnp.pi * number / self.steps)) / 2
            size = self.last_step_size + (self.step_size - self.last_step_size) * left
            gamma = self.last_gamma + (self.gamma - self.last_gamma) * left

            keys, asked = step_keys(points, 2 * number), step_keys(points, 2 * number + 1)
            margin, slope = loss_and_gradient(target, space.valid(x, points.x), points, loss, keys, self.draws)
            best = best.spent(evaluations(target, self.draws), active)
            best, won = offer(best, target, points, space, x, asked, self.norm, active=active)

            flat = jnp.abs(slope).reshape(len(x), -1)
            dual = jnp.sqrt(jnp.sum(jnp.square(flat), axis=1)) if self.norm == "l2" else jnp.sum(flat, axis=1)
            # Where the margin would be zero if the model were linear; exactly there, no class would be ahead.
            linear = distance(x, points.x, self.norm) + jnp.maximum(-margin, 0) / jnp.where(dual > 0, dual, 1.0)
            grown = (1 + gamma) * jnp.where(best.broken, radius, linear)
            radius = jnp.where(won, jnp.minimum(radius * (1 - gamma), best.size), grown)

            moved = x + size * corner * beside(radius) * steepest(slope, "l2")
            x = jnp.where(beside(active), space.within(moved, points.x, beside(radius), self.norm), x)
            return x, radius, best

        best, wrong = offer(nothing(points), target, points, space, points.x, points.keys, self.norm)
        active = ~wrong
        everywhere = jnp.full(len(points.y), jnp.inf, points.x.dtype)
        x, _, best = jax.lax.fori_loop(0, self.steps, step, (points.x, everywhere, best))
        return offer(best, target, points, space, x, points.keys, self.norm, active=active)[0].found
