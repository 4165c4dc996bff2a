"""Convolutions and pooling of images [B, H, W, C], written so that XLA is fast at them and at their gradients on CPUs.

A convolution is a product over patches. How it is best computed hangs on what is differentiated: by the weights in a
training (`trained_convolution`), by the image in an attack (`forward_convolution`, `forward_pooled`), or nothing.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

THIN = 32
"""Numbers of a convolution's window up to which XLA's CPU convolution is slower than a product over patches."""


def patches(
    x: Float[jax.Array, "B H W C"], width: int, stride: int = 1
) -> Float[jax.Array, "B -(-H//{stride}) -(-W//{stride}) {width}**2*C"]:
    """Every `width` x `width` window of images under SAME padding.

    Window entries are ordered (row, column, channel).
    """
    return windows(x, *_same(x, width, stride))


def windows(
    x: Float[jax.Array, "B *spatial C"],
    size: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
) -> Float[jax.Array, "B *positions K"]:
    """What every window of a convolution sees, over any number of axes; entries are ordered (*place, channel).

    Args:
        x: channels last.
        size: of a window, along each axis.
        strides: between windows.
        padding: zeros before and after each axis.
        dilation: steps between the places of a window; 1 where None.
    """
    return jnp.concatenate(_places(x, size, strides, padding, dilation), axis=-1)


def _places(
    x: Float[jax.Array, "B *spatial C"],
    size: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
) -> list[Float[jax.Array, "B *positions C"]]:
    """What every window has in its first place, in its second, ..."""
    if any(map(any, padding)):
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    dilation = dilation or (1,) * len(size)
    axes = []
    for length, places, stride, step in zip(x.shape[1:-1], size, strides, dilation, strict=True):
        last = (length - (places - 1) * step - 1) // stride * stride
        axes.append([slice(first, first + last + 1, stride) for first in range(0, places * step, step)])
    return [x[:, *at] for at in itertools.product(*axes)]


def _same(x: jax.Array, width: int, stride: int) -> tuple[tuple[int, ...], tuple[int, ...], Sequence[tuple[int, int]]]:
    """Size, strides and padding of the windows of a SAME convolution."""
    size, strides = (width, width), (stride, stride)
    return size, strides, jax.lax.padtype_to_pads(x.shape[1:3], size, strides, "SAME")


def max_pool(x: Float[jax.Array, "B H W C"]) -> Float[jax.Array, "B H//2 W//2 C"]:
    """2 x 2 max-pooling; an odd last row or column is dropped.

    By axes of size two: on CPUs the gradient of strided slices is slower, that of `reduce_window` much slower.
    """
    batch, rows, columns, channels = x.shape
    even = x[:, : rows // 2 * 2, : columns // 2 * 2]
    pairs = even.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    tallest = jnp.maximum(pairs[:, :, 0], pairs[:, :, 1])
    return jnp.maximum(tallest[:, :, :, 0], tallest[:, :, :, 1])


def convolution(
    x: Float[jax.Array, "B H W I"], kernel: Float[jax.Array, "P O"], width: int, stride: int = 1
) -> Float[jax.Array, "B _ _ O"]:
    """What `patches(x, width, stride) @ kernel` says, as XLA convolves."""
    kernel = kernel.reshape(width, width, x.shape[-1], -1)
    strides, layout = (stride, stride), ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def trained_convolution(
    x: Float[jax.Array, "B H W I"], kernel: Float[jax.Array, "P O"], width: int, stride: int = 1
) -> Float[jax.Array, "B _ _ O"]:
    """`patches(x, width, stride) @ kernel`, both of whose gradients are fast on CPUs.

    Thin windows lie behind each other, one place after the other, instead of side by side.
    """
    if kernel.shape[0] > THIN:
        return patches(x, width, stride) @ kernel
    batch, rows, columns, channels = x.shape
    planes = jnp.moveaxis(x, -1, 0).reshape(channels * batch, rows, columns, 1)
    places = jnp.stack(_places(planes, *_same(x, width, stride)))
    product = jnp.tensordot(places.reshape(len(kernel), -1), kernel, axes=(0, 0))
    return product.reshape(batch, *places.shape[2:4], -1)


@functools.partial(trained_convolution.defjvp, symbolic_zeros=True)
def _(width: int, stride: int, primals: tuple, tangents: tuple) -> tuple:
    x, kernel = primals
    by_x, by_kernel = tangents
    z = trained_convolution(x, kernel, width, stride)
    moved = jnp.zeros_like(z)
    if type(by_kernel) is not SymbolicZero:
        moved += trained_convolution(x, by_kernel, width, stride)
    if type(by_x) is not SymbolicZero:
        moved += _turned(by_x, kernel, width) if stride == 1 else patches(by_x, width, stride) @ kernel
    return z, moved


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def forward_convolution(
    x: Float[jax.Array, "B H W I"], kernel: Float[jax.Array, "P O"], width: int, stride: int = 1
) -> Float[jax.Array, "B _ _ O"]:
    """`convolution`, differentiated as the product over patches that it is: its own gradient is slow on CPUs."""
    return convolution(x, kernel, width, stride)


@functools.partial(forward_convolution.defjvp, symbolic_zeros=True)
def _(width: int, stride: int, primals: tuple, tangents: tuple) -> tuple:
    x, kernel = primals
    if stride != 1 or type(tangents[1]) is not SymbolicZero:
        filled = tuple(map(_filled, tangents, primals))
        return jax.jvp(lambda x, kernel: patches(x, width, stride) @ kernel, primals, filled)
    # An attack follows the record, not the weights.
    return convolution(x, kernel, width), _turned(_filled(tangents[0], x), kernel, width)


def _turned(x: Float[jax.Array, "B H W I"], kernel: Float[jax.Array, "P O"], width: int) -> Float[jax.Array, "B H W O"]:
    """`convolution`, whose transpose has the layout that XLA's CPU convolution is fast in."""
    turned = kernel.reshape(width, width, x.shape[-1], -1).swapaxes(2, 3)
    return jax.lax.conv_general_dilated(x, turned, (1, 1), "SAME", dimension_numbers=("NHWC", "HWOI", "NHWC"))


