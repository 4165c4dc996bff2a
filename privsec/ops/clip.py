"""The sum of clipped per-example gradients, by book-keeping: one backward pass, no per-example gradient in memory."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from privsec.core.recipe import Batch, Layer, Loss, Model, Params, Tap

MICROBATCH = 16
"""Records whose gradients are held at once where a model does not expose its layers."""


def clipped_sum(
    model: Model, loss: Loss, params: Params, batch: Batch, clip_norm: Float[jax.Array, ""] | float
) -> tuple[Params, Float[jax.Array, " B"]]:
    """sum_i w_i g_i min(1, C / |g_i|), with g_i the gradient of record i's loss.

    A zero delta is added to each layer's pre-activation; the gradient by it is the backpropagated signal d_i of that
    layer, and with the layer's input a_i it gives both the norm of g_i and, after scaling d_i, the clipped sum.

    Args:
        model: with `tapped` and `layers` this takes one backward pass; without, microbatches of per-example gradients.
            Record i's logits must hang on record i alone.
        loss: (logits [B, C], soft targets [B, C]) -> [B], each from its own record.
        params: where the gradients are taken.
        batch: x [B, ...], soft targets y [B, C], weight w [B] in [0, 1] (0 drops a record).
        clip_norm: C > 0; infinity does not clip.

    Returns:
        The clipped sum, shaped like `params`, and the unclipped norms |g_i|, those of dropped records included.

    Raises:
        ValueError: the tapped layers do not hold every parameter exactly once; clipping would miss some.

    References: Abadi et al. 2016, arXiv 1607.00133 (clipping); Bu et al. 2023, arXiv 2210.00038 (book-keeping).
    """
    if model.tapped is None:
        return _clipped_sum_by_examples(model, loss, params, batch, clip_norm)
    _, shapes = jax.eval_shape(model.tapped, params, batch.x, None)
    deltas = {name: jnp.zeros(tap.outputs.shape, tap.outputs.dtype) for name, tap in shapes.items()}

    def total(deltas: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, Tap]]:
        logits, taps = model.tapped(params, batch.x, deltas)  # type: ignore[misc]
        return jnp.sum(loss(logits, batch.y)), taps

    signals, taps = jax.grad(total, has_aux=True)(deltas)
    pairs = {layer: (_positions(taps[layer.name].inputs), _positions(signals[layer.name])) for layer in model.layers}
    squares = sum(_SQUARED_NORM[layer.kind](a, d, layer.absent) for layer, (a, d) in pairs.items())
    norms = jnp.sqrt(squares)
    scale = batch.weight * clip_factor(norms, clip_norm)
    gradient: dict[str | int, Any] = {}
    for layer, (a, d) in pairs.items():
        _insert(gradient, layer, _WEIGHTED_SUM[layer.kind](a, d * scale[:, None, None]))
    overlap = len({layer.path for layer in model.layers}) < len(model.layers)
    if overlap or jax.tree.structure(gradient) != jax.tree.structure(params):
        raise ValueError(
            "the model's tapped layers do not cover its parameters exactly once, and clipping would miss some. Build "
            "the network from privsec.nets.layers, or give a Model without `tapped`."
        )
    return jax.tree.map(lambda summed, leaf: summed.reshape(leaf.shape), gradient, params), norms


def padded(batch: Batch, multiple: int) -> Batch:
    """The batch filled up to a multiple of `multiple` with its last record at weight zero.

    A real record, because a model may have no finite gradient at an input of zeros, and zero times NaN is NaN.
    """
    missing = -batch.weight.shape[0] % multiple

    def fill(leaf: jax.Array) -> jax.Array:
        return jnp.pad(leaf, ((0, missing), *((0, 0),) * (leaf.ndim - 1)), mode="edge")

    return Batch(fill(batch.x), fill(batch.y), jnp.pad(batch.weight, (0, missing)))


def clip_factor(
    norms: Float[jax.Array, " *shape"], clip_norm: Float[jax.Array, ""] | float
) -> Float[jax.Array, " *shape"]:
    """min(1, C / |g|), 1 at a zero gradient."""
    return jnp.minimum(1.0, clip_norm / jnp.maximum(norms, 1e-12))


def _positions(value: Float[jax.Array, " B *positions F"]) -> Float[jax.Array, "B P F"]:
    """All positions (of an image, say) on one axis."""
    return value.reshape(value.shape[0], -1, value.shape[-1])


def _dense_squared_norm(
    a: Float[jax.Array, "B P I"], d: Float[jax.Array, "B P O"], absent: tuple[str, ...]
) -> Float[jax.Array, " B"]:
    """|a_i^T d_i|^2 + |sum_p d_ip|^2, by whichever product is smaller."""
    positions, inputs, outputs = a.shape[1], a.shape[2], d.shape[2]
    bias = jnp.sum(jnp.square(jnp.sum(d, axis=1)), axis=-1) if "bias" not in absent else 0.0
    if positions == 1:
        return jnp.sum(jnp.square(a), axis=(1, 2)) * jnp.sum(jnp.square(d), axis=(1, 2)) + bias
    if positions * (inputs + outputs) < inputs * outputs:
        grams = jnp.einsum("bpi,bqi->bpq", a, a) * jnp.einsum("bpo,bqo->bpq", d, d)
        return jnp.maximum(jnp.sum(grams, axis=(1, 2)), 0.0) + bias
    return jnp.sum(jnp.square(jnp.einsum("bpi,bpo->bio", a, d)), axis=(1, 2)) + bias


def _scale_squared_norm(
    a: Float[jax.Array, "B P F"], d: Float[jax.Array, "B P F"], absent: tuple[str, ...]
) -> Float[jax.Array, " B"]:
    each = {"scale": a * d, "bias": d}
    return sum(  # type: ignore[return-value]
        jnp.sum(jnp.square(jnp.sum(part, axis=1)), axis=-1) for name, part in each.items() if name not in absent
    )


def _dense_sum(a: Float[jax.Array, "B P I"], d: Float[jax.Array, "B P O"]) -> dict[str, jax.Array]:
    rows = math.prod(a.shape[:2])
    flat = d.reshape(rows, -1)
    return {"kernel": a.reshape(rows, -1).T @ flat, "bias": jnp.sum(flat, axis=0)}


def _scale_sum(a: Float[jax.Array, "B P F"], d: Float[jax.Array, "B P F"]) -> dict[str, jax.Array]:
    return {"scale": jnp.sum(a * d, axis=(0, 1)), "bias": jnp.sum(d, axis=(0, 1))}


_SQUARED_NORM = {"dense": _dense_squared_norm, "scale": _scale_squared_norm}
_WEIGHTED_SUM = {"dense": _dense_sum, "scale": _scale_sum}


def _insert(tree: dict[str | int, Any], layer: Layer, values: dict[str, jax.Array]) -> None:
    for step in layer.path:
        tree = tree.setdefault(step, {})
    tree.update({name: value for name, value in values.items() if name not in layer.absent})


def _clipped_sum_by_examples(
    model: Model, loss: Loss, params: Params, batch: Batch, clip_norm: Float[jax.Array, ""] | float
) -> tuple[Params, Float[jax.Array, " B"]]:
    """The same sum for any differentiable model, holding `MICROBATCH` per-example gradients at a time."""

    def one(x: jax.Array, y: jax.Array) -> Params:
        return jax.grad(lambda p: loss(model.apply(p, x[None]), y[None])[0])(params)

    groups = jax.tree.map(lambda leaf: leaf.reshape(-1, MICROBATCH, *leaf.shape[1:]), padded(batch, MICROBATCH))

    def add(total: Params, group: Batch) -> tuple[Params, jax.Array]:
        gradients = jax.vmap(one)(group.x, group.y)
        norms = jnp.sqrt(sum(jnp.sum(jnp.square(g), axis=tuple(range(1, g.ndim))) for g in jax.tree.leaves(gradients)))
        scale = group.weight * clip_factor(norms, clip_norm)
        return jax.tree.map(lambda t, g: t + jnp.tensordot(scale, g, axes=1), total, gradients), norms

    total, norms = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), groups)
    return total, norms.reshape(-1)[: batch.weight.shape[0]]
