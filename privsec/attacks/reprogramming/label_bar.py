"""Black-box adversarial reprogramming from labels alone.

References: Tsai, Chen & Ho 2020, arXiv 2007.08714; Wierstra et al. 2014, "Natural evolution strategies", JMLR 15.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.reprogramming.bar import BAR
from privsec.attacks.reprogramming.base import Batch
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops import reprogram


class LabelBAR(BAR):
    """The same as BAR from labels alone: F is the share of wrong answers of a batch.

    That is constant nearly everywhere, so only a long offset sees a difference, and a step's estimate is as coarse as
    one record in a batch: it takes larger batches and many more queries, and ends at a lower accuracy. The map of
    labels still helps, as it comes from counts. This is our extension; the paper's attacker sees scores.

    References: Tsai, Chen & Ho 2020, arXiv 2007.08714.
    """

    name: Literal["label_bar"] = "label_bar"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "after Tsai, Chen & Ho 2020, arXiv 2007.08714"

    label_map: Literal["fixed", "frequency", "iterative"] = "iterative"
    """Which source classes stand for a class of the task: the first ones in order; those most seen on its records
    before there is a program; or those most seen at the start of every epoch."""
    batch_size: int = Field(default=100, ge=1)
    """Records of a step."""
    smoothing: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    """mu, length of a query's offset in units of W; it must be long enough to change labels."""

    def scores(self, target: Target, x: jax.Array) -> Float[jax.Array, "B C"]:
        return jax.nn.one_hot(target.labels(x), target.model.num_classes)

    def losses(self, target: Target, x: jax.Array, batch: Batch) -> Float[jax.Array, " Q"]:
        called = reprogram.decided(self.scores(target, x), batch.mapping, target.model.rejects)
        return (called != batch.y).astype(jnp.float32)
