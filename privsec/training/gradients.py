"""How a batch becomes one gradient, and what it is a gradient of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from privsec.core.recipe import Batch, Loss, Model, Params, Rates
from privsec.ops import ascend, clip
from privsec.ops.noise import gaussian

CACHED = 16
"""Records whose activations in a convolutional network stay in a core's cache."""
IMAGES = 64
"""Records that a convolutional network takes at a time for a private gradient on an accelerator."""
FEW = 16
"""Records at a time of a Poisson batch beyond those that are expected."""

Total = Callable[[Params, Batch, jax.Array], jax.Array]
"""(params, batch, key) -> number."""


def cross_entropy(logits: Float[jax.Array, "B C"], y: Float[jax.Array, "B C"]) -> Float[jax.Array, " B"]:
    """Cross-entropy between logits and soft targets, in nats."""
    return optax.losses.softmax_cross_entropy(logits, y)


def mean_gradient(model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
    """The gradient of the mean loss over the batch's real records."""
    del rates

    def total(params: Params, part: Batch, key: jax.Array) -> jax.Array:
        del key
        return jnp.sum(loss(_logits(model, params, part.x), part.y) * part.weight)

    return gradient_of_mean(total, model, params, batch, key)


def _logits(model: Model, params: Params, x: jax.Array) -> jax.Array:
    """On a CPU as the taps see it: there the gradient of a convolutional network unwatched takes 1.7 times as long."""
    if model.tapped is None or jax.default_backend() != "cpu":
        return model.apply(params, x)
    return model.tapped(params, x, None)[0]


def gradient_of_mean(total: Total, model: Model, params: Params, batch: Batch, key: jax.Array) -> Params:
    """The gradient by `params` of `total(params, batch, key)` over the number of real records.

    On a CPU a convolutional network takes `CACHED` records at a time, whose activations stay in the cache; each part
    has a key of its own. What is added up is the same, to rounding.

    Args:
        total: sum over records of a number that hangs on that record alone, times its weight.
        model: tells by its taps whether it is convolutional.
        params: where the gradient is taken.
        batch: the records.
        key: for what `total` draws.
    """
    if jax.default_backend() == "cpu" and batch.weight.shape[0] > CACHED and _convolves(model, params, batch):
        filled = clip.padded(batch, CACHED)
        parts = jax.tree.map(lambda leaf: leaf.reshape(-1, CACHED, *leaf.shape[1:]), filled)
        keys = jax.random.split(key, parts.weight.shape[0])

        def add(summed: Params, part: tuple[Batch, jax.Array]) -> tuple[Params, None]:
            return jax.tree.map(jnp.add, summed, jax.grad(total)(params, *part)), None

        summed, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (parts, keys))
    else:
        summed = jax.grad(total)(params, batch, key)
    real = jnp.maximum(jnp.sum(batch.weight), 1.0)
    return jax.tree.map(lambda leaf: leaf / real, summed)


def _convolves(model: Model, params: Params, batch: Batch) -> bool:
    """Whether some layer's output is an image of channels."""
    if model.tapped is None:
        return False
    _, taps = jax.eval_shape(model.tapped, params, batch.x, None)
    return any(tap.outputs.ndim == 4 for tap in taps.values())


