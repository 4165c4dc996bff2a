"""HopSkipJump: the boundary's normal is estimated from labels, and the walk along the boundary follows it.

References: Chen, Jordan & Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", IEEE S&P,
https://arxiv.org/abs/1904.02144.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key
from pydantic import Field

from privsec.attacks.evasion import decisions
from privsec.attacks.evasion.base import Found, Points
from privsec.attacks.evasion.decisions import Ask, each, nearer
from privsec.core.target import Target
from privsec.ops.ascend import Norm, steepest
from privsec.ops.space import Space, distance

ASKED = 1024
"""Candidates of one forward pass; bounds the memory."""
HALVINGS = 10
"""How often a jump is halved in search of a success before it is given up."""


class HopSkipJump(decisions.DecisionAttack):
    """Walks along the decision boundary from labels alone, by estimates of its normal, as near as the queries allow.

    In iteration t, with the point x_t on the boundary and phi = 1 at a success, else -1: `B_t = directions * sqrt(t)`
    random unit vectors u give the normal `sum_b (phi(x_t + delta u_b) - mean phi) u_b`, delta = ||x_t - x|| / D; the
    jump along it has length `||x_t - x|| / sqrt(t)`, halved until it succeeds; a line search leads back to the
    boundary.

    References: Chen et al. 2020, arXiv 1904.02144, algorithms 1 and 2.
    """

    name: Literal["hop_skip_jump"] = "hop_skip_jump"
    paper: ClassVar[str] = "Chen, Jordan & Wainwright 2020, https://arxiv.org/abs/1904.02144"

    directions: int = Field(default=100, ge=1)
    """Random directions of the first estimate; the t-th takes sqrt(t) times as many."""

    def perturb(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        ask, x = decisions.asking(target, points, space), points.x
        halvings = halvings_of(math.prod(x.shape[1:]), self.norm)
        starting, walking = decisions.streams(points.keys)
        begun = decisions.start(ask, points, space, starting, *given)
        at = decisions.to_boundary(ask, x, begun.x, self.norm, halvings, begun.walks)
        spent = begun.queries + halvings * begun.walks

        def affords(t: jax.Array, spent: jax.Array) -> jax.Array:
            return begun.walks & (spent + self._count(t) + HALVINGS + halvings <= self.queries)

        def unfinished(state: tuple) -> jax.Array:
            t, _, _, spent = state
            return jnp.any(affords(t, spent))

        def iterate(state: tuple) -> tuple:
            t, at, best, spent = state
            active, left = affords(t, spent), distance(at, x, self.norm)
            width = jnp.where(t == 1, 0.1 * jnp.max(space.high - space.low), left / math.prod(x.shape[1:]))
            count = self._count(t)
            toward = normal(ask, at, width, count, walking, t, space, self.norm, active)
            landed, tried = jump(ask, at, toward, left / jnp.sqrt(t), space, active)
            at = decisions.to_boundary(ask, x, landed, self.norm, halvings, active)
            best = nearer(at, best, x, space, self.norm)
            return t + 1, at, best, spent + active * (count + tried + halvings)

        best = nearer(at, space.valid(begun.x, x), x, space, self.norm)
        state = (jnp.int32(1), at, best, spent)
        _, _, best, spent = jax.lax.while_loop(unfinished, iterate, state)
        return Found(jnp.where(each(begun.walks, x), best, x), spent, jnp.zeros(len(x)))

    def _count(self, t: jax.Array) -> jax.Array:
        return (self.directions * jnp.sqrt(t)).astype(jnp.int32)


def halvings_of(features: int, norm: Norm) -> int:
    """Line searches end within D^(-3/2) of the segment for L2, and D^(-2) for linf, as far as float32 can tell.

    >>> halvings_of(784, "l2"), halvings_of(784, "linf"), halvings_of(4, "l2")
    (15, 20, 8)
    """
    return min(max(math.ceil((1.5 if norm == "l2" else 2) * math.log2(features)), 8), 24)


def normal(
    ask: Ask,
    at: Float[jax.Array, " B *features"],
    width: Float[jax.Array, " B"],
    count: Int[jax.Array, ""],
    keys: Key[jax.Array, " B"],
    t: Int[jax.Array, ""],
    space: Space,
    norm: Norm,
    active: Bool[jax.Array, " B"],
) -> Float[jax.Array, " B *features"]:
    """The step of unit `norm` from `at` towards success, from `count` queries for each active point.

    The mean of (phi - mean phi) u over directions u: normal ones for L2 and uniform ones for linf, of unit length, cut
    off at the box.
    """
    block = max(1, ASKED // len(at))

    def ask_block(b: jax.Array | int, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        candidates, u = around(at, width, space, keys, (t, b), block, norm)
        live = active[:, None] & (b * block + jnp.arange(block) < count)
        phi = jnp.where(ask(candidates, live), 1.0, -1.0) * live
        signed, plain = (jnp.einsum("bq,bq...->b...", weight, u) for weight in (phi, live.astype(u.dtype)))
        return sums[0] + signed, sums[1] + plain, sums[2] + phi.sum(axis=1)

    zeros = jnp.zeros_like(at)
    signed, plain, phi = jax.lax.fori_loop(0, -(-count // block), ask_block, (zeros, zeros, jnp.zeros(len(at))))
    mean = each(phi / count, at)
    return steepest(jnp.where(jnp.abs(mean) == 1.0, signed, signed - mean * plain), norm)  # one-sided: the sum tells


@functools.partial(decisions.modelless, static=("block", "norm"))
def around(
    at: Float[jax.Array, " B *features"],
    width: Float[jax.Array, " B"],
    space: Space,
    keys: Key[jax.Array, " B"],
    which: tuple[jax.Array, jax.Array | int],
    block: int,
    norm: Norm,
) -> tuple[Float[jax.Array, " B Q *features"], Float[jax.Array, " B Q *features"]]:
    """A `block` of candidates round each point, the b-th of iteration t, and their offsets in units of `width`."""
    t, b = which

    def draw(key: jax.Array, number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(key, t), number)  # whatever the block, the same direction
        return jax.random.normal(key, shape) if norm == "l2" else jax.random.uniform(key, shape, minval=-1)

    shape, length = at.shape[1:], each(width, at)[:, None]
    directions = jax.vmap(lambda key: steepest(jax.vmap(draw, (None, 0))(key, b * block + jnp.arange(block)), "l2"))
    candidates = space.inside(at[:, None] + length * directions(keys))
    return candidates, (candidates - at[:, None]) / jnp.maximum(length, 1e-12)


def jump(
    ask: Ask,
    at: Float[jax.Array, " B *features"],
    toward: Float[jax.Array, " B *features"],
    step: Float[jax.Array, " B"],
    space: Space,
    active: Bool[jax.Array, " B"],
) -> tuple[Float[jax.Array, " B *features"], Int[jax.Array, " B"]]:
    """A success at `step` from `at`, halved as often as needed (else `at` itself), and the queries it took."""

    def searching(state: tuple) -> jax.Array:
        k, _, open_, _ = state
        return (k < HALVINGS) & jnp.any(open_)

    def attempt(state: tuple) -> tuple:
        k, point, open_, tried = state
        trial = space.inside(at + each(step * 0.5**k, at) * toward)
        won = ask(trial[:, None], open_[:, None])[:, 0]
        return k + 1, jnp.where(each(won, at), trial, point), open_ & ~won, tried + open_

    _, point, _, tried = jax.lax.while_loop(
        searching, attempt, (jnp.int32(0), at, active, jnp.zeros(len(at), jnp.int32))
    )
    return point, tried
