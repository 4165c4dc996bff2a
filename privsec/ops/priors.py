"""What natural inputs look like, as penalties that need no data: smoothness and small size.

Every penalty is a mean over features, so its weight means the same at any resolution.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from privsec.core.data import Array


def total_variation(images: Float[Array, " *batch H W C"]) -> Float[jax.Array, " *batch"]:
    """How much neighboring pixels differ: `mean |x[i+1, j] - x[i, j]| + mean |x[i, j+1] - x[i, j]|`, in pixel values.

    Args:
        images: H, W >= 2.

    Returns:
        0 for a constant image; scales with the contrast; differentiable, with gradient 0 where neighbors agree.

    >>> float(total_variation(jnp.array([[0.0, 1.0], [0.0, 1.0]])[:, :, None]))
    1.0

    References: Rudin, Osher & Fatemi 1992, Physica D 60.
    """
    down, right = jnp.diff(images, axis=-3), jnp.diff(images, axis=-2)
    # d * sign(d) rather than abs(d), whose derivative at 0 is 1 in JAX: a flat image would drift.
    return jnp.mean(down * jnp.sign(down), axis=(-3, -2, -1)) + jnp.mean(right * jnp.sign(right), axis=(-3, -2, -1))


def mean_square(x: Float[Array, " B *features"]) -> Float[jax.Array, " B"]:
    """`||x||^2 / D` of each record.

    >>> mean_square(jnp.array([[3.0, 1.0], [0.0, 0.0]])).tolist()
    [5.0, 0.0]
    """
    return jnp.mean(jnp.square(x), axis=tuple(range(1, x.ndim)))
