"""Gaussian noise as `jax.random.normal` draws it, in two thirds of the time on a CPU.

There JAX walks through the rounds of its generator in a loop over memory. Written out they stay in registers.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
"""By how many bits the rounds of Threefry-2x32 rotate, four and four."""
PARITY = np.uint32(0x1BD11BDA)


def gaussian(key: jax.Array, count: int, scale: Float[jax.Array, ""] | float) -> Float[jax.Array, " {count}"]:
    """Independent numbers from N(0, scale^2): `scale * jax.random.normal(key, (count,))`, to the last bit.

    Nothing is drawn where the scale is 0.

    Args:
        key: of any generator; of another than JAX's default one, Threefry, JAX itself draws.
        count: how many, below 2^32.
        scale: the standard deviation.

    References: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Threefry).
    """
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return scale * jax.random.normal(key, (count,))
    # A branch, for its result is in memory before it is used: in one kernel with what follows it is slower.
    bits = jax.lax.cond(scale > 0, functools.partial(_bits, key, count), lambda: jnp.zeros(count, jnp.uint32))
    least = np.nextafter(np.float32(-1), np.float32(0))
    unit = jax.lax.bitcast_convert_type((bits >> 9) | np.uint32(0x3F800000), jnp.float32) - 1.0
    uniform = jnp.maximum(least, unit * (np.float32(1) - least) + least)
    return scale * (np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform))


def _bits(key: jax.Array, count: int) -> UInt32[jax.Array, " {count}"]:
    """The words of `jax.random.bits`: number i encrypted with the key, its two halves combined."""
    first, second = jax.random.key_data(key)
    keys = (first, second, first ^ second ^ PARITY)
    high, low = jnp.broadcast_to(first, (count,)), jnp.arange(count, dtype=jnp.uint32) + second
    for group in range(5):
        for places in ROTATIONS[group % 2]:
            high = high + low
            low = ((low << np.uint32(places)) | (low >> np.uint32(32 - places))) ^ high
        high = high + keys[(group + 1) % 3]
        low = low + keys[(group + 2) % 3] + np.uint32(group + 1)
    return high ^ low
