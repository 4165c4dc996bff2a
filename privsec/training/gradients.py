"""How a batch becomes one gradient, and what it is a gradient of."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from privsec.core.recipe import Batch, Loss, Model, Params, Rates
from privsec.ops import ascend, clip


def cross_entropy(logits: Float[jax.Array, "B C"], y: Float[jax.Array, "B C"]) -> Float[jax.Array, " B"]:
    """Cross-entropy between logits and soft targets, in nats."""
    return optax.losses.softmax_cross_entropy(logits, y)


def mean_gradient(model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
    """The gradient of the mean loss over the batch's real records."""
    del rates, key

    def mean_loss(params: Params) -> jax.Array:
        losses = loss(model.apply(params, batch.x), batch.y)
        return jnp.sum(losses * batch.weight) / jnp.maximum(jnp.sum(batch.weight), 1.0)

    return jax.grad(mean_loss)(params)


@dataclass(frozen=True)
class PrivateGradient:
    """DP-SGD's gradient: (sum of clipped per-example gradients + N(0, (sigma C)^2)) / expected batch size.

    Microbatches are summed in a loop that ends after the last record of positive weight, wherever that stands, so
    padding for the Poisson tail costs nothing. Rates: `clip_norm` C, `noise_multiplier` sigma.

    Attributes:
        expected_batch: sampling rate times records, not the size drawn: that one is private too.
        microbatch: records of one backward pass; bounds the memory, changes no more than rounding.

    References: Abadi et al. 2016, arXiv 1607.00133.
    """

    expected_batch: float
    microbatch: int = 64

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The private gradient, shaped like `params`."""
        clip_norm, sigma = rates["clip_norm"], rates["noise_multiplier"]
        size = min(self.microbatch, batch.weight.shape[0])
        batch = clip.padded(batch, size)

        def add(i: jax.Array, total: Params) -> Params:
            part = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, i * size, size), batch)
            return jax.tree.map(jnp.add, total, clip.clipped_sum(model, loss, params, part, clip_norm)[0])

        last = jnp.max(jnp.where(batch.weight > 0, jnp.arange(batch.weight.shape[0]) + 1, 0))
        total = jax.lax.fori_loop(0, (last + size - 1) // size, add, jax.tree.map(jnp.zeros_like, params))
        noisy = _add_noise(total, sigma * clip_norm, key)
        return jax.tree.map(lambda leaf: leaf / self.expected_batch, noisy)


@dataclass(frozen=True)
class AdversarialGradient:
    """The gradient of the mean loss at the worst inputs that projected ascent finds near the batch's own.

    References: Madry et al. 2018, arXiv 1706.06083.
    """

    radius: float
    steps: int = 5
    norm: ascend.Norm = "linf"

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The adversarial gradient, shaped like `params`."""
        attack_key, key = jax.random.split(key)
        worst = ascend.pgd(
            lambda x: loss(model.apply(params, x), batch.y),
            batch.x,
            attack_key,
            self.radius,
            self.steps,
            norm=self.norm,
        )
        return mean_gradient(model, loss, params, batch._replace(x=worst), rates, key)


def _add_noise(tree: Params, scale: jax.Array | float, key: jax.Array) -> Params:
    """`tree` plus independent N(0, scale^2) on every number, from one draw."""
    leaves, structure = jax.tree.flatten(tree)
    noise = jax.random.normal(key, (sum(leaf.size for leaf in leaves),)) * scale
    start, noisy = 0, []
    for leaf in leaves:
        noisy.append(leaf + noise[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(structure, noisy)
