"""A pattern laid thinly over the whole record.

References: Chen, Liu, Li, Lu & Song 2017, "Targeted backdoor attacks on deep learning systems using data poisoning",
arXiv 1712.05526.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.poisoning.base import Backdoor, box_of
from privsec.core.attack import Knowledge
from privsec.ops.ascend import Box


class Blended(Backdoor):
    """A random pattern, mixed faintly into a record of any kind, means the goal's class.

    `x' = (1 - a) x + a t`, y' = goal, with t uniform in the box and the same for all.

    References: Chen et al. 2017, arXiv 1712.05526.
    """

    name: Literal["blended"] = "blended"
    paper: ClassVar[str] = "Chen, Liu, Li, Lu & Song 2017, arXiv 1712.05526"

    ratio: float = Field(default=0.2, gt=0, le=1)
    """a: how much of a record with the trigger is the pattern."""
    pattern: int = Field(default=0, ge=0)
    """Which pattern: the seed that it is drawn by."""

    def triggered(self, x: jax.Array, knowledge: Knowledge, key: jax.Array | None) -> jax.Array:
        """The records, mixed with the pattern."""
        del key
        return mixed_in(x, pattern_of(self.pattern, box_of(knowledge, x.shape[1:])), self.ratio)


def pattern_of(seed: int, box: Box) -> Float[jax.Array, " *features"]:
    """One record uniform in the box."""
    low, high = box
    share = np.random.default_rng(seed).uniform(size=low.shape)
    return low + (high - low) * jnp.asarray(share, jnp.float32)


def mixed_in(
    x: Float[jax.Array, " B *features"], pattern: Float[jax.Array, " *features"], ratio: float | jax.Array
) -> Float[jax.Array, " B *features"]:
    """`(1 - ratio) x + ratio pattern`.

    >>> mixed_in(jnp.zeros((1, 2)), jnp.array([1.0, 2.0]), 0.25).tolist()
    [[0.25, 0.5]]
    """
    return (1 - ratio) * x + ratio * pattern
