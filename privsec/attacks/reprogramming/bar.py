"""Black-box adversarial reprogramming: the gradient is estimated from scores.

Reference: Tsai, Chen & Ho 2020, "Transfer learning without knowing: reprogramming black-box machine learning models
with scarce data and limited resources", arXiv 2007.08714.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float
from pydantic import Field

from privsec.attacks.reprogramming.base import Batch, Reprogramming, misfit
from privsec.core.access import Access
from privsec.core.target import Target


class BAR(Reprogramming):
    """The same as the adversarial program from scores alone: the gradient is estimated by random directions.

    `g = d / (q mu) sum_j [F(W + mu U_j) - F(W)] U_j`, U_j uniform on the unit sphere of the d weights, F the mean loss
    of a batch. A step asks (q + 1) queries about each record of its batch. Beside the paper: cross-entropy in place of
    the focal loss, and Adam.

    References: Tsai, Chen & Ho 2020, arXiv 2007.08714.
    """

    name: Literal["bar"] = "bar"
    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Tsai, Chen & Ho 2020, arXiv 2007.08714"

    label_map: Literal["fixed", "frequency", "iterative"] = "frequency"
    """Which source classes stand for a class of the task: the first ones in order; those most seen on its records
    before there is a program; or those most seen at the start of every epoch."""
    directions: int = Field(default=20, ge=1)
    """q, random directions of a step."""
    smoothing: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    """mu, length of a query's offset in units of W; larger sees over the steps of rounded scores."""

    @property
    def queries_per_record(self) -> int:
        return self.directions + 1

    def slope(self, target: Target, batch: Batch, weights: jax.Array, key: jax.Array) -> jax.Array:
        towards = jax.random.normal(key, (self.directions, *weights.shape))
        length = jnp.sqrt(jnp.sum(jnp.square(towards), axis=tuple(range(1, towards.ndim)), keepdims=True))
        towards = towards / length
        tried = jnp.concatenate([weights[None], weights + self.smoothing * towards])
        asked = jax.vmap(batch.inputs)(tried)
        repeated = batch._replace(y=jnp.tile(batch.y, len(tried)))
        losses = self.losses(target, asked.reshape(-1, *weights.shape), repeated)
        here, *there = jnp.split(jnp.mean(losses.reshape(len(tried), -1), axis=1), [1])
        gain = weights.size / self.smoothing / self.directions * (there[0] - here)
        return jnp.tensordot(gain, towards, axes=1)

    def losses(self, target: Target, x: jax.Array, batch: Batch) -> Float[jax.Array, " Q"]:
        """What each query's answer costs."""
        return misfit(target.log_scores(x), batch.mapping, batch.y, target.model.rejects)
