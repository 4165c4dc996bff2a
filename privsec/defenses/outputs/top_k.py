"""Only the largest scores are given."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.defense import OutputDefense


class TopK(OutputDefense):
    """Answers the k largest scores as they are and withholds the others.

    The withheld mass is spread evenly over the withheld classes: that is exactly what somebody who sees only the k
    scores knows about it. The predicted label never changes, and the order of the scores is kept up to ties.

    References: Shokri et al. 2017, arXiv 1610.05820, section VIII.
    """

    name: Literal["top_k"] = "top_k"
    paper = "Shokri et al. 2017, arXiv 1610.05820"
    k: int | None = Field(default=3, ge=1)
    """How many scores are given; null (or at least the number of classes) gives them all."""

    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        del x, secret
        classes = log_scores.shape[-1]
        if self.k is None or self.k >= classes:
            return log_scores
        largest, where = jax.lax.top_k(log_scores, self.k)
        given = jnp.any(where[..., None] == jnp.arange(classes), axis=-2)
        rest = jax.nn.logsumexp(jnp.where(given, -jnp.inf, log_scores), axis=-1, keepdims=True)
        # Rounding could lift the mean of the rest above the least given score, and so change a tied label.
        share = jnp.minimum(rest - jnp.log(classes - self.k), largest[..., -1:])
        return jnp.where(given, log_scores, share)
