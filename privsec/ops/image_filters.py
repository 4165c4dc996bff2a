"""What changes an input a little and a classifier hardly: coarser values, medians, JPEG's quantization.

All but the median are step functions, whose gradient is zero wherever it exists; `straight_through` gives them the
gradient of the identity instead.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from privsec.core.data import Array

BLOCK = 8
"""Height and width of JPEG's blocks."""
# fmt: off
LUMINANCE = np.array([
    [16, 11, 10, 16,  24,  40,  51,  61],
    [12, 12, 14, 19,  26,  58,  60,  55],
    [14, 13, 16, 24,  40,  57,  69,  56],
    [14, 17, 22, 29,  51,  87,  80,  62],
    [18, 22, 37, 56,  68, 109, 103,  77],
    [24, 35, 55, 64,  81, 104, 113,  92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103,  99],
])
"""Step of each frequency at quality 50 (ITU-T T.81, table K.1)."""
# fmt: on


def straight_through(change: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """`change` with the derivative of the identity (backward pass differentiable approximation, BPDA).

    >>> step = straight_through(jnp.round)
    >>> float(step(0.7)), float(jax.grad(step)(0.7))
    (1.0, 1.0)

    References: Athalye et al. 2018, arXiv 1802.00420, section 4.1.
    """
    passed = jax.custom_jvp(change)
    passed.defjvp(lambda primals, tangents: (passed(*primals), tangents[0]))
    return passed


def on_grid(x: Float[Array, " *shape"], levels: int) -> Float[jax.Array, " *shape"]:
    """The nearest multiple of `1 / (levels - 1)`: `levels` values between 0 and 1. Its gradient is zero.

    >>> on_grid(jnp.array([0.1, 0.4, 0.9]), 3).tolist()
    [0.0, 0.5, 1.0]
    """
    return jnp.round(x * (levels - 1)) / (levels - 1)


def median(images: Float[Array, "B H W C"], size: int) -> Float[jax.Array, "B H W C"]:
    """The median of each window of `size` x `size` pixels, channel by channel; images go on mirrored at their edges.

    Of an even number of pixels it is the upper one of the middle two; an even window reaches one pixel further up and
    left than down and right.
    """
    before = size // 2
    reach = (before, size - 1 - before)
    padded = jnp.pad(images, ((0, 0), reach, reach, (0, 0)), mode="symmetric")
    rows, columns = images.shape[1:3]
    windows = [padded[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)]
    return jnp.sort(jnp.stack(windows, axis=-1), axis=-1)[..., size * size // 2]


def steps_of(quality: int) -> np.ndarray:
    """JPEG's quantization steps int [8, 8], in units of 1/255, at a quality of 1 (coarse) to 100, by libjpeg's rule."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def jpeg(images: Float[Array, "B H W C"], quality: int) -> Float[jax.Array, "B H W C"]:
    """Images [0, 1] as lossy as JPEG leaves them: 8 x 8 blocks whose cosine coefficients are rounded to steps.

    Every channel is treated as luminance; a last incomplete block is filled up with the edge's pixels. Its gradient is
    zero.

    Args:
        images: values 0 to 1.
        quality: 1 to 100.

    References: Wallace 1991, doi 10.1145/103085.103089; Dziugaite et al. 2016, arXiv 1608.00853 (as a defense).
    """
    batch, rows, columns, channels = images.shape
    fill = [(0, 0), *((0, -size % BLOCK) for size in (rows, columns)), (0, 0)]
    padded = jnp.pad(images, fill, mode="edge") * 255 - 128
    tall, wide = (size // BLOCK for size in padded.shape[1:3])
    blocks = padded.reshape(batch, tall, BLOCK, wide, BLOCK, channels)
    basis, steps = jnp.asarray(_cosines()), jnp.asarray(steps_of(quality), images.dtype)[:, None, :, None]
    frequencies = jnp.einsum("ui,bhiwjc,vj->bhuwvc", basis, blocks, basis)
    kept = jnp.round(frequencies / steps) * steps
    restored = jnp.einsum("ui,bhuwvc,vj->bhiwjc", basis, kept, basis).reshape(padded.shape)
    return jnp.clip((restored[:, :rows, :columns] + 128) / 255, 0.0, 1.0)


def _cosines() -> np.ndarray:
    """The orthonormal cosine basis [frequency, pixel]."""
    frequency, pixel = np.arange(BLOCK)[:, None], np.arange(BLOCK)
    waves = np.sqrt(2 / BLOCK) * np.cos(np.pi * (2 * pixel + 1) * frequency / (2 * BLOCK))
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)
