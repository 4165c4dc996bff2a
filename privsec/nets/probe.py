"""Whether a Model written elsewhere keeps its promises, on random numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from privsec.core.recipe import Batch, Model, Params
from privsec.ops.clip import clipped_sum

PROBES = 3
"""Records of the probe. More than two, so that an axis of two is not taken for the records'."""
AGREES = 1e-3
"""How far the probe's float32 gradients may lie apart, against the largest number of a parameter."""


class Found(NamedTuple):
    """What the probe says: whether records are apart, and whether taps give the gradients."""

    apart: bool
    agrees: bool


def probed(model: Model, layout: Params) -> Found:
    """Compares batch with single records, and taps with differentiation, at random parameters.

    Not at those of the model's own initialization: zeros among them would hide what lies below.

    Args:
        model: with taps or without.
        layout: the shapes of its parameters.
    """
    keys = iter(list(jax.random.split(jax.random.key(0), len(jax.tree.leaves(layout)) + 2)))

    def drawn(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        noise = jax.random.normal(next(keys), leaf.shape, leaf.dtype)
        fan_in = max(leaf.size // leaf.shape[-1], 1) if leaf.ndim > 1 else 1
        return noise / jnp.sqrt(fan_in).astype(leaf.dtype) if leaf.ndim > 1 else 1 + noise / 10

    def loss(logits: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(logits * y, axis=-1)  # linear: it never saturates

    @jax.jit
    def compared() -> tuple[jax.Array, jax.Array]:
        params = jax.tree.map(drawn, layout)
        x = jax.random.normal(next(keys), (PROBES, *model.shape))
        batch = Batch(x, jax.random.normal(next(keys), (PROBES, model.num_classes)), jnp.ones(PROBES))
        whole = model.apply(params, x)
        alone = jax.lax.map(lambda record: model.apply(params, record[None])[0], x)
        apart = _close(whole, alone, jnp.max(jnp.abs(whole)))
        if model.tapped is None:
            return apart, apart
        found, norms = clipped_sum(model, loss, params, batch, jnp.inf)

        def one(total: Params, record: tuple[jax.Array, jax.Array]) -> tuple[Params, jax.Array]:
            x, y = record
            gradient = jax.grad(lambda params: loss(model.apply(params, x[None]), y[None])[0])(params)
            square = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient))
            return jax.tree.map(jnp.add, total, gradient), jnp.sqrt(square)

        expected, expected_norms = jax.lax.scan(one, jax.tree.map(jnp.zeros_like, params), (x, batch.y))
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(expected)]))
        same = jax.tree.map(lambda a, b: _close(a, b, jnp.maximum(jnp.max(jnp.abs(b)), largest / 100)), found, expected)
        return apart, jnp.all(jnp.stack([*jax.tree.leaves(same), _close(norms, expected_norms, expected_norms)]))

    try:
        apart, agrees = compared()
    except (ValueError, TypeError, jax.errors.JAXTypeError):  # a layer's first axis is not the records'
        return Found(probed(replace(model, tapped=None, layers=()), layout).apart, False)
    return Found(bool(apart), bool(agrees))


def _close(a: jax.Array, b: jax.Array, scale: jax.Array) -> jax.Array:
    return jnp.all(jnp.abs(a - b) <= AGREES * scale)
