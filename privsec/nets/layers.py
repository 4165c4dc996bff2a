"""Layers that show what they see: each hands its input and pre-activation to a tap.

Every parametrized layer is one of two linear maps, so one clipping formula serves all: `dense` (z = a @ kernel + bias;
a convolution is one over its patches) and `scale` (z = a * scale + bias; the affine part of a normalization).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from privsec.core.recipe import Tap
from privsec.nets.convolutions import (
    THIN,
    convolution,
    forward_convolution,
    forward_pooled,
    max_pool,
    patches,
    trained_convolution,
)


@runtime_checkable
class Labeled(Protocol):
    """Whatever has a path in the network."""

    label: str


class Taps:
    """Collects every layer's Tap in a forward pass, and adds a given delta to its pre-activation.

    Attributes:
        watching: whether anybody looks; where not, layers may compute in another way what they would show.
    """

    def __init__(self, deltas: Mapping[str, jax.Array] | None = None, *, watching: bool = True) -> None:
        self.deltas = deltas
        self.watching = watching
        self.seen: dict[str, Tap] = {}

    def __call__(self, layer: Labeled, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
        """The layer's output as the rest of the network sees it."""
        if not self.watching:
            return outputs
        if layer.label in self.seen:
            raise ValueError(
                f"layer {layer.label!r} is used twice in one forward pass, so its gradient is not one product and "
                "cannot be clipped. Give each use a layer of its own."
            )
        self.seen[layer.label] = Tap(inputs, outputs)
        return outputs if self.deltas is None else outputs + self.deltas[layer.label]


class Tapped(nnx.Module):
    """A layer with parameters; `label` is its path in the network, set when the network is adapted."""

    kind = ""
    label = ""


class Dense(Tapped):
    """z = a @ kernel + bias over the last axis."""

    kind = "dense"

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, a: Float[jax.Array, " B *positions I"], tap: Taps) -> Float[jax.Array, " B *positions O"]:
        """The pre-activation."""
        return tap(self, a, a @ self.kernel[...] + self.bias[...])


class Conv(Dense):
    """A convolution (SAME padding) as a dense layer over patches.

    Explicit patches keep the fast matrix product inside `lax.scan`, where XLA's CPU convolution gradient is an order of
    magnitude slower (jax issue 12868), and they are what per-example clipping needs; only the gradient by the input is
    a convolution. Where nobody looks, accelerators convolve, and so do CPUs as long as nothing is differentiated.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 3, stride: int = 1, rngs: nnx.Rngs) -> None:
        super().__init__(width * width * inputs, outputs, rngs=rngs)
        self.width, self.stride = width, stride

    def __call__(self, a: Float[jax.Array, "B H W I"], tap: Taps) -> Float[jax.Array, "B _ _ O"]:
        on_cpu = jax.default_backend() == "cpu"
        if tap.watching and on_cpu:
            z = trained_convolution(a, self.kernel[...], self.width, self.stride) + self.bias[...]
            return tap(self, patches(a, self.width, self.stride), z)
        if tap.watching or (on_cpu and self._thin):
            return super().__call__(patches(a, self.width, self.stride), tap)
        convolve = forward_convolution if on_cpu else convolution
        return tap(self, a, convolve(a, self.kernel[...], self.width, self.stride) + self.bias[...])

    def pooled(self, a: Float[jax.Array, "B H W I"], tap: Taps) -> Float[jax.Array, "B _ _ O"]:
        """The maximum of every 2 x 2 pre-activations, as `max_pool` takes it."""
        if tap.watching or jax.default_backend() != "cpu" or not self._thin or (self.width, self.stride) != (3, 1):
            return max_pool(self(a, tap))
        return forward_pooled(a, self.kernel[...]) + self.bias[...]

    @property
    def _thin(self) -> bool:
        """Whether a window holds so few numbers that a CPU is slow to convolve them."""
        return self.kernel.shape[0] <= THIN


class GroupNorm(Tapped):
    """Normalization over groups of channels of one record, then z = a * scale + bias; no batch statistics.

    References: Wu & He 2018, arXiv 1803.08494.
    """

    kind = "scale"

    def __init__(self, channels: int, *, groups: int, rngs: nnx.Rngs) -> None:
        del rngs
        self.groups = next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0)
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Float[jax.Array, " B *positions C"], tap: Taps) -> Float[jax.Array, " B *positions C"]:
        """The normalized and scaled input."""
        grouped = x.reshape(*x.shape[:-1], self.groups, -1)
        over = (*range(1, x.ndim - 1), grouped.ndim - 1)
        mean = jnp.mean(grouped, axis=over, keepdims=True)
        variance = jnp.mean(jnp.square(grouped - mean), axis=over, keepdims=True)
        a = ((grouped - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape)
        return tap(self, a, a * self.scale[...] + self.bias[...])
