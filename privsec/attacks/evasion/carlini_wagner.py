"""The smallest L2 change by unconstrained optimization.

References:
    Carlini & Wagner 2017, "Towards evaluating the robustness of neural networks", arXiv 1608.04644.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import Best, nothing, offer
from privsec.attacks.evasion.gradients import evaluations, loss_and_gradient, point_loss, step_keys
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.space import Space

INSIDE = 0.999999
"""Where the search begins, as a share of the way from the box's center to a record at its wall, where tanh is flat."""
GROWTH = 10.0
"""Factor on the weight of a point that no weight has broken yet."""
PROGRESS = 0.9999
"""An objective above this share of what it was a tenth of the steps ago no longer falls."""


class CarliniWagner(Evasion):
    """The smallest L2 change that errs, found by Adam inside the box; returned whatever `radius` is.

    `min_w ||x' - x||^2 + c * max(-margin(x'), 0)`, `x' = low + (high - low) (tanh w + 1) / 2`; margin > 0 where the
    attack wins. Each point has a binary search for c of its own, its own best, and stops by itself. The weights are in
    units of the box's mean squared width, so tables need no other settings than images.

    References: Carlini & Wagner 2017, arXiv 1608.04644.
    """

    name: Literal["carlini_wagner"] = "carlini_wagner"
    norm: Literal["l2"] = "l2"
    """What the size of a change is measured in."""
    steps: int = Field(default=200, ge=1)
    """Adam steps for each weight c, at most."""
    searches: int = Field(default=9, ge=1)
    """Weights c tried for each point."""
    weight: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    """The first c, on features between 0 and 1."""
    learning_rate: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    """Adam's step size in w. The paper's 0.01 takes a thousand steps to move a feature off a wall of the box."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    needs: ClassVar[Access] = Access.GRADIENTS
    bounded: ClassVar[bool] = False
    paper: ClassVar[str] = "Carlini & Wagner 2017, arXiv 1608.04644"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        unit = jnp.mean(jnp.square(jnp.broadcast_to(space.high - space.low, points.x.shape[1:])))
        first = jnp.full(len(points.y), self.weight * jnp.where(unit > 0, unit, 1.0), points.x.dtype)
        best, _ = offer(nothing(points), target, points, space, points.x, points.keys, self.norm)

        def search(number: int | jax.Array, state: tuple[Weights, Best]) -> tuple[Weights, Best]:
            weights, best = state
            own = points._replace(keys=step_keys(points, number))
            best, won = self._descend(best, target, own, space, weights.now)
            return weights.after(won), best

        weights = Weights(first, jnp.zeros_like(first), jnp.full_like(first, jnp.inf))
        return jax.lax.fori_loop(0, self.searches, search, (weights, best))[1].found

    def _descend(
        self, best: Best, target: Target, points: Points, space: Space, weight: jax.Array
    ) -> tuple[Best, jax.Array]:
        """The best after one descent with weight c [B], and bool [B]: where c was enough.

        It was where the descent succeeds to the end, in the last tenth of its steps. Adam's first steps may cross the
        boundary in passing whatever c is; taken for a success, that would lead the search to smaller weights only.
        """
        optimizer, loss = optax.adam(self.learning_rate), point_loss("margin")
        shape, ones = points.x.shape, [1] * (points.x.ndim - 1)
        half = jnp.broadcast_to((space.high - space.low) / 2, shape)
        middle = jnp.broadcast_to((space.high + space.low) / 2, shape)
        every = max(self.steps // 10, 1)

        def unfinished(state: tuple) -> jax.Array:
            step, *_, active = state
            return (step < self.steps) & jnp.any(active)

        def advance(state: tuple) -> tuple:
            step, w, memory, best, won, before, active = state
            x = middle + half * jnp.tanh(w)
            keys = step_keys(points, 2 * step)
            margin, gradient = loss_and_gradient(target, space.valid(x, points.x), points, loss, keys, self.draws)
            best = best.spent(evaluations(target, self.draws), active)
            near = active & (margin >= 0)  # a record with a negative margin need not be asked about
            asked = step_keys(points, 2 * step + 1)
            best, broke = offer(best, target, points, space, x, asked, self.norm, active=near)
            last = (step % every == 0) & (step + every <= self.steps)  # of the tenths so far
            won = jnp.where(active & last, False, won) | broke

            delta, hinge = x - points.x, jnp.maximum(-margin, 0)
            objective = jnp.sum(jnp.square(delta).reshape(len(x), -1), axis=1) + weight * hinge
            stale = (step % every == every - 1) & (objective > PROGRESS * before)
            before = jnp.where(step % every == every - 1, objective, before)

            pull = (weight * (margin < 0)).reshape(-1, *ones)
            slope = (2 * delta - pull * gradient) * half * (1 - jnp.square(jnp.tanh(w)))
            update, memory = optimizer.update(slope, memory)
            w = jnp.where(active.reshape(-1, *ones), w + update, w)
            return step + 1, w, memory, best, won, before, active & ~stale

        share = (points.x - middle) / jnp.where(half > 0, half, 1.0)
        start = jnp.arctanh(INSIDE * jnp.clip(share, -1, 1))
        none, everyone = jnp.zeros(len(points.y), bool), jnp.ones(len(points.y), bool)
        before = jnp.full(len(points.y), jnp.inf, points.x.dtype)
        state = (0, start, optimizer.init(start), best, none, before, everyone)
        state = jax.lax.while_loop(unfinished, advance, state)
        return state[3], state[4]


class Weights(NamedTuple):
    """Each point's weight c and the bounds of its binary search, [B]."""

    now: jax.Array
    low: jax.Array
    high: jax.Array

    def after(self, won: jax.Array) -> Weights:
        """The next weights: smaller where this one was enough, else larger."""
        low = jnp.where(won, self.low, jnp.maximum(self.low, self.now))
        high = jnp.where(won, jnp.minimum(self.high, self.now), self.high)
        bounded = jnp.isfinite(high)
        halfway = (low + jnp.where(bounded, high, low)) / 2
        return Weights(jnp.where(bounded, halfway, self.now * GROWTH), low, high)
