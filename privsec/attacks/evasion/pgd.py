"""Projected gradient ascent inside a ball, the workhorse of evasion.

References:
    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", arXiv 1706.06083.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points
from privsec.attacks.evasion.best import Best, nothing, offer
from privsec.attacks.evasion.gradients import (
    LossName,
    PointLoss,
    evaluations,
    loss_and_gradient,
    point_loss,
    step_keys,
)
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.space import Space, scattered

Rule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""(gradient, memory), both [B, ...] -> (step, memory)."""


class PGD(Evasion):
    """Climbs the loss by projected gradient steps from random starts; any point on the way that errs counts.

    `x_{t+1} = P(x_t + a u(grad loss(x_t)))`, u = sign for linf and g / ||g||_2 for L2, P onto ball and box. The
    gradient is taken at projected points, never through a projection.

    References: Madry et al. 2018, arXiv 1706.06083.
    """

    name: Literal["pgd"] = "pgd"
    steps: int = Field(default=40, ge=1)
    """Gradient steps of one restart."""
    restarts: int = Field(default=1, ge=1)
    """Random starts; a point is done at its first success."""
    step_size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Length of a step; where absent 2.5 radius / steps."""
    random_start: bool = True
    """Starts from a point drawn uniformly from the ball, else from the record itself."""
    loss: LossName = "ce"
    """What is climbed: cross-entropy; the margin of the logits; or the difference of logits ratio, which no scale of
    the logits hides."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Madry et al. 2018, arXiv 1706.06083"

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        size = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size

        def rule(gradient: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
            return size * steepest(gradient, self.norm), memory

        def restart(number: int | jax.Array, best: Best) -> Best:
            own, start = points._replace(keys=step_keys(points, number)), points.x
            if self.random_start:
                keys = step_keys(own, 2 * self.steps + 1)  # the steps take those below
                start = start + scattered(keys, points.x.shape[1:], self.radius, self.norm)
            return climb(self, best, target, own, space, start, rule, point_loss(self.loss), self.steps, self.draws)[0]

        best, _ = offer(nothing(points), target, points, space, points.x, points.keys, self.norm, radius=self.radius)
        return jax.lax.fori_loop(0, self.restarts, restart, best).found


def climb(
    attack: Evasion,
    best: Best,
    target: Target,
    points: Points,
    space: Space,
    start: jax.Array,
    rule: Rule,
    loss: PointLoss,
    steps: int,
    draws: int,
) -> tuple[Best, jax.Array]:
    """Follows `rule` for `steps` gradients inside the ball and offers every iterate, the start too, to `best`.

    Points that `best` has settled go on no further, and the climb ends with the last of them.

    Args:
        attack: its `norm` and `radius` are the ball's.
        best: what was found so far.
        start: [B, ...], projected before anything is asked.
        rule: how a gradient becomes a step.
        loss: what is climbed.
        steps: the most gradients a point may take.
        draws: as in `loss_and_gradient`.

    Returns:
        The best of all, and where each point stood last, [B, ...].
    """
    norm, radius = attack.norm, attack.radius

    def offered(best: Best, x: jax.Array, step: int | jax.Array) -> Best:
        keys = step_keys(points, 2 * step)
        return offer(best, target, points, space, x, keys, norm, radius=radius, active=~best.settled)[0]

    def unfinished(state: tuple) -> jax.Array:
        step, _, _, best = state
        return (step < steps) & ~jnp.all(best.settled)

    def advance(state: tuple) -> tuple:
        step, x, memory, best = state
        _, gradient = loss_and_gradient(target, x, points, loss, step_keys(points, 2 * step + 1), draws)
        best = best.spent(evaluations(target, draws), ~best.settled)
        change, memory = rule(gradient, memory)
        going = ~best.settled.reshape(-1, *[1] * (x.ndim - 1))
        x = jnp.where(going, space.within(x + change, points.x, radius, norm), x)
        return step + 1, x, memory, offered(best, x, step + 1)

    x = space.within(start, points.x, radius, norm)
    _, x, _, best = jax.lax.while_loop(unfinished, advance, (0, x, jnp.zeros_like(x), offered(best, x, 0)))
    return best, x
