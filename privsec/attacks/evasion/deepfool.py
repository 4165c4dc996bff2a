"""The smallest change of a linear model, again and again.

References:
    Moosavi-Dezfooli, Fawzi & Frossard 2016, "DeepFool: a simple and accurate method to fool deep neural networks",
    arXiv 1511.04599.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.attacks.evasion.apgd import ranked_rivals
from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import nothing, offer
from privsec.attacks.evasion.gradients import evaluations, loss_and_gradient, point_loss, step_keys
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import Norm
from privsec.ops.space import Space

BEYOND = 1e-4
"""Added to the gap that a step closes, so that a step across a tie is one (as in the paper's own program)."""


class DeepFool(Evasion):
    """Steps to the nearest class boundary as if the model were linear, until the label changes; whatever `radius` is.

    `k* = argmin_k |f_k| / ||w_k||_q`, `f_k = z_k - z_y`, `w_k = grad f_k`; the step has length `|f_k*| / ||w_k*||_q`
    times 1 + overshoot, along w (L2, q = 2) or sign(w) (linf, q = 1). Features at a wall of the box that the step would
    cross do not count.

    References: Moosavi-Dezfooli et al. 2016, arXiv 1511.04599.
    """

    name: Literal["deepfool"] = "deepfool"
    norm: Norm = "l2"
    """What the size of a change is measured in."""
    steps: int = Field(default=50, ge=1)
    """Steps at most."""
    overshoot: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    """How far a step goes beyond the boundary, as a share of its length."""
    candidates: int = Field(default=9, ge=1)
    """How many other classes are looked at, those with the highest logits at the record; one gradient each."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged for each class where the model answers at random."""

    needs: ClassVar[Access] = Access.GRADIENTS
    bounded: ClassVar[bool] = False
    paper: ClassVar[str] = "Moosavi-Dezfooli, Fawzi & Frossard 2016, arXiv 1511.04599"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        clean, keys = nothing(points), points.keys
        clean, goals = ranked_rivals(clean, target, points, self.candidates, ~clean.settled)
        clean, _ = offer(clean, target, points, space, points.x, keys, self.norm)
        count = goals.shape[1]

        def unfinished(state: tuple) -> jax.Array:
            step, _, best = state
            return (step < self.steps) & ~jnp.all(best.broken)

        def advance(state: tuple) -> tuple:
            step, x, best = state
            left = ~best.broken
            own = points._replace(keys=step_keys(points, step))
            x = jnp.where(left.reshape(-1, *[1] * (x.ndim - 1)), self._stepped(target, own, space, x, goals), x)
            best = best.spent(count * evaluations(target, self.draws), left)
            best, _ = offer(best, target, points, space, x, step_keys(own, count), self.norm, active=left)
            return step + 1, x, best

        return jax.lax.while_loop(unfinished, advance, (0, points.x, clean))[2].found

    def _stepped(self, target: Target, points: Points, space: Space, x: jax.Array, goals: jax.Array) -> jax.Array:
        """`x` moved across the nearest of the linear boundaries to the classes `goals` [B, K], and into the box."""
        # Until a point errs, the class its candidates have to beat is its own; in a targeted attack, whichever leads.
        loss = point_loss("margin")
        across = tuple(range(1, x.ndim))
        # Where records of a table lie on a grid, the nearest one has to cross the boundary, not x itself.
        valid = space.valid(x, points.x)
        held = False if space.constraints is None else space.constraints.fixed

        def nearer(rank: int | jax.Array, chosen: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            length, step = chosen
            towards = points._replace(goal=goals[:, rank])
            gap, slope = loss_and_gradient(target, valid, towards, loss, step_keys(points, rank), self.draws)
            stuck = ((x >= space.high) & (slope > 0)) | ((x <= space.low) & (slope < 0)) | held
            slope = jnp.where(stuck, 0.0, slope)
            size = jnp.sum(jnp.square(slope) if self.norm == "l2" else jnp.abs(slope), axis=across, keepdims=True)
            far = (jnp.abs(gap) + BEYOND).reshape(size.shape) / jnp.where(size > 0, size, 1.0)
            other = far * (slope if self.norm == "l2" else jnp.sign(slope))
            reach = jnp.where(size > 0, far * (jnp.sqrt(size) if self.norm == "l2" else 1.0), jnp.inf)
            return jnp.minimum(length, reach), jnp.where(reach < length, other, step)

        nowhere = jnp.full((len(x), *[1] * (x.ndim - 1)), jnp.inf, x.dtype)
        _, step = jax.lax.fori_loop(0, goals.shape[1], nearer, (nowhere, jnp.zeros_like(x)))
        return space.within(x + (1 + self.overshoot) * step, points.x, jnp.inf, self.norm)
