"""Layers that show what they see: each hands its input and pre-activation to a tap.

Every parametrized layer is one of two linear maps, so one clipping formula serves all: `dense` (z = a @ kernel + bias;
a convolution is one over its patches) and `scale` (z = a * scale + bias; the affine part of a normalization).
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Float

from privsec.core.recipe import Tap


class Taps:
    """Collects every layer's Tap in a forward pass, and adds a given delta to its pre-activation.

    Attributes:
        watching: whether anybody looks; where not, layers may compute in another way what they would show.
    """

    def __init__(self, deltas: Mapping[str, jax.Array] | None = None, *, watching: bool = True) -> None:
        self.deltas = deltas
        self.watching = watching
        self.seen: dict[str, Tap] = {}

    def __call__(self, layer: Tapped, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
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
    magnitude slower (jax issue 12868), and they are what per-example clipping needs. Accelerators convolve where nobody
    looks.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int = 3, stride: int = 1, rngs: nnx.Rngs) -> None:
        super().__init__(width * width * inputs, outputs, rngs=rngs)
        self.width, self.stride = width, stride

    def __call__(self, a: Float[jax.Array, "B H W I"], tap: Taps) -> Float[jax.Array, "B _ _ O"]:
        if tap.watching or jax.default_backend() == "cpu":
            return super().__call__(patches(a, self.width, self.stride), tap)
        kernel = self.kernel[...].reshape(self.width, self.width, a.shape[-1], -1)
        strides, layout = (self.stride, self.stride), ("NHWC", "HWIO", "NHWC")
        z = jax.lax.conv_general_dilated(a, kernel, strides, "SAME", dimension_numbers=layout)
        return tap(self, a, z + self.bias[...])


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


def patches(
    x: Float[jax.Array, "B H W C"], width: int, stride: int = 1
) -> Float[jax.Array, "B -(-H//{stride}) -(-W//{stride}) {width}**2*C"]:
    """Every `width` x `width` window of images under SAME padding.

    Window entries are ordered (row, column, channel).
    """
    if width == 1:
        return x[:, ::stride, ::stride]
    rows, columns = (-(-size // stride) for size in x.shape[1:3])
    low = []
    for size, out in zip(x.shape[1:3], (rows, columns), strict=True):
        total = max((out - 1) * stride + width - size, 0)
        low.append((total // 2, total - total // 2))
    padded = jnp.pad(x, ((0, 0), low[0], low[1], (0, 0)))
    windows = [
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(width)
        for j in range(width)
    ]
    return jnp.concatenate(windows, axis=-1)


def max_pool(x: Float[jax.Array, "B H W C"]) -> Float[jax.Array, "B H//2 W//2 C"]:
    """2 x 2 max-pooling; an odd last row or column is dropped.

    By axes of size two: on CPUs the gradient of strided slices is slower, that of `reduce_window` much slower.
    """
    batch, rows, columns, channels = x.shape
    even = x[:, : rows // 2 * 2, : columns // 2 * 2]
    pairs = even.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    tallest = jnp.maximum(pairs[:, :, 0], pairs[:, :, 1])
    return jnp.maximum(tallest[:, :, :, 0], tallest[:, :, :, 1])
