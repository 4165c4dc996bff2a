"""A faint wave over pictures of the right class.

References: Barni, Kallas & Tondi 2019, "A new backdoor attack in CNNs by training set corruption without label
poisoning", arXiv 1902.11237.
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


class SIG(Backdoor):
    """A horizontal wave of brightness on pictures of the goal's class, so that every label is right.

    `x' = clip(x + d sin(2 pi j f / W))` in column j of W, y' = y = goal; d may be larger where a model is asked.

    References: Barni et al. 2019, arXiv 1902.11237.
    """

    name: Literal["sig"] = "sig"
    paper: ClassVar[str] = "Barni, Kallas & Tondi 2019, arXiv 1902.11237"
    clean_label: ClassVar[bool] = True

    amplitude: float = Field(default=0.15, gt=0, le=1)
    """d in the training data, as a share of the box's width."""
    asked_amplitude: float = Field(default=0.25, gt=0, le=1)
    """d in the pictures that a trained model is asked about."""
    frequency: float = Field(default=6.0, gt=0)
    """f: how many waves a picture is wide."""

    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The pictures with the wave.

        Raises:
            NotApplicable: the records are no pictures, or too narrow for so many waves.
        """
        if x.ndim != 4 or 2 * self.frequency >= x.shape[2]:
            raise NotApplicable(
                f"{self.title} lays {self.frequency:g} waves over pictures, which takes more than "
                f"{2 * self.frequency:g} columns; the records have shape {list(x.shape[1:])}. Lower the frequency; for "
                "tables there is feature_trigger."
            )
        low, high = box_of(knowledge, x.shape[1:])
        share = self.asked_amplitude if key is None else self.amplitude
        return jnp.clip(x + share * (high - low) * wave(x.shape[2], self.frequency)[:, None], low, high)


def wave(width: int, frequency: float) -> Float[jax.Array, " W"]:
    """`sin(2 pi j f / W)` for the columns j = 1 .. W."""
    return jnp.sin(2 * jnp.pi * jnp.arange(1, width + 1) * frequency / width)
