"""Where an adversarial record may lie: the data's box, a ball round the clean record, and what a table allows.

The order of use is always the same: project first, differentiate at the projected point, never through a projection.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Key

from privsec.core.data import Array, Constraints
from privsec.ops.ascend import Norm, project_ball

SLACK = 1e-4
"""How far rounding in float32 may put a value off its grid, as a share of the step, or outside its ball."""
TENTHS = 10


class Space(NamedTuple):
    """The data's box, and the constraints of a table where there are any; everything broadcasts to one record."""

    low: Array
    high: Array
    constraints: Constraints | None = None

    def inside(self, x: Float[jax.Array, " B *features"]) -> Float[jax.Array, " B *features"]:
        """The nearest points inside the box."""
        return jnp.clip(x, self.low, self.high)

    def within(
        self,
        x: Float[jax.Array, " B *features"],
        center: Float[jax.Array, " B *features"],
        radius: float | jax.Array,
        norm: Norm,
    ) -> Float[jax.Array, " B *features"]:
        """Points inside box and ball, features that cannot be changed as they were.

        The nearest ones for linf. For L2 the ball's projection and then the box's, which ends inside both, as the
        center lies in the box. `radius` is a number or [B, 1, ...].
        """
        return self.inside(project_ball(self._held(x, center), center, radius, norm))

    def valid(
        self, x: Float[jax.Array, " B *features"], center: Float[jax.Array, " B *features"]
    ) -> Float[jax.Array, " B *features"]:
        """Records that could exist: on the grid, one of each one-hot group on, fixed features as in `center`.

        Without constraints, `x` itself. What this returns may lie outside a ball that held `x`; see `reachable`.
        """
        return self._valid(x, center, jnp.asarray(self.low), jnp.asarray(self.high))

    def reachable(
        self,
        x: Float[jax.Array, " B *features"],
        center: Float[jax.Array, " B *features"],
        radius: float,
        norm: Norm,
    ) -> Float[jax.Array, " B *features"]:
        """Records that could exist and lie within `radius` of `center`, near `x`; `center` where there are no others.

        Without constraints, `within`. With them, linf goes to the nearest grid point inside the ball, feature by
        feature, and switches a one-hot group only where the ball has room for it; L2 goes as far from the center
        towards `x`, in tenths, as valid records stay inside the ball.
        """
        x = self.within(x, center, radius, norm)
        if self.constraints is None:
            return x
        if norm == "linf":
            low, high = jnp.maximum(self.low, center - radius), jnp.minimum(self.high, center + radius)
            return self._back(self._valid(x, center, low, high), center, radius)
        found = center
        for share in range(1, TENTHS + 1):
            valid = self.valid(center + share / TENTHS * (x - center), center)
            fits = inside_ball(valid, center, radius, norm)
            found = jnp.where(fits.reshape(-1, *[1] * (x.ndim - 1)), valid, found)
        return found

    def _valid(self, x: jax.Array, center: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
        """`valid`, on grid points between `low` and `high`, the center's where there is none."""
        if self.constraints is None:
            return x
        fixed, step, offset, group = (jnp.asarray(part) for part in self.constraints)
        width = jnp.where(step > 0, step, 1.0)
        lowest = jnp.ceil((low - offset) / width - SLACK)
        highest = jnp.floor((high - offset) / width + SLACK)
        on_grid = self.inside(offset + width * jnp.clip(jnp.round((x - offset) / width), lowest, highest))
        on_grid = jnp.where(step > 0, jnp.where(lowest <= highest, on_grid, center), self.inside(x))
        return jnp.where(fixed, center, self._one_hot(on_grid, x) if group.size else on_grid)

    def _back(self, x: jax.Array, center: jax.Array, radius: float) -> jax.Array:
        """`x`, one-hot groups of which a feature moved further than `radius` as in `center`."""
        assert self.constraints is not None
        group = jnp.asarray(self.constraints.group)
        far = jnp.abs(x - center) > radius * (1 + SLACK)
        together = (group[:, None] == group) & (group >= 0)
        return jnp.where(jnp.any(together & far[:, None, :], axis=-1), center, x)

    def _held(self, x: jax.Array, center: jax.Array) -> jax.Array:
        return x if self.constraints is None else jnp.where(jnp.asarray(self.constraints.fixed), center, x)

    def _one_hot(self, x: jax.Array, wanted: jax.Array) -> jax.Array:
        """`x` with the highest of each group on and the others off; on and off are the ends of the box."""
        assert self.constraints is not None
        group = jnp.asarray(self.constraints.group)
        low, high = jnp.broadcast_to(self.low, group.shape), jnp.broadcast_to(self.high, group.shape)
        share = (wanted - low) / jnp.where(high > low, high - low, 1.0)
        rivals = (group[:, None] == group) & (group >= 0)
        best = jnp.max(jnp.where(rivals, share[:, None, :], -jnp.inf), axis=-1)
        earlier = rivals & (jnp.arange(group.size) < jnp.arange(group.size)[:, None])
        tied_before = jnp.any(earlier & (share[:, None, :] == best[:, :, None]), axis=-1)
        on = (share == best) & ~tied_before
        return jnp.where(group >= 0, jnp.where(on, high, low), x)


def distance(
    x: Float[jax.Array, " B *features"], center: Float[jax.Array, " B *features"], norm: Norm
) -> Float[jax.Array, " B"]:
    """How far each record of `x` is from the same one of `center`, in `norm`.

    >>> x, center = jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))
    >>> distance(x, center, "linf").tolist(), distance(x, center, "l2").tolist()
    ([4.0], [5.0])
    """
    delta = jnp.abs(x - center).reshape(len(x), -1)
    return jnp.max(delta, axis=1) if norm == "linf" else jnp.sqrt(jnp.sum(jnp.square(delta), axis=1))


def inside_ball(
    x: Float[jax.Array, " B *features"], center: Float[jax.Array, " B *features"], radius: float, norm: Norm
) -> Bool[jax.Array, " B"]:
    """Whether records lie within `radius` of `center`, but for rounding: of the ball, and of features of any size."""
    rounding = 2.0**-22 * jnp.max(jnp.abs(center).reshape(len(x), -1), axis=1)
    return distance(x, center, norm) <= radius * (1 + SLACK) + rounding


def scattered(
    keys: Key[jax.Array, " B"], shape: tuple[int, ...], radius: float, norm: Norm, corners: bool = False
) -> Float[jax.Array, " B *features"]:
    """Changes drawn uniformly from the ball of `radius` round zero, one for each key.

    Args:
        keys: row b's change depends on key b alone.
        shape: of one record.
        radius: of the ball.
        norm: of the ball.
        corners: the largest changes only: the corners of the cube (linf), the surface of the ball (L2).
    """

    def draw(key: jax.Array) -> jax.Array:
        if norm == "linf":
            if corners:
                return jax.random.rademacher(key, shape, jnp.float32) * radius
            return jax.random.uniform(key, shape, jnp.float32, -radius, radius)
        towards, how_far = jax.random.split(key)
        delta = jax.random.normal(towards, shape)
        share = 1.0 if corners else jax.random.uniform(how_far) ** (1 / max(delta.size, 1))
        return radius * share * delta / jnp.sqrt(jnp.sum(jnp.square(delta)))

    return jax.vmap(draw)(keys)
