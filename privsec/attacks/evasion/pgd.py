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
from privsec.attacks.evasion.best import Best, offer, untouched
from privsec.attacks.evasion.gradients import (
    LossName,
    PointLoss,
    evaluations,
    loss_and_gradient,
    point_loss,
    step_keys,
)
from privsec.attacks.evasion.stages import Staged
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.space import Space, scattered

Rule = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""(gradient, memory), both [B, ...] -> (step, memory)."""


class PGD(Staged):
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
        def restart(number: int | jax.Array, best: Best) -> Best:
            own = points._replace(keys=step_keys(points, number))
            return self._climbed(target, own, space, best, self._start(own, space))[0]

        return jax.lax.fori_loop(0, self.restarts, restart, untouched(self, target, points, space)).found

    @property
    def length(self) -> int:
        return self.steps if self.restarts == 1 else 0

    def begin(self, target: Target, points: Points, space: Space) -> tuple[Best, jax.Array]:
        return untouched(self, target, points, space), self._start(points._replace(keys=step_keys(points, 0)), space)

    def go_on(
        self,
        best: Best,
        now: jax.Array,
        target: Target,
        points: Points,
        space: Space,
        first: int | jax.Array,
        last: int | jax.Array,
    ) -> tuple[Best, jax.Array]:
        own = points._replace(keys=step_keys(points, 0))
        return self._climbed(target, own, space, best, now, first=first, last=last)

    def _start(self, points: Points, space: Space) -> jax.Array:
        start = points.x
        if self.random_start:
            keys = step_keys(points, 2 * self.steps + 1)  # the steps take those below
            start = start + scattered(keys, points.x.shape[1:], self.radius, self.norm)
        return space.within(start, points.x, self.radius, self.norm)

    def _climbed(
        self, target: Target, points: Points, space: Space, best: Best, x: jax.Array, **between: int | jax.Array
    ) -> tuple[Best, jax.Array]:
        size = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size

        def rule(gradient: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
            return size * steepest(gradient, self.norm), memory

        loss = point_loss(self.loss)
        return climb(self, best, target, points, space, x, rule, loss, self.steps, self.draws, **between)


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
    *,
    first: int | jax.Array = 0,
    last: int | jax.Array | None = None,
) -> tuple[Best, jax.Array]:
    """Follows `rule` for `steps` gradients inside the ball and offers every iterate, the start too, to `best`.

    Points that `best` has settled go on no further, and the climb ends with the last of them.

    Args:
        attack: its `norm` and `radius` are the ball's.
        best: what was found so far.
        start: [B, ...], inside box and ball.
        rule: how a gradient becomes a step.
        loss: what is climbed.
        steps: the most gradients a point may take.
        draws: as in `loss_and_gradient`.
        first: the step at which it begins, 0 but for a climb that goes on.
        last: where it pauses, before the point it stands at is offered; after all steps where None.

    Returns:
        The best of all, and where each point stood last, [B, ...].
    """
    norm, radius = attack.norm, attack.radius
    last = steps if last is None else last

    def offered(best: Best, x: jax.Array, step: int | jax.Array) -> Best:
        keys, active = step_keys(points, 2 * step), ~best.settled
        return offer(best, target, points, space, x, keys, norm, radius=radius, active=active, inside=True)[0]

    def unfinished(state: tuple) -> jax.Array:
        step, _, _, best = state
        return (step < last) & ~jnp.all(best.settled)

    def advance(state: tuple) -> tuple:
        """Asks about a point and differentiates there: one forward pass, which the compiler finds twice, does both."""
        step, x, memory, best = state
        best = offered(best, x, step)
        _, gradient = loss_and_gradient(target, x, points, loss, step_keys(points, 2 * step + 1), draws)
        best = best.spent(evaluations(target, draws), ~best.settled)
        change, memory = rule(gradient, memory)
        going = ~best.settled.reshape(-1, *[1] * (x.ndim - 1))
        return step + 1, jnp.where(going, space.within(x + change, points.x, radius, norm), x), memory, best

    state = (jnp.asarray(first), start, jnp.zeros_like(start), best)
    step, x, _, best = jax.lax.while_loop(unfinished, advance, state)
    return jax.lax.cond(step >= steps, lambda: offered(best, x, step), lambda: best), x
