"""Noise on the scores, the same for the same query."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float32, Key
from pydantic import Field

from privsec.core.defense import OutputDefense
from privsec.core.keys import query_keys

FLOOR = 1e-6
"""What a score that the noise pushed to zero or below is answered as, before the answer is made to sum to one."""


class Noise(OutputDefense):
    """Adds independent noise to every score, clips to [0, 1] and makes the answer sum to one again.

    The noise is drawn from a key that hangs on the server's secret and on the bits of the query, so asking the same
    thing again brings the same noise and nothing can be averaged away. A query that differs in its last bit draws fresh
    noise: an attacker who averages over inputs too close together for the model to tell apart still cleans the answer,
    at the price of as many queries as noise averaging takes (the variance falls by their number). A served model has to
    round its inputs or limit its rate against that. The predicted label may change.

    MemGuard (the paper) chooses its noise to fool one attack model; plain noise is the honest baseline of that idea and
    holds against no attack in particular.

    References: Jia et al. 2019, arXiv 1909.10594.
    """

    name: Literal["noise"] = "noise"
    paper = "Jia et al. 2019, arXiv 1909.10594"
    draws = True
    mechanism: Literal["gaussian", "laplace"] = "gaussian"
    """Shape of the noise."""
    scale: float = Field(default=0.05, ge=0)
    """Standard deviation (gaussian) or mean absolute value (laplace) of the noise on a probability; 0 for none."""

    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        if self.scale == 0:
            return log_scores
        noise = self.scale * draw(self.mechanism, query_keys(secret, x), log_scores.shape[-1])
        noisy = jnp.clip(jnp.exp(log_scores) + noise, FLOOR, 1.0)
        return jnp.log(noisy) - jnp.log(jnp.sum(noisy, axis=-1, keepdims=True))


def draw(mechanism: str, keys: Key[jax.Array, " B"], num_classes: int) -> Float32[jax.Array, "B {num_classes}"]:
    """Unit noise, row b from `keys[b]` alone."""
    law = jax.random.normal if mechanism == "gaussian" else jax.random.laplace
    return jax.vmap(lambda key: law(key, (num_classes,)))(keys)
