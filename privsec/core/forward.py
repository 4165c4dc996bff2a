"""What a model answers: as a function to be compiled with whatever stands round it, or in programs of its own."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from privsec.core.keys import query_keys
from privsec.core.recipe import Model, Params


def logits(model: Model, params: Params, secret: jax.Array, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    """Logits [B, C] of one model; where it answers at random, drawn by `keys` [B] or else by the query and `secret`."""
    if model.draw is None:
        return model.apply(params, x)
    return model.draw(params, x, query_keys(secret, x) if keys is None else keys)


def log_scores(model: Model, params: Params, secret: jax.Array, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    """Log-probabilities [B, C] of one model, before any defense of its endpoint."""
    return jax.nn.log_softmax(logits(model, params, secret, x, keys))


_program = functools.partial(jax.jit, static_argnums=0)(log_scores)


def in_programs(model: Model, params: Params, secret: jax.Array, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    """`log_scores` of a model in JAX that is asked in Python, about another number of records each time.

    Compiled for powers of two of them, of which only the answers asked for come back.
    """
    if isinstance(x, Tracer) or not len(x):
        return log_scores(model, params, secret, x, keys)
    rows = np.minimum(np.arange(1 << (len(x) - 1).bit_length()), len(x) - 1)
    with jax.disable_jit(False):
        answers = _program(model, params, secret, np.asarray(x)[rows], None if keys is None else keys[rows])
    return jnp.asarray(np.asarray(answers)[: len(x)])
