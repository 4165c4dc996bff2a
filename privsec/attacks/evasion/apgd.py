"""Auto-PGD: projected gradient ascent that sets its own step size.

Reference: Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML, arXiv 2003.01690, algorithm 1.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from privsec.attacks.evasion.base import Points
from privsec.attacks.evasion.best import Best, offer, untouched
from privsec.attacks.evasion.component import Component
from privsec.attacks.evasion.gradients import PointLoss, evaluations, loss_and_gradient, point_loss, step_keys
from privsec.attacks.evasion.stages import Staged
from privsec.core.access import Access
from privsec.core.evidence import ANY
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.margins import dlr_targeted, refusal_as_true
from privsec.ops.space import Space, scattered

MOMENTUM = 0.75
"""Share of the new step in each move; the rest is the move before."""
RISES = 0.75
"""Share of the steps since the last checkpoint that must raise the loss, or else the step is halved."""


class APGD(Component, Staged):
    """Projected gradient ascent with momentum that halves its step where the loss stops rising: no step size to choose.

    `z = P(x_k + eta u(g)); x_{k+1} = P(x_k + 3/4 (z - x_k) + 1/4 (x_k - x_{k-1}))`, eta = 2 radius at first. At
    checkpoints ever closer together, a point whose loss rose in at most 3/4 of the steps since the last one, or has no
    better maximum than there although eta was left alone then, goes back to its best iterate with eta halved.

    As in the authors' program, and unlike their paper: checkpoints are whole numbers of steps 22%, 19%, 16% ... (at
    least 6%) of `steps` apart; a rise in exactly 3/4 of the steps halves; the second condition is not asked at the
    first checkpoint; after going back, the move before is from the last iterate but one to the best. Unlike both: a
    point stops once it is broken, and where the model answers at random the loss, its gradient and the success are
    means over fresh draws, where their program lets the last draw decide.

    References: Croce & Hein 2020, arXiv 2003.01690.
    """

    name: Literal["apgd"] = "apgd"
    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Croce & Hein 2020, arXiv 2003.01690"

    loss: Literal["ce", "dlr", "dlr_targeted"] = "ce"
    """What is climbed: cross-entropy, the difference of logits ratio, or that ratio towards one class after another
    (APGD-T), the likeliest wrong one first."""
    steps: int = Field(default=100, ge=1)
    """Gradient steps from each start."""
    restarts: int = Field(default=1, ge=1)
    """Random starts, for `dlr_targeted` those for each class."""
    classes: int = Field(default=9, ge=1)
    """For `dlr_targeted`: how many classes are tried; one where the goal is a class."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    def improved(self, best: Best, target: Target, points: Points, space: Space) -> Best:
        if self.loss == "dlr_targeted":
            most = self.classes if self.goal == "any" else 1
            best, rivals = ranked_rivals(best, target, points, most, active=~best.settled)
            loss = targeted_loss(target)
        else:
            rivals, loss = points.goal[:, None], point_loss(self.loss)

        def ascend(number: int | jax.Array, best: Best) -> Best:
            aims = points._replace(goal=rivals[:, number // self.restarts])
            return self._from_start(number, best, aims, target, points, space, loss)

        return jax.lax.fori_loop(0, self.restarts * rivals.shape[1], ascend, best)

    def _from_start(
        self,
        number: int | jax.Array,
        best: Best,
        aims: Points,
        target: Target,
        points: Points,
        space: Space,
        loss: PointLoss,
    ) -> Best:
        """One ascent of `loss` towards `aims`, from a random point of the ball's surface."""
        points = points._replace(keys=step_keys(points, number))
        start = self._start(points, space)
        return self._ascended(best, start, aims, target, points, space, loss, 0, self.steps + 1)[0]

    @property
    def length(self) -> int:
        return self.steps + 1 if self.loss != "dlr_targeted" and self.restarts == 1 else 0

    def begin(self, target: Target, points: Points, space: Space) -> tuple[Best, _Ascent]:
        own = points._replace(keys=step_keys(points, 0))
        return untouched(self, target, points, space), self._start(own, space)

    def go_on(
        self,
        best: Best,
        now: _Ascent,
        target: Target,
        points: Points,
        space: Space,
        first: int | jax.Array,
        last: int | jax.Array,
    ) -> tuple[Best, _Ascent]:
        assert self.loss != "dlr_targeted"  # `length` is 0 then
        own = points._replace(keys=step_keys(points, 0))
        return self._ascended(best, now, points, target, own, space, point_loss(self.loss), first, last)

    def _start(self, points: Points, space: Space) -> _Ascent:
        keys = step_keys(points, 2 * self.steps + 2)
        surface = on_surface(keys, points.x.shape[1:], self.radius, self.norm)
        start = space.within(points.x + surface, points.x, self.radius, self.norm)
        return _Ascent.begun(start, 2 * self.radius)

    def _ascended(
        self,
        best: Best,
        now: _Ascent,
        aims: Points,
        target: Target,
        points: Points,
        space: Space,
        loss: PointLoss,
        first: int | jax.Array,
        last: int | jax.Array,
    ) -> tuple[Best, _Ascent]:
        """The ascent from the first of these steps to the last."""
        norm, radius, gaps = self.norm, self.radius, jnp.asarray([0, *checkpoint_gaps(self.steps)])

        def unfinished(state: tuple) -> jax.Array:
            step, best, _ = state
            return (step < last) & ~jnp.all(best.settled)

        def advance(state: tuple) -> tuple:
            step, best, now = state
            fresh = jnp.where(step > 1, MOMENTUM, 1.0)
            z = now.x + _each(now.size, now.x) * steepest(now.gradient, norm)
            z = space.within(z, points.x, radius, norm)
            x = now.x + fresh * (z - now.x) + (1 - fresh) * (now.x - now.before)
            x = space.within(x, points.x, radius, norm)
            active, draw, judge = ~best.settled, step_keys(points, 2 * step), step_keys(points, 2 * step + 1)
            value, gradient = loss_and_gradient(target, x, aims, loss, draw, self.draws)
            best = best.spent(evaluations(target, self.draws), active)
            best, _ = offer(best, target, points, space, x, judge, norm, radius=radius, active=active)
            return step + 1, best, now.moved(x, value, gradient).checked(gaps[step])

        return jax.lax.while_loop(unfinished, advance, (jnp.asarray(first), best, now))[1:]


class _Ascent(NamedTuple):
    """Where B ascents stand.

    Attributes:
        x: the iterate, at which `gradient` is known.
        before: the iterate that the last move began at.
        gradient: at `x`.
        value: the loss of the iterate evaluated last; infinite at first, so that the start is no rise.
        size: [B], of the step.
        top: the best iterate so far.
        top_gradient: there.
        top_value: there.
        rises: how often the loss rose since the last checkpoint.
        checked_value: `top_value` at the last checkpoint.
        halved: whether `size` was halved there; True before the first, at which the maximum counts for nothing.
    """

    x: jax.Array
    before: jax.Array
    gradient: jax.Array
    value: jax.Array
    size: jax.Array
    top: jax.Array
    top_gradient: jax.Array
    top_value: jax.Array
    rises: jax.Array
    checked_value: jax.Array
    halved: jax.Array

    @classmethod
    def begun(cls, start: jax.Array, size: float) -> _Ascent:
        """Before anything is evaluated: without a gradient the first step ends where it began."""
        none, no = jnp.zeros_like(start), jnp.zeros(len(start), jnp.float32)
        top = jnp.full_like(no, -jnp.inf)
        return cls(start, start, none, -top, no + size, start, none, top, no, top, jnp.ones_like(no, bool))

    def moved(self, x: jax.Array, value: jax.Array, gradient: jax.Array) -> _Ascent:
        """After a step to `x`."""
        higher = value > self.top_value
        return self._replace(
            x=x,
            before=self.x,
            gradient=gradient,
            value=value,
            top=jnp.where(_each(higher, x), x, self.top),
            top_gradient=jnp.where(_each(higher, x), gradient, self.top_gradient),
            top_value=jnp.where(higher, value, self.top_value),
            rises=self.rises + (value > self.value),
        )

    def checked(self, gap: jax.Array) -> _Ascent:
        """After the checkpoint that is `gap` steps after the last; nothing changes where `gap` is 0."""
        due = gap > 0
        stuck = (self.rises <= RISES * gap) | (~self.halved & (self.checked_value >= self.top_value))
        back = due & stuck
        return self._replace(
            x=jnp.where(_each(back, self.x), self.top, self.x),
            gradient=jnp.where(_each(back, self.x), self.top_gradient, self.gradient),
            size=jnp.where(back, self.size / 2, self.size),
            rises=jnp.where(due, 0.0, self.rises),
            checked_value=jnp.where(due, self.top_value, self.checked_value),
            halved=jnp.where(due, stuck, self.halved),
        )


def checkpoint_gaps(steps: int) -> np.ndarray:
    """For each step, how many steps after the last checkpoint it is one itself, 0 where it is none: int [steps].

    >>> (np.flatnonzero(checkpoint_gaps(100)) + 1).tolist()
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    gaps = np.zeros(steps, int)
    gap, least, shrink = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    step = gap
    while step <= steps:
        gaps[step - 1] = gap
        gap = max(gap - shrink, least)
        step += gap
    return gaps


def on_surface(keys: jax.Array, shape: tuple[int, ...], radius: float, norm: Literal["linf", "l2"]) -> jax.Array:
    """Changes of size exactly `radius`, [B, ...]: a uniform draw from the ball, stretched."""
    if norm == "l2":
        return scattered(keys, shape, radius, norm, corners=True)
    draw = scattered(keys, shape, 1.0, norm)
    return radius * draw / jnp.max(jnp.abs(draw), axis=tuple(range(1, draw.ndim)), keepdims=True)


def ranked_rivals(best: Best, target: Target, points: Points, most: int, active: jax.Array) -> tuple[Best, jax.Array]:
    """For each point the wrong classes that its clean record comes nearest to, int [B, R], R <= `most`.

    A point that has a goal has no other rival. `best` is charged with the query this takes of the `active`.
    """
    adapted = target.adapted
    logits = adapted.logits(points.x, points.keys)
    classes = logits.shape[1] - adapted.model.rejects
    own = jnp.arange(classes) == points.y[:, None]
    rivals = jnp.argsort(jnp.where(own, jnp.inf, -logits[:, :classes]), axis=1)[:, : min(most, classes - 1)]
    rivals = jnp.where((points.goal == ANY)[:, None], rivals, points.goal[:, None])
    return best._replace(queries=best.queries + active), rivals


def targeted_loss(target: Target) -> PointLoss:
    """The targeted ratio; a refusal, where the model refuses, is as bad as the true class."""
    rejects = target.adapted.model.rejects

    def loss(logits: jax.Array, points: Points) -> jax.Array:
        if rejects:
            logits = refusal_as_true(logits, points.y)
        return dlr_targeted(logits, points.y, points.goal)

    return loss


def _each(values: jax.Array, like: jax.Array) -> jax.Array:
    """[B] as it broadcasts against [B, ...]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
