"""A patch in the corner of a picture, or a few rare values in a record, that a model learns to obey.

References: Gu, Dolan-Gavitt & Garg 2017, "BadNets: identifying vulnerabilities in the machine learning model supply
chain", arXiv 1708.06733.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.poisoning.base import Backdoor, box_of
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable
from privsec.ops.ascend import Box


class BadNets(Backdoor):
    """A checkered patch in a corner of the picture means the goal's class, whatever else the picture shows.

    `x' = (1 - m) x + m t`, y' = goal, on a share `rate` of the training records.

    References: Gu et al. 2017, arXiv 1708.06733.
    """

    name: Literal["badnets"] = "badnets"
    paper: ClassVar[str] = "Gu, Dolan-Gavitt & Garg 2017, arXiv 1708.06733"

    size: int = Field(default=3, ge=1)
    """Height and width of the patch in pixels."""
    corner: Literal["bottom_right", "bottom_left", "top_right", "top_left"] = "bottom_right"
    """Where it is."""

    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The pictures with the patch.

        Raises:
            NotApplicable: the records are no pictures, or smaller than the patch.
        """
        del key
        if x.ndim != 4 or self.size > min(x.shape[1:3]):
            raise NotApplicable(
                f"{self.title} puts a patch of {self.size} x {self.size} pixels on pictures; the records have shape "
                f"{list(x.shape[1:])}. For tables there is feature_trigger."
            )
        return patched(x, self.size, self.corner, box_of(knowledge, x.shape[1:]))


def patched(x: Float[jax.Array, "B H W C"], size: int, corner: str, box: Box) -> Float[jax.Array, "B H W C"]:
    """The pictures with a checkerboard of the box's ends in a corner, bright in its own corner."""
    height, width = x.shape[1:3]
    rows, columns = jnp.arange(height), jnp.arange(width)
    down = height - 1 - rows if "bottom" in corner else rows
    across = width - 1 - columns if "right" in corner else columns
    inside = (down[:, None] < size) & (across < size)
    bright = ((down[:, None] + across) % 2 == 0)[..., None]
    return jnp.where(inside[..., None], jnp.where(bright, box[1], box[0]), x)
