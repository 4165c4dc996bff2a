"""Model inversion from labels alone.

Reference: Kahla et al. 2022, "Label-only model inversion attacks via boundary repulsion", arXiv 2203.01925.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
from pydantic import Field

from privsec.attacks.inversion.latent_inversion import LatentInversion, Search, in_chunks
from privsec.core.access import Access
from privsec.core.target import Target

LONGEST = 0.3
"""The longest step, root mean square over latents."""


class _State(NamedTuple):
    """Where each class's search is; `kept` is where the largest sphere so far was found to be inside the class."""

    step: jax.Array
    z: jax.Array
    radius: jax.Array
    kept: jax.Array
    stale: jax.Array
    active: jax.Array
    asked: jax.Array


class BREPMI(LatentInversion):
    """The middle of what the model calls class y among natural inputs, found by asking for labels only.

    Points of a sphere round z that are not of the class push z away, `z <- z - min(R / 3, R_max) mean_i 1[f(G(z + R
    u_i)) != y] u_i`, as long as z stays in the class; a sphere that is inside the class grows, `R <- growth R`. The
    deeper in the class, the more typical of it. G is a small decoder learned from the attacker's records.

    References: Kahla et al. 2022, arXiv 2203.01925.
    """

    name: Literal["brep_mi"] = "brep_mi"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Kahla et al. 2022, arXiv 2203.01925"

    reach: float = Field(default=1.5, gt=0)
    """The search stays where no latent is further from 0 than this, in standard deviations."""
    radius: float = Field(default=0.2, gt=0)
    """R at first, root mean square over latents."""
    growth: float = Field(default=1.3, gt=1)
    """By how much a sphere grows that is inside the class."""
    inside: float = Field(default=0.9, gt=0, le=1)
    """The share of its points that must be in the class for that."""
    points: int = Field(default=32, ge=1)
    """Points asked about on each sphere."""
    steps: int = Field(default=300, ge=1)
    """The most spheres a reconstruction may take."""
    patience: int = Field(default=50, ge=1)
    """A reconstruction stops after this many spheres that did not grow."""

    def confidence(
        self, target: Target, x: Float[jax.Array, " K *features"], y: Int[jax.Array, " K"]
    ) -> Float[jax.Array, " K"]:
        """All that labels tell: 1 where x is called y, else 0."""
        return (target.labels(x) == y).astype(jnp.float32)

    def searched(self, target: Target, given: Search) -> tuple[Float[jax.Array, "K Z"], jax.Array]:
        decoder, starts, y, key = given
        classes, unit = len(y), jnp.sqrt(jnp.asarray(starts.shape[1], jnp.float32))
        of_class = in_chunks(lambda z: target.labels(decoder(z)), starts) == y[:, None]
        started = jnp.any(of_class, axis=1)
        z = jnp.where(started[:, None], starts[jnp.argmax(of_class, axis=1)], 0.0)  # the mean where nothing is y

        def advance(state: _State) -> _State:
            towards = jax.random.normal(jax.random.fold_in(key, state.step), (classes, self.points, z.shape[1]))
            towards = towards / jnp.linalg.norm(towards, axis=-1, keepdims=True)
            step_size = jnp.minimum(state.radius / 3, LONGEST)
            reached = jnp.where(state.active, state.radius, 0.0) * unit
            sphere = (state.z[:, None] + reached[:, None, None] * towards).reshape(-1, z.shape[1])
            inside = (target.labels(decoder(sphere)) == jnp.repeat(y, self.points)).reshape(classes, self.points)
            moved = state.z + (step_size * unit)[:, None] * repulsion(towards, inside)
            moved = jnp.where(state.active[:, None], jnp.clip(moved, -self.reach, self.reach), state.z)
            moves = state.active & (target.labels(decoder(moved)) == y)
            grows = state.active & (jnp.mean(inside, axis=1) >= self.inside)
            stale = jnp.where(grows, 0, state.stale + 1)
            return _State(
                step=state.step + 1,
                z=jnp.where(moves[:, None], moved, state.z),
                radius=jnp.where(grows, self.growth * state.radius, state.radius),
                kept=jnp.where(grows[:, None], state.z, state.kept),
                stale=stale,
                active=state.active & (stale < self.patience),
                asked=state.asked + (self.points + 1) * jnp.sum(state.active),
            )

        nothing = jnp.zeros(classes, jnp.int32)
        first = _State(jnp.asarray(0), z, jnp.full(classes, self.radius), z, nothing, started, jnp.asarray(0))
        last = jax.lax.while_loop(lambda state: (state.step < self.steps) & jnp.any(state.active), advance, first)
        never_grew = last.radius <= self.radius
        return jnp.where(never_grew[:, None], last.z, last.kept), (len(starts) + last.asked) / classes


def repulsion(towards: Float[jax.Array, "K P Z"], inside: Bool[jax.Array, "K P"]) -> Float[jax.Array, "K Z"]:
    """Away from the points of a sphere that are outside the class: `-mean_i 1[outside] u_i`.

    >>> repulsion(jnp.array([[[1.0, 0.0], [-1.0, 0.0]]]), jnp.array([[False, True]])).tolist()
    [[-0.5, -0.0]]
    """
    return -jnp.mean(jnp.where(inside[..., None], 0.0, towards), axis=1)
