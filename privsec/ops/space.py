"""Where an adversarial record may lie: the data's box, a ball round the clean record, and what a table allows.

The order of use is always the same: project first, differentiate at the projected point, never through a projection.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from privsec.core.data import Array, Constraints
from privsec.ops.ascend import Norm, project_ball


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

        Without constraints, `x` itself. What this returns may lie outside a ball that held `x`.
        """
        if self.constraints is None:
            return x
        fixed, step, offset, group = (jnp.asarray(part) for part in self.constraints)
        width = jnp.where(step > 0, step, 1.0)
        lowest, highest = jnp.ceil((self.low - offset) / width), jnp.floor((self.high - offset) / width)
        on_grid = offset + width * jnp.clip(jnp.round((x - offset) / width), lowest, highest)
        x = jnp.where(step > 0, on_grid, x) if group.size == 0 else self._one_hot(jnp.where(step > 0, on_grid, x), x)
        return jnp.where(fixed, center, x)

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