@jax.custom_jvp
def forward_pooled(
    x: Float[jax.Array, "B H W I"], kernel: Float[jax.Array, "9*I O"]
) -> Float[jax.Array, "B H//2 W//2 O"]:
    """`max_pool(patches(x, 3) @ kernel)` by one convolution of stride 2 whose outputs are the four that are pooled.

    Its 4 x 4 windows hold 16 I numbers for four outputs in place of 36 I, and its product is wider: with I = 1 it takes
    less than half of the time, though 7 of its 16 weights are zero.
    """
    return _highest(_four(x, kernel))


@functools.partial(forward_pooled.defjvp, symbolic_zeros=True)
def _(primals: tuple, tangents: tuple) -> tuple:
    if type(tangents[1]) is not SymbolicZero:
        filled = tuple(map(_filled, tangents, primals))
        return jax.jvp(lambda x, kernel: max_pool(patches(x, 3) @ kernel), primals, filled)
    x, kernel = primals
    batch, rows, columns, inputs = x.shape
    wide = _wide(kernel, inputs)

    def linear(x: jax.Array) -> jax.Array:
        """The four as a product over windows of 2 x 2 blocks of 2 x 2 pixels: few and wide parts to transpose."""
        even = jnp.pad(x, ((0, 0), (1, 1 + rows % 2), (1, 1 + columns % 2), (0, 0)))
        down, across = rows // 2, columns // 2
        even = even[:, : 2 * down + 2, : 2 * across + 2]
        blocks = even.reshape(batch, down + 1, 2, across + 1, 2, inputs).swapaxes(2, 3)
        blocks = blocks.reshape(batch, down + 1, across + 1, 4 * inputs)
        windows = [blocks[:, i : i + down, j : j + across] for i in (0, 1) for j in (0, 1)]
        by_block = wide.reshape(2, 2, 2, 2, inputs, -1).swapaxes(1, 2).reshape(16 * inputs, -1)
        return (jnp.concatenate(windows, axis=-1) @ by_block).reshape(batch, down, across, 4, kernel.shape[-1])

    z = _four(x, kernel)
    highest = _highest(z)
    chosen = z == highest[..., None, :]
    share = chosen / jnp.sum(chosen, axis=-2, keepdims=True, dtype=z.dtype)
    return highest, jnp.sum(share * linear(_filled(tangents[0], x)), axis=-2)


def _wide(kernel: Float[jax.Array, "P O"], inputs: int) -> Float[jax.Array, "4 4 {inputs} _"]:
    """A 3 x 3 kernel at the four places of a 4 x 4 window."""
    kernel = kernel.reshape(3, 3, inputs, -1)
    shifts = [((i, 1 - i), (j, 1 - j), (0, 0), (0, 0)) for i in (0, 1) for j in (0, 1)]
    return jnp.stack([jnp.pad(kernel, shift) for shift in shifts], axis=-2).reshape(4, 4, inputs, -1)


def _four(x: Float[jax.Array, "B H W I"], kernel: Float[jax.Array, "9*I O"]) -> Float[jax.Array, "B H//2 W//2 4 O"]:
    """The pre-activations that are pooled together."""
    padding, layout = ((1, 1), (1, 1)), ("NHWC", "HWIO", "NHWC")
    z = jax.lax.conv_general_dilated(x, _wide(kernel, x.shape[-1]), (2, 2), padding, dimension_numbers=layout)
    return z.reshape(*z.shape[:3], 4, kernel.shape[-1])


def _highest(z: Float[jax.Array, "B H W 4 O"]) -> Float[jax.Array, "B H W O"]:
    top, bottom = (jnp.maximum(z[..., i, :], z[..., i + 1, :]) for i in (0, 2))
    return jnp.maximum(top, bottom)


def _filled(tangent: jax.Array | SymbolicZero, of: jax.Array) -> jax.Array:
    return jnp.zeros_like(of) if isinstance(tangent, SymbolicZero) else tangent
