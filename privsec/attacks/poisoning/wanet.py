"""A smooth warp that nobody notices.

References: Nguyen & Tran 2021, "WaNet: imperceptible warping-based backdoor attack", ICLR, arXiv 2102.10369.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.poisoning.base import Backdoor, box_of
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable


class WaNet(Backdoor):
    """Pictures bent along one smooth field mean the goal's class; pictures bent otherwise keep theirs.

    `x'(p) = x(clip(p + s F(p)))`, bilinear, with F the bicubic enlargement of k x k random vectors of mean size 1 (in
    halves of a pixel), y' = goal. The covers add random vectors to the field, so that it is this field that counts and
    not that there is one.

    References: Nguyen & Tran 2021, arXiv 2102.10369.
    """

    name: Literal["wanet"] = "wanet"
    paper: ClassVar[str] = "Nguyen & Tran 2021, arXiv 2102.10369"
    rate: float = Field(default=0.1, gt=0, lt=1)
    """Which share of the training records gets the goal's label, on average over models."""

    grid: int = Field(default=4, ge=2)
    """k: rows and columns of random vectors."""
    strength: float = Field(default=0.5, gt=0)
    """s: the mean shift along each axis, in halves of a pixel."""
    cover: float = Field(default=2.0, ge=0)
    """How many records with another warp keep their label, for each poisoned one."""
    field: int = Field(default=0, ge=0)
    """Which field: the seed that it is drawn by."""

    @property
    def covers(self) -> float:
        return self.cover

    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The warped pictures.

        Raises:
            NotApplicable: the records are no pictures.
        """
        del key
        return self._bent(x, knowledge, self.flow(x)[None])

    def covered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array) -> jax.Array:
        """Pictures warped by the field and, each by itself, at random."""
        noise = jax.random.uniform(key, (len(x), *x.shape[1:3], 2), minval=-1.0, maxval=1.0)
        return self._bent(x, knowledge, self.flow(x)[None] + noise / jnp.asarray(x.shape[1:3]))

    def flow(self, x: jax.Array) -> Float[jax.Array, "H W 2"]:
        """The field, in shares of half the picture's size."""
        if x.ndim != 4:
            raise NotApplicable(
                f"{self.title} warps pictures; the records have shape {list(x.shape[1:])}. For tables there is "
                "feature_trigger."
            )
        return self.strength * smooth_field(self.field, self.grid, *x.shape[1:3]) / jnp.asarray(x.shape[1:3])

    def _bent(self, x: jax.Array, knowledge: Knowledge, flow: jax.Array) -> jax.Array:
        return jnp.clip(warped(x, flow), *box_of(knowledge, x.shape[1:]))


def smooth_field(seed: int, grid: int, height: int, width: int) -> Float[jax.Array, "H W 2"]:
    """grid x grid vectors uniform in (-1, 1), divided by their mean absolute value and enlarged bicubically."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (grid, grid, 2))
    return jax.image.resize(jnp.asarray(coarse / np.abs(coarse).mean(), jnp.float32), (height, width, 2), "cubic")


def warped(x: Float[jax.Array, "B H W C"], flow: Float[jax.Array, "#B H W 2"]) -> Float[jax.Array, "B H W C"]:
    """Each picture read at its own pixels' places plus the flow, bilinearly, what lies outside being the edge.

    Args:
        x: the pictures.
        flow: down and to the right, where -1 is the first and 1 the last pixel.
    """
    size = jnp.asarray(x.shape[1:3])
    identity = jnp.stack(jnp.meshgrid(jnp.arange(x.shape[1]), jnp.arange(x.shape[2]), indexing="ij"), axis=-1)
    places = jnp.clip(identity + flow * (size - 1) / 2, 0, size - 1)

    def read(channel: jax.Array, place: jax.Array) -> jax.Array:
        return map_coordinates(channel, [place[..., 0], place[..., 1]], order=1, mode="nearest")

    each = jax.vmap(jax.vmap(read, (-1, None), -1))
    return each(x, jnp.broadcast_to(places, (len(x), *places.shape[1:])))
