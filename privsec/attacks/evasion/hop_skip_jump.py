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
from privsec.core.attack import Knowledge
from privsec.core.keys import derive
from privsec.core.target import Target
from privsec.ops.ascend import Norm, steepest
from privsec.ops.space import Space, distance

ASKED = 1024
"""Candidates of one forward pass where they are not asked about in slices; bounds the memory."""
BLOCK = 16
"""Candidates of one forward pass where slices are fastest: so few waste little, as their number is rounded up."""
HALVINGS = 10
"""How often a jump is halved in search of a success before it is given up."""


class HopSkipJump(decisions.DecisionAttack):
    """Walks along the decision boundary from labels alone, by estimates of its normal, as near as the queries allow.

    In iteration t, with the point x_t on the boundary and phi = 1 at a success, else -1: `B_t = directions * sqrt(t)`
    random unit vectors u give the normal `sum_b (phi(x_t + delta u_b) - mean phi) u_b`, delta = ||x_t - x|| / D; the
    jump along it has length `||x_t - x|| / sqrt(t)`, halved until it succeeds; a line search leads back to the
    boundary.

    Beside the paper: the directions of an iteration are drawn once for all points, and each point turns them by signs
    of its own, one a feature, redrawn in every iteration. To each point they are then what the paper draws, independent
    and uniform, whichever other points there are; and what errs in two points' estimates is uncorrelated.

    References: Chen et al. 2020, arXiv 1904.02144, algorithms 1 and 2.
    """

    name: Literal["hop_skip_jump"] = "hop_skip_jump"
    paper: ClassVar[str] = "Chen, Jordan & Wainwright 2020, https://arxiv.org/abs/1904.02144"

    directions: int = Field(default=100, ge=1)
    """Random directions of the first estimate; the t-th takes sqrt(t) times as many."""

    def prepared(
        self, target: Target, knowledge: Knowledge, points: Points, space: Space, key: jax.Array
    ) -> tuple[jax.Array, ...]:
        """Records to start from, and the key of the directions that all points share, [N] times the same."""
        shared = jnp.broadcast_to(derive(key, "directions"), (len(points.y),))
        return *super().prepared(target, knowledge, points, space, key), shared

    def perturb(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        *starts, shared = given
        ask, x = decisions.Ask(target, points, space), points.x
        halvings = halvings_of(math.prod(x.shape[1:]), self.norm)
        starting, walking = decisions.streams(points.keys)
        begun = decisions.start(ask, points, space, starting, *starts)
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
            offset = each(width, x) * turned(walking, t, x)
            toward = normal(ask, at, offset, count, jax.random.fold_in(shared[0], t), self.norm, active)
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
    offset: Float[jax.Array, " B *features"],
    count: Int[jax.Array, ""],
    key: Key[jax.Array, ""],
    norm: Norm,
    active: Bool[jax.Array, " B"],
) -> Float[jax.Array, " B *features"]:
    """The step of unit `norm` from `at` towards success, from `count` queries for each active point.

    The mean of (phi - mean phi) u over `directions` u of unit length, times the sizes and signs of `offset`, as they
    are after the cut at the box.
    """
    block = BLOCK if ask.in_slices else max(1, ASKED // len(at))

    def ask_block(b: jax.Array | int, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        u = directions(key, b * block, block, at.shape[1:], norm)

        def of_points(ask: Ask, at: jax.Array, offset: jax.Array, active: jax.Array) -> tuple[jax.Array, ...]:
            candidates = around(at, offset, u, ask.space)
            live = active[:, None] & (b * block + jnp.arange(block) < count)
            phi = jnp.where(ask(candidates, live), 1.0, -1.0) * live
            return *summed(candidates, at, phi, live), phi.sum(axis=1)

        return jax.tree.map(jnp.add, sums, ask.for_points(of_points, at, offset, active))

    sums = (jnp.zeros_like(at), jnp.zeros_like(at), jnp.zeros(len(at)))
    signed, plain, phi = jax.lax.fori_loop(0, -(-count // block), ask_block, sums)
    mean = each(phi / count, at)
    return steepest(jnp.where(jnp.abs(mean) == 1.0, signed, signed - mean * plain), norm)  # one-sided: the sum tells


@functools.partial(decisions.modelless, static=("block", "shape", "norm"))
def directions(
    key: Key[jax.Array, ""], first: jax.Array | int, block: int, shape: tuple[int, ...], norm: Norm
) -> Float[jax.Array, " Q *features"]:
    """A `block` of directions of unit length from the `first` on: normal ones for L2, uniform ones for linf."""

    def draw(number: jax.Array) -> jax.Array:
        own = jax.random.fold_in(key, number)  # whatever the block, the same direction
        return jax.random.normal(own, shape) if norm == "l2" else jax.random.uniform(own, shape, minval=-1)

    return steepest(jax.vmap(draw)(first + jnp.arange(block)), "l2")


@decisions.modelless
def turned(
    keys: Key[jax.Array, " B"], t: Int[jax.Array, ""], like: Float[jax.Array, " B *features"]
) -> Float[jax.Array, " B *features"]:
    """The signs, 1 or -1, by which each point turns the directions of iteration t."""
    return jax.vmap(lambda key: jax.random.rademacher(jax.random.fold_in(key, t), like.shape[1:], like.dtype))(keys)


@decisions.modelless
def around(
    at: Float[jax.Array, " B *features"],
    offset: Float[jax.Array, " B *features"],
    u: Float[jax.Array, " Q *features"],
    space: Space,
) -> Float[jax.Array, " B Q *features"]:
    """Candidates round each point: in the directions u, each feature times that of `offset`, cut off at the box."""
    return space.inside(at[:, None] + offset[:, None] * u)


@decisions.modelless
def summed(
    candidates: Float[jax.Array, " B Q *features"],
    at: Float[jax.Array, " B *features"],
    phi: Float[jax.Array, "B Q"],
    live: Bool[jax.Array, "B Q"],
) -> tuple[Float[jax.Array, " B *features"], Float[jax.Array, " B *features"]]:
    """The offsets that were asked about, summed with `phi` as weights, and plainly."""
    steps = (candidates - at[:, None]).reshape(*phi.shape, -1)
    sums = jnp.stack([phi, live.astype(phi.dtype)], axis=1) @ steps
    return sums[:, 0].reshape(at.shape), sums[:, 1].reshape(at.shape)


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
