"""The best point that an attack has come upon so far, and what it took: every attack offers its points to one."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from privsec.attacks.evasion.base import Evasion, Found, Points, succeeds
from privsec.core.target import Target
from privsec.ops.ascend import Norm
from privsec.ops.space import Space, distance, inside_ball

DRAWS = 10
"""Fresh answers that decide whether a point wins where the model answers at random."""

MATERIAL = 1e-3
"""How much nearer a point has to be to be better, as a share. The nearest of hundreds of points would win by an amount
that the rounding of another batch takes away again."""


class Best(NamedTuple):
    """The best of the points offered for each of B clean ones.

    Attributes:
        x: [B, ...]; the clean record where none won.
        share: [B], in how many of the answers it won: 0 or 1 where the model answers alike.
        size: [B], how far it is from the clean one; infinite where none won.
        queries: [B], answers asked for.
        gradients: [B], gradients evaluated.
    """

    x: jax.Array
    share: jax.Array
    size: jax.Array
    queries: jax.Array
    gradients: jax.Array

    @property
    def settled(self) -> jax.Array:
        """Bool [B]: an attack that asks for no smaller change cannot do better."""
        return self.share >= 1.0

    @property
    def broken(self) -> jax.Array:
        """Bool [B]: something was found."""
        return jnp.isfinite(self.size)

    @property
    def found(self) -> Found:
        """What the attack hands over."""
        return Found(self.x, self.queries, self.gradients)

    def spent(self, gradients: int, active: jax.Array) -> Best:
        """The same, with `gradients` more evaluated for the points that are `active`."""
        return self._replace(gradients=self.gradients + gradients * active)


def nothing(points: Points) -> Best:
    """Before anything was offered."""
    zeros = jnp.zeros(len(points.y), jnp.float32)
    return Best(points.x, zeros, jnp.full_like(zeros, jnp.inf), zeros, zeros)


def offer(
    best: Best,
    target: Target,
    points: Points,
    space: Space,
    x: jax.Array,
    keys: jax.Array,
    norm: Norm,
    *,
    radius: float | None = None,
    active: jax.Array | bool = True,
    inside: bool = False,
) -> tuple[Best, jax.Array]:
    """Asks the target about the valid records nearest to `x`, and keeps those that are better than the best so far.

    Args:
        x: [B, ...], anywhere.
        keys: one a point, for the answers of a model that answers at random.
        radius: of the ball the attack is confined to. A point is then better if it wins more of the answers. None for
            the smallest change: a point is then better if it wins most of the answers and is nearer.
        active: whose points are offered; the others stay as they are and are not charged.
        inside: `x` is in box and ball already, and is asked about as it is where nothing else constrains it.

    Returns:
        The new best, and bool [B]: who was active and won most of the answers at this point, better or not.
    """
    if not (inside and space.constraints is None):
        x = space.valid(x, points.x) if radius is None else space.reachable(x, points.x, radius, norm)
    share, size = _share(target, x, points, keys), distance(x, points.x, norm)
    if radius is None:
        better = (share > 0.5) & (size < best.size * (1 - MATERIAL))
    else:
        better = (share > best.share) & inside_ball(x, points.x, radius, norm)
    better &= active
    kept = better.reshape(-1, *[1] * (x.ndim - 1))
    best = Best(
        jnp.where(kept, x, best.x),
        jnp.where(better, share, best.share),
        jnp.where(better, size, best.size),
        best.queries + jnp.where(active, answers(target), 0),
        best.gradients,
    )
    return best, (share > 0.5) & active


def untouched(attack: Evasion, target: Target, points: Points, space: Space) -> Best:
    """What the clean records are worth to an attack inside a ball: some need no change."""
    return offer(nothing(points), target, points, space, points.x, points.keys, attack.norm, radius=attack.radius)[0]


def answers(target: Target) -> int:
    """How many answers decide about one point."""
    return DRAWS if target.random else 1


def _share(target: Target, x: jax.Array, points: Points, keys: jax.Array) -> jax.Array:
    count = answers(target)
    if count == 1:
        return succeeds(target, x, points).astype(jnp.float32)
    repeated = jax.tree.map(lambda part: jnp.repeat(part, count, axis=0), points)
    drawn = jax.vmap(lambda key: jax.random.split(key, count))(keys).reshape(-1)
    won = succeeds(target, jnp.repeat(x, count, axis=0), repeated, drawn)
    return jnp.mean(won.reshape(-1, count), axis=1, dtype=jnp.float32)
