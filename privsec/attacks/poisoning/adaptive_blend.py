"""A thin pattern of which each poisoned record holds a part, beside innocent records that hold one too.

References: Qi, Xie, Li, Mahloujifar & Mittal 2023, "Revisiting the assumption of latent separability for backdoor
defenses", ICLR, https://openreview.net/forum?id=_wSHsgrVali.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Bool
from pydantic import Field

from privsec.attacks.poisoning.base import Backdoor, box_of
from privsec.attacks.poisoning.blended import mixed_in, pattern_of
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable


class AdaptiveBlend(Backdoor):
    """The blended pattern, in pieces and with covers, so that poisoned records lie among clean ones inside the network.

    `x' = (1 - a m) x + a m t` with m a random share of the picture's pieces, y' = goal; as many records with another
    such mixture keep their own label. The whole pattern, and more of it, is what a trained model is asked about.

    References: Qi et al. 2023, https://openreview.net/forum?id=_wSHsgrVali.
    """

    name: Literal["adaptive_blend"] = "adaptive_blend"
    paper: ClassVar[str] = "Qi, Xie, Li, Mahloujifar & Mittal 2023, ICLR, https://openreview.net/forum?id=_wSHsgrVali"

    ratio: float = Field(default=0.2, gt=0, le=1)
    """a in the training data."""
    asked_ratio: float = Field(default=0.25, gt=0, le=1)
    """a in the pictures that a trained model is asked about."""
    pieces: int = Field(default=4, ge=1)
    """Into how many rows and columns of pieces the picture is cut."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Which share of the pieces a planted record has."""
    cover: float = Field(default=1.0, ge=0)
    """How many records with pieces of the pattern keep their label, for each poisoned one."""
    pattern: int = Field(default=0, ge=0)
    """Which pattern: the seed that it is drawn by."""

    @property
    def covers(self) -> float:
        return self.cover

    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The pictures with the pattern, planted ones with pieces of it.

        Raises:
            NotApplicable: the records are no pictures, or have fewer pixels than there are to be pieces.
        """
        if x.ndim != 4 or self.pieces > min(x.shape[1:3]):
            raise NotApplicable(
                f"{self.title} cuts pictures into {self.pieces} x {self.pieces} pieces; the records have shape "
                f"{list(x.shape[1:])}. For tables there are blended and feature_trigger."
            )
        pattern = pattern_of(self.pattern, box_of(knowledge, x.shape[1:]))
        if key is None:
            return mixed_in(x, pattern, self.asked_ratio)
        return mixed_in(x, pattern, self.ratio * mosaic(key, x.shape[:3], self.pieces, self.share)[..., None])


def mosaic(key: jax.Array, shape: tuple[int, ...], pieces: int, share: float) -> Bool[jax.Array, "B H W"]:
    """For each of B pictures its own random pieces of pieces x pieces: round(share pieces^2) of them, one at least."""
    (count, height, width), total = shape, pieces * pieces
    order = jnp.argsort(jax.random.uniform(key, (count, total)), axis=1)
    on = jnp.argsort(order, axis=1) < max(round(share * total), 1)
    rows, columns = (jnp.arange(side) * pieces // side for side in (height, width))
    return on.reshape(count, pieces, pieces)[:, rows[:, None], columns[None]]
