"""Copies of a record that differ from it in ways that do not change what it shows.

A model trained on such copies of a record answers about each of them as about a member: several answers, partly
independent. A model that only saw the record itself gives away less with each copy that is further from it. The same
copies are put to the target and to the references.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from privsec.core.data import Array

QUERIES = 18
"""How many views of a record there are, the record itself among them."""
NOISE = 0.05
"""Standard deviation of the noise on a number, in standard deviations of its column."""
FLIPS = 0.01
"""Share of the bits of a record that are flipped, one at least."""

_AXES = ((1, 0), (-1, 0), (0, 1), (0, -1))
SHIFTS = (
    (False, 0, 0),
    *((False, pixels * down, pixels * right) for pixels in (1, 2) for down, right in _AXES),
    (True, 0, 0),
    *((True, down, right) for down, right in _AXES),
    *((False, 4 * down, 4 * right) for down, right in _AXES),
)
"""Views of an image, from the least changed: (mirrored left to right?, pixels down, pixels to the right)."""


def view(x: Float[Array, " N *features"], number: int, key: jax.Array) -> Float[Array, " N *features"]:
    """View `number` of every record; 0 is the record itself, the same object.

    Images (four axes) are mirrored and shifted, pixels that move in being reflected; nothing is drawn. Other records
    get noise on numbers and a few flipped bits, a column being a bit where it holds nothing but 0 and 1.

    Args:
        x: N records; the columns' deviations, and which are bits, are read off them.
        number: 0 to 17.
        key: the noise and the flips hang on it and on `number`.

    Raises:
        ValueError: there is no such view.

    References: Carlini et al. 2022, arXiv 2112.03570, section VI-C (mirroring and shifts of up to 4 pixels).
    """
    if not 0 <= number < QUERIES:
        raise ValueError(f"there are views 0 to {QUERIES - 1}; got {number}")
    if number == 0:
        return x
    if x.ndim == 4:
        return moved(jnp.asarray(x), *SHIFTS[number])
    flat = np.asarray(x).reshape(len(x), -1)
    bits = ((flat == 0) | (flat == 1)).all(axis=0) & (flat.min(axis=0) < flat.max(axis=0))
    return disturbed(jnp.asarray(flat), jnp.asarray(bits), jax.random.fold_in(key, number)).reshape(x.shape)


def moved(images: Float[Array, "N H W C"], mirrored: bool, down: int, right: int) -> Float[jax.Array, "N H W C"]:
    """The images mirrored left to right, then shifted; what moves in is the reflection of what is there.

    A side of s pixels is shifted by s - 1 at most.

    >>> moved(jnp.arange(3.0).reshape(1, 1, 3, 1), False, 0, 1).ravel().tolist()
    [1.0, 0.0, 1.0]
    """
    images = jnp.asarray(images)[:, :, ::-1] if mirrored else jnp.asarray(images)
    height, width = images.shape[1:3]
    down, right = int(np.clip(down, 1 - height, height - 1)), int(np.clip(right, 1 - width, width - 1))
    rows, columns = abs(down), abs(right)
    padded = jnp.pad(images, ((0, 0), (rows, rows), (columns, columns), (0, 0)), mode="reflect")
    return padded[:, rows - down : rows - down + height, columns - right : columns - right + width]


def disturbed(x: Float[Array, "N D"], bits: Bool[Array, " D"], key: jax.Array) -> Float[jax.Array, "N D"]:
    """Numbers with noise, and a few bits flipped: as many in each record, `FLIPS` of them and one at least.

    A constant column stays as it is.
    """
    x, bits = jnp.asarray(x), jnp.asarray(bits)
    of_noise, of_flips = jax.random.split(key)
    noise = NOISE * jnp.std(x, axis=0) * jax.random.normal(of_noise, x.shape, x.dtype)
    count = int(bits.sum())
    if not count:
        return x + noise
    flips = max(round(FLIPS * count), 1)
    lots = jnp.where(bits, jax.random.uniform(of_flips, x.shape), 2.0)
    drawn = lots <= jnp.sort(lots, axis=1)[:, flips - 1 : flips]
    return jnp.where(bits, jnp.where(drawn, 1 - x, x), x + noise)
