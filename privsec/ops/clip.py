"""The sum of clipped per-example gradients, by book-keeping: one backward pass, no per-example gradient in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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
    parts: list[tuple[Layer, dict[str, _Gradients]]] = []
    for layer in model.layers:
        found = _OF_LAYER[layer.kind](_positions(taps[layer.name].inputs), _positions(signals[layer.name]))
        parts.append((layer, {name: each for name, each in found.items() if name not in layer.absent}))
    norms = jnp.sqrt(sum(each.squares for _, found in parts for each in found.values()))
    scale = batch.weight * clip_factor(norms, clip_norm)
    gradient: dict[str | int, Any] = {}
    for layer, found in parts:
        _insert(gradient, layer, {name: each.weighted(scale) for name, each in found.items()})
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


class _Gradients(NamedTuple):
    """Of one parameter by B records: |g_i|^2, and sum_i w_i g_i by weights w [B]."""

    squares: Float[jax.Array, " B"]
    weighted: Callable[[Float[jax.Array, " B"]], jax.Array]


def _written_out(gradients: Float[jax.Array, " B *shape"]) -> _Gradients:
    squares = jnp.sum(jnp.square(gradients), axis=range(1, gradients.ndim))
    return _Gradients(squares, lambda weights: jnp.tensordot(weights, gradients, axes=1))


def _of_product(a: Float[jax.Array, "B P I"], d: Float[jax.Array, "B P O"]) -> _Gradients:
    """a_i^T d_i; not written out where its norm is less work by the products between positions (Bu et al.)."""
    positions, inputs, outputs = a.shape[1], a.shape[2], d.shape[2]
    if positions == 1:
        squares = jnp.sum(jnp.square(a), axis=(1, 2)) * jnp.sum(jnp.square(d), axis=(1, 2))
    elif positions * (inputs + outputs) < inputs * outputs:
        grams = jnp.einsum("bpi,bqi->bpq", a, a) * jnp.einsum("bpo,bqo->bpq", d, d)
        squares = jnp.maximum(jnp.sum(grams, axis=(1, 2)), 0.0)
    else:
        return _written_out(jnp.einsum("bpi,bpo->bio", a, d))

    def weighted(weights: jax.Array) -> jax.Array:
        return a.reshape(-1, inputs).T @ (d * weights[:, None, None]).reshape(-1, outputs)

    return _Gradients(squares, weighted)


def _of_dense(a: Float[jax.Array, "B P I"], d: Float[jax.Array, "B P O"]) -> dict[str, _Gradients]:
    return {"kernel": _of_product(a, d), "bias": _written_out(jnp.sum(d, axis=1))}


def _of_scale(a: Float[jax.Array, "B P F"], d: Float[jax.Array, "B P F"]) -> dict[str, _Gradients]:
    return {"scale": _written_out(jnp.sum(a * d, axis=1)), "bias": _written_out(jnp.sum(d, axis=1))}


_OF_LAYER = {"dense": _of_dense, "scale": _of_scale}


def _insert(tree: dict[str | int, Any], layer: Layer, values: dict[str, jax.Array]) -> None:
    for step in layer.path:
        tree = tree.setdefault(step, {})
    tree.update(values)


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
