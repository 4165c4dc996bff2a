"""Fast adaptive boundary attack: the smallest change, by projecting onto the linearized decision boundary.

Reference: Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML,
arXiv 1907.02044.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.evasion.apgd import on_surface, ranked_rivals
from privsec.attacks.evasion.base import Found, Points
from privsec.attacks.evasion.best import Best, nothing, offer
from privsec.attacks.evasion.component import Component
from privsec.attacks.evasion.gradients import PointLoss, class_gap, evaluations, loss_and_gradient, step_keys
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import Norm
from privsec.ops.margins import aimed, margin, refusal_as_true
from privsec.ops.space import Space, distance, inside_ball

OVERSHOOT = 1.05
"""How far beyond the linearized boundary a step goes."""
BIAS = 0.1
"""The most weight that the projection of the clean record gets."""
BACK = 0.9
"""Where a successful record is put before the next step, on the way from the clean one."""
FINITE = 1e-8
"""Keeps the ratio of two distances finite."""


class FAB(Component):
    """The smallest change that makes the model err: projections onto the linearized decision boundary and the box.

    `x <- (1 - a)(x + 1.05 d) + a (x_0 + 1.05 d_0)`, d and d_0 the smallest changes inside the box that take x and the
    clean record x_0 onto the plane `f_c - f_y = 0` as linearized at x, `a = min(|d| / (|d| + |d_0|), 0.1)`; from an
    adversarial x it goes on at `x_0 + 0.9 (x - x_0)`.

    Minimum-norm: what comes back is the smallest adversarial change found, which may exceed `radius`; the radius serves
    for random starts (within AutoAttack a point is done as soon as its change is within it). The paper's last search
    between the result and x_0 is left out, as in the authors' program.

    References: Croce & Hein 2020, arXiv 1907.02044.
    """

    name: Literal["fab"] = "fab"
    needs: ClassVar[Access] = Access.GRADIENTS
    bounded: ClassVar[bool] = False
    paper: ClassVar[str] = "Croce & Hein 2020, arXiv 1907.02044"

    targeted: bool = True
    """One class after another, likeliest first (FAB-T: one gradient a step); else always the class whose boundary is
    nearest, which takes a gradient for each class. One class where the goal is a class."""
    classes: int = Field(default=9, ge=1)
    """How many classes are tried where `targeted`."""
    steps: int = Field(default=100, ge=1)
    """Projections from each start."""
    restarts: int = Field(default=1, ge=1)
    """Starts for each class: the clean record, then random ones half as far as the best so far, or as the radius."""
    draws: int = Field(default=20, ge=1)
    """Gradients averaged at each step where the model answers at random."""

    def perturb(self, target: Target, points: Points, space: Space) -> Found:
        least, _ = offer(nothing(points), target, points, space, points.x, points.keys, self.norm)
        return self._smallest(least, target, points, space, enough=0.0).found

    def improved(self, best: Best, target: Target, points: Points, space: Space) -> Best:
        unknown = best._replace(x=points.x, share=best.share * 0, size=jnp.where(best.settled, 0.0, jnp.inf))
        least = self._smallest(unknown, target, points, space, enough=self.radius)
        better = inside_ball(least.x, points.x, self.radius, self.norm) & (least.share > best.share)
        x = jnp.where(better.reshape(-1, *[1] * (points.x.ndim - 1)), least.x, best.x)
        share, size = (jnp.where(better, new, old) for new, old in ((least.share, best.share), (least.size, best.size)))
        return Best(x, share, size, least.queries, least.gradients)

    def _smallest(self, least: Best, target: Target, points: Points, space: Space, enough: float) -> Best:
        """The smallest changes; points whose change is at most `enough` are done."""
        most = 1 if self.goal != "any" else self.classes if self.targeted else target.model.num_classes
        least, rivals = ranked_rivals(least, target, points, most, active=least.size > enough)
        together = 1 if self.targeted else rivals.shape[1]
        loss = _boundary(target) if self.goal == "any" else _goal_gap

        def search(number: int | jax.Array, least: Best) -> Best:
            first = number // self.restarts * together
            aims = jax.lax.dynamic_slice_in_dim(rivals, first, together, axis=1)
            return self._from_start(number, least, aims, loss, target, points, space, enough)

        return jax.lax.fori_loop(0, self.restarts * (rivals.shape[1] // together), search, least)

    def _from_start(
        self,
        number: int | jax.Array,
        least: Best,
        aims: jax.Array,
        loss: PointLoss,
        target: Target,
        points: Points,
        space: Space,
        enough: float,
    ) -> Best:
        """Projections onto the nearest of the boundaries to the classes `aims` [B, R]."""
        norm, clean, each = self.norm, points.x, (-1, *[1] * (points.x.ndim - 1))
        points = points._replace(keys=step_keys(points, number))
        low, high = _reach(space, clean)

        def unfinished(state: tuple) -> jax.Array:
            step, _, least = state
            return (step < self.steps) & jnp.any(least.size > enough)

        def advance(state: tuple) -> tuple:
            step, x, least = state
            active = least.size > enough
            gap, normal = _nearest_boundary(target, x, points, aims, loss, step_keys(points, 2 * step), self)
            least = least.spent(aims.shape[1] * evaluations(target, self.draws), active)
            to_clean = jnp.sum((normal * (x - clean)).reshape(len(x), -1), axis=1)
            d = to_plane(x, normal, -gap, low, high, norm)
            d_clean = to_plane(clean, normal, to_clean - gap, low, high, norm)
            far, far_clean = (jnp.maximum(_size(change, norm), FINITE) for change in (d, d_clean))
            bias = jnp.minimum(far / (far + far_clean), BIAS).reshape(each)
            x = (1 - bias) * (x + OVERSHOOT * d) + bias * (clean + OVERSHOOT * d_clean)
            x = jnp.clip(x, low, high)
            keys = step_keys(points, 2 * step + 1)
            least, won = offer(least, target, points, space, x, keys, norm, active=active)
            return step + 1, jnp.where(won.reshape(each), clean + BACK * (x - clean), x), least

        half = 0.5 * jnp.minimum(least.size, self.radius) * (number % self.restarts > 0)
        start = clean + half.reshape(each) * on_surface(step_keys(points, 2 * self.steps), clean.shape[1:], 1.0, norm)
        return jax.lax.while_loop(unfinished, advance, (0, jnp.clip(start, low, high), least))[2]


def to_plane(
    x: Float[jax.Array, " B *features"],
    normal: Float[jax.Array, " B *features"],
    gap: Float[jax.Array, " B"],
    low: Float[jax.Array, " B *features"],
    high: Float[jax.Array, " B *features"],
    norm: Norm,
) -> Float[jax.Array, " B *features"]:
    """The smallest change d of each x with `<normal, d> = gap` and x + d in the box, exactly.

    Each feature moves by `min(t v_i, room_i)` towards the plane, v_i = 1 for linf and |normal_i| for L2. What that
    yields is concave and piecewise linear in t; Newton's method from t = 0 passes each breakpoint once at most and
    ends at the root, with no sorting. Where the box does not reach the plane, all go as far as they can.
    """
    normal, gap = normal.reshape(len(x), -1), gap[:, None]
    pull, towards = jnp.abs(normal), jnp.sign(normal) * jnp.sign(gap)
    room = jnp.where(towards > 0, (high - x).reshape(normal.shape), (x - low).reshape(normal.shape))
    rate = jnp.ones_like(pull) if norm == "linf" else pull

    def rising(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.any(state[1])

    def newton(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        level, _ = state
        free = level * rate < room
        missing = jnp.abs(gap) - jnp.sum(jnp.where(free, 0.0, pull * room), axis=1, keepdims=True)
        slope = jnp.sum(jnp.where(free, pull * rate, 0.0), axis=1, keepdims=True)
        higher = jnp.where(slope > 0, missing / jnp.where(slope > 0, slope, 1.0), jnp.inf)
        return jnp.maximum(higher, level), higher > level

    level, _ = jax.lax.while_loop(rising, newton, (jnp.zeros_like(gap), jnp.ones_like(gap, bool)))
    travel = jnp.where(pull > 0, jnp.minimum(jnp.where(pull > 0, level * rate, 0.0), room), 0.0)
    return (towards * travel).reshape(x.shape)


def _nearest_boundary(
    target: Target, x: jax.Array, points: Points, aims: jax.Array, loss: PointLoss, keys: jax.Array, attack: FAB
) -> tuple[jax.Array, jax.Array]:
    """The loss [B] and its gradient [B, ...] for the one of the classes `aims` [B, R] whose linearized plane is
    nearest.
    """
    count, many = aims.shape
    repeated = jax.tree.map(lambda part: jnp.repeat(part, many, axis=0), points)._replace(goal=aims.reshape(-1))
    gap, normal = loss_and_gradient(
        target, jnp.repeat(x, many, axis=0), repeated, loss, jnp.repeat(keys, many), attack.draws
    )
    dual = jnp.abs(normal).reshape(len(gap), -1)
    steepness = jnp.sum(dual, axis=1) if attack.norm == "linf" else jnp.sqrt(jnp.sum(dual**2, axis=1))
    away = jnp.where(steepness > 0, jnp.abs(gap) / jnp.where(steepness > 0, steepness, 1.0), jnp.inf)
    nearest = jnp.arange(count) * many + jnp.argmin(away.reshape(count, many), axis=1)
    return gap[nearest], normal[nearest]


def _boundary(target: Target) -> PointLoss:
    """`z_goal - z_y`; a refusal, where the model refuses, is as bad as the true class."""
    rejects = target.adapted.model.rejects

    def loss(logits: jax.Array, points: Points) -> jax.Array:
        return class_gap(refusal_as_true(logits, points.y) if rejects else logits, points)

    return loss


def _goal_gap(logits: jax.Array, points: Points) -> jax.Array:
    """How far the goal's logit is above all others."""
    return aimed(margin, logits, points.y, points.goal)


def _reach(space: Space, clean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The box of each record: a feature that cannot be changed has no room."""
    low, high = (jnp.broadcast_to(end, clean.shape) for end in (space.low, space.high))
    if space.constraints is None:
        return low, high
    fixed = jnp.asarray(space.constraints.fixed)
    return jnp.where(fixed, clean, low), jnp.where(fixed, clean, high)


def _size(change: jax.Array, norm: Norm) -> jax.Array:
    return distance(change, jnp.zeros_like(change), norm)