@dataclass(frozen=True)
class PrivateGradient:
    """DP-SGD's gradient: (sum of clipped per-example gradients + N(0, (sigma C)^2)) / expected batch size.

    As many records as are expected are taken at once. What a batch holds beyond them is summed a few at a time, in a
    loop that ends after the last record of positive weight, wherever that stands: padding for the Poisson tail costs
    nothing. Of a convolutional network all records are taken a few at a time.

    Rates: `clip_norm` C, `noise_multiplier` sigma.

    Attributes:
        expected_batch: sampling rate times records, not the size drawn: that one is private too.
        microbatch: records of one backward pass, at most; bounds the memory, changes no more than rounding.

    References: Abadi et al. 2016, arXiv 1607.00133.
    """

    expected_batch: float
    microbatch: int = 256

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The private gradient, shaped like `params`."""
        clip_norm, sigma = rates["clip_norm"], rates["noise_multiplier"]

        def add_up(total: Params, of: Batch, size: int, count: jax.Array | int) -> Params:
            def add(i: jax.Array, total: Params) -> Params:
                part = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, i * size, size), of)
                return jax.tree.map(jnp.add, total, clip.clipped_sum(model, loss, params, part, clip_norm)[0])

            return jax.lax.fori_loop(0, count, add, total)

        total, sure, few = jax.tree.map(jnp.zeros_like, params), 0, FEW
        if _convolves(model, params, batch):
            few = CACHED if jax.default_backend() == "cpu" else IMAGES
        else:
            sure = min(round(self.expected_batch), batch.weight.shape[0])
            count = max(1, math.ceil(sure / self.microbatch))
            sure -= sure % count
            total = add_up(total, batch, sure // count, count)
        few = min(few, self.microbatch, batch.weight.shape[0])
        rest = clip.padded(jax.tree.map(lambda leaf: leaf[sure:], batch), few)
        if rest.weight.size:
            last = jnp.max(jnp.where(rest.weight > 0, jnp.arange(rest.weight.size) + 1, 0))
            total = add_up(total, rest, few, (last + few - 1) // few)
        noisy = _add_noise(total, sigma * clip_norm, key)
        return jax.tree.map(lambda leaf: leaf / self.expected_batch, noisy)


@dataclass(frozen=True)
class AdversarialGradient:
    """The gradient of the mean loss at the worst inputs that projected ascent finds near the batch's own.

    Where the model hides its gradient, the ascent follows the adapted model's, as an attack would.

    Rates: `adversarial_radius` of the ball; `adversarial_step`, the step's size.

    Attributes:
        steps: of the ascent.
        norm: of the ball.
        box: smallest and largest value of a feature; where None, 0 and 1 for images and no bounds for tables.

    References: Madry et al. 2018, arXiv 1706.06083.
    """

    steps: int = 5
    norm: ascend.Norm = "linf"
    box: tuple[float, float] | None = None

    def __call__(self, model: Model, loss: Loss, params: Params, batch: Batch, rates: Rates, key: jax.Array) -> Params:
        """The adversarial gradient, shaped like `params`."""
        radius, size = rates["adversarial_radius"], rates["adversarial_step"]
        followed = model.adapted or model

        def total(at: Params, part: Batch, key: jax.Array) -> jax.Array:
            worst = ascend.pgd(
                lambda x: loss(followed.apply(params, x), part.y),  # `params`, not `at`: nothing is traced through it
                part.x,
                key,
                jnp.asarray(radius),
                self.steps,
                jnp.asarray(size),
                norm=self.norm,
                box=bounds(model, self.box),
            )
            return jnp.sum(loss(_logits(model, at, worst), part.y) * part.weight)

        return gradient_of_mean(total, model, params, batch, key)


def bounds(model: Model, box: tuple[float, float] | None) -> ascend.Box | None:
    """`box` as arrays; where it is None, 0 and 1 for a model of images and no bounds for one of tables."""
    box = (0.0, 1.0) if box is None and len(model.shape) == 3 else box
    return None if box is None else (jnp.asarray(box[0]), jnp.asarray(box[1]))


def _add_noise(tree: Params, scale: jax.Array | float, key: jax.Array) -> Params:
    """`tree` plus independent N(0, scale^2) on every number, from one draw."""
    leaves, structure = jax.tree.flatten(tree)
    noise = gaussian(key, sum(leaf.size for leaf in leaves), scale)
    start, noisy = 0, []
    for leaf in leaves:
        noisy.append(leaf + noise[start : start + leaf.size].reshape(leaf.shape))
        start += leaf.size
    return jax.tree.unflatten(structure, noisy)
