"""Scores given to a few decimals."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.defense import OutputDefense


class Rounding(OutputDefense):
    """Rounds every score to so many decimals.

    What is answered here is the best reading of the rounded scores, which an attacker makes anyway: scores rounded to
    zero evenly share what the others leave of one, together at least and each at most half a unit of the last decimal;
    then the answer is made to sum to one. It is a function of the rounded scores, so nothing else gets out.

    The order of the scores is kept, up to ties; where the two largest round alike, the predicted label is the first of
    them, so a coarse rounding may change it.

    References: Fredrikson et al. 2015, doi 10.1145/2810103.2813677; Shokri et al. 2017, arXiv 1610.05820,
    section VIII.
    """

    name: Literal["rounding"] = "rounding"
    paper = "Fredrikson et al. 2015, doi 10.1145/2810103.2813677"
    decimals: int | None = Field(default=2, ge=0, le=6)
    """Digits kept after the decimal point (float32 has no more than six to keep); null rounds nothing."""

    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        del x, secret
        if self.decimals is None:
            return log_scores
        half_unit = 0.5 / 10**self.decimals
        rounded = jnp.round(jnp.exp(log_scores) * 10**self.decimals) / 10**self.decimals
        zero = rounded == 0
        zeros = jnp.maximum(jnp.sum(zero, axis=-1, keepdims=True), 1)
        left = 1.0 - jnp.sum(rounded, axis=-1, keepdims=True)
        read = jnp.where(zero, jnp.clip(left, half_unit, half_unit * zeros) / zeros, rounded)
        return jnp.log(read) - jnp.log(jnp.sum(read, axis=-1, keepdims=True))
