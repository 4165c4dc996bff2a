"""Rightly labeled records that lie, inside a network, where a target lies.

References: Shafahi, Huang, Najibi, Suciu, Studer, Dumitras & Goldstein 2018, "Poison frogs! Targeted clean-label
poisoning attacks on neural networks", NeurIPS, arXiv 1804.00792.
"""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.poisoning.targeted import Aim, Targeted, on_device
from privsec.core.data import Array, Examples
from privsec.core.target import Target, compiled
from privsec.ops.ascend import Box
from privsec.ops.representation import features


class FeatureCollision(Targeted):
    """Records of the goal's class with the target faintly over them, moved to where the target is in feature space.

    `min |phi(x) - phi(t)|^2 + b |x - base|^2`, phi being what the last layer reads: a gradient step on the first, then
    the exact step on the second. Made for models that keep phi; against training from scratch the target shines
    through, as in section 4 of the paper.

    References: Shafahi et al. 2018, arXiv 1804.00792.
    """

    name: Literal["feature_collision"] = "feature_collision"
    paper: ClassVar[str] = "Shafahi et al. 2018, arXiv 1804.00792"

    opacity: float = Field(default=0.3, ge=0, lt=1)
    """How much of the target is mixed into the base records beforehand."""
    steps: int = Field(default=100, ge=1)
    """Steps, each a gradient."""
    step: float = Field(default=0.01, gt=0)
    """The length of a step at first, in units of the gradient; halved for a record whose step makes matters worse."""
    closeness: float = Field(default=0.25, ge=0)
    """b, before it is scaled by the square of (features that phi has / features of a record)."""

    def craft(self, surrogates: Target, base: Examples, aim: Aim, box: Box, key: jax.Array) -> Array:
        """The records that collide with the target."""
        del key
        return _collided(surrogates, self, *on_device(base, aim), box)


def backward_step(
    x: Float[jax.Array, " B *features"],
    base: Float[jax.Array, " B *features"],
    length: Float[jax.Array, " B *ones"],
    weight: float | jax.Array,
) -> Float[jax.Array, " B *features"]:
    """`(x + l b base) / (1 + l b)`, the minimum of `|z - x|^2 / 2 + l b |z - base|^2 / 2` over z."""
    return (x + length * weight * base) / (1 + length * weight)


@functools.partial(compiled, static=("spec",))
def _collided(surrogates: Target, spec: FeatureCollision, x: jax.Array, y: jax.Array, aim: Aim, box: Box) -> jax.Array:
    del y
    look, params = features(surrogates.model), surrogates.params
    base = (1 - spec.opacity) * x + spec.opacity * aim.x
    wanted = jax.vmap(lambda at: look(at, jnp.asarray(aim.x)[None])[1])(params)
    weight = spec.closeness * (wanted.shape[-1] / aim.x.size) ** 2

    def spread(part: jax.Array) -> jax.Array:
        return part.reshape(-1, *[1] * (x.ndim - 1))

    def apart(x: jax.Array) -> jax.Array:
        each = jax.vmap(lambda at, to: jnp.sum((look(at, x)[1] - to) ** 2, axis=-1))(params, wanted)
        return jnp.mean(each, axis=0)

    def cost(x: jax.Array) -> jax.Array:
        return apart(x) + weight * jnp.sum((x - base) ** 2, axis=tuple(range(1, x.ndim)))

    def step(_: int | jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, length = state
        slope = jax.grad(lambda at: jnp.sum(apart(at)))(x)
        moved = jnp.clip(backward_step(x - spread(length) * slope, base, spread(length), weight), *box)
        better = cost(moved) < cost(x)
        return jnp.where(spread(better), moved, x), jnp.where(better, length, length / 2)

    return jax.lax.fori_loop(0, spec.steps, step, (base, jnp.full(len(x), spec.step)))[0]
