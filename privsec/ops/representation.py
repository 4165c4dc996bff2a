"""What a network makes of a record before its last layer decides."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from privsec.core.data import Array
from privsec.core.recipe import Model, Params
from privsec.core.target import Target, compiled

Look = Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]]
"""(params, x [B, ...]) -> (logits [B, C], what is looked at [B, F])."""
CHUNK = 256
"""Records looked at in one call."""


def features(model: Model) -> Look:
    """What the last fully connected layer reads; the logits of a model that does not show its layers."""

    def seen(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        if model.tapped is None:
            logits = model.apply(params, x)
            return logits, logits
        logits, taps = model.tapped(params, x, None)
        last = [tap.inputs for tap in taps.values() if tap.outputs.shape == logits.shape]
        return logits, last[-1].reshape(len(x), -1) if last else logits

    return seen


def represented(target: Target, x: Array) -> Float[np.ndarray, "N F"]:
    """What the last fully connected layer of one model reads of N records; its logits where it shows no layers."""
    return _in_chunks(_represented, target, x)


def scored(target: Target, x: Array) -> Float[np.ndarray, "N C"]:
    """The probabilities that one model gives each class, for N records."""
    return _in_chunks(_scored, target, x)


def _in_chunks(ask: Callable[[Target, jax.Array], jax.Array], target: Target, x: Array) -> np.ndarray:
    x = np.asarray(x, np.float32)
    parts = []
    for start in range(0, len(x), CHUNK):
        rows = np.minimum(np.arange(start, start + CHUNK), len(x) - 1)  # one shape, also for the last
        parts.append(np.asarray(ask(target, jnp.asarray(x[rows]))))
    return np.concatenate(parts)[: len(x)]


@compiled
def _represented(target: Target, x: jax.Array) -> jax.Array:
    return features(target.model)(target._params, x)[1]


@compiled
def _scored(target: Target, x: jax.Array) -> jax.Array:
    return jax.nn.softmax(target.model.apply(target._params, x))
