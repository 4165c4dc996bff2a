"""Random keys come down by name, so adding an attack never changes the training noise.

A root key comes from a seed; every consumer derives its own key from the root by a path of names and numbers, uses it
once and never stores it. Two different paths give statistically independent keys, whatever order they are derived in.
"""

from __future__ import annotations

import hashlib
import json
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, Real, UInt32


def root(seed: int) -> jax.Array:
    """The root key of an experiment's seed (a scalar typed PRNG key)."""
    return jax.random.key(seed)


def derive(key: jax.Array, *path: str | int) -> jax.Array:
    """The key that `path` names below `key`: 64 bits of SHA-256 of the path are folded in.

    Args:
        key: scalar typed key.
        path: names and whole numbers (NumPy's too); `"3"` and `3` are different steps, `"a/b"` is not `"a", "b"`.

    Raises:
        TypeError: a step is neither a name nor a whole number.

    >>> a, b = derive(root(0), "attack", "lira"), derive(root(0), "attack", "rmia")
    >>> bool((jax.random.key_data(a) == jax.random.key_data(b)).all())
    False
    """
    steps = [part if isinstance(part, str) else operator.index(part) for part in path]
    digest = hashlib.sha256(json.dumps(steps).encode()).digest()
    return _folded(key, np.frombuffer(digest[:8], np.uint32))


@jax.jit  # primitive by primitive it takes longer than a small training's step
def _folded(key: Key[jax.Array, ""], words: UInt32[np.ndarray, " 2"]) -> Key[jax.Array, ""]:
    return jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1])


def generator(key: jax.Array) -> np.random.Generator:
    """A NumPy generator seeded by `key`, for what is drawn on the host (splits, batch plans, bootstrap)."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32))


def query_keys(secret: Key[jax.Array, ""], x: Real[jax.Array, " B *features"]) -> Key[jax.Array, " B"]:
    """A key for each query: row b's is a keyed hash of the bits of `x[b]`, whatever else is in the batch.

    An XOR-MAC: each feature's 32 bits, with the feature's position, go through the random function that `secret` picks,
    and the results are XORed. Without the secret two different queries collide with probability 2^-64. Zero and minus
    zero, which no model tells apart, are one query.

    Args:
        secret: the server's key.
        x: queries, read as float32.

    References: Bellare, Guerin & Rogaway 1995, "XOR MACs".
    """
    flat = jnp.reshape(x, (x.shape[0], -1)).astype(jnp.float32)
    words = jax.lax.bitcast_convert_type(jnp.where(flat == 0, 0.0, flat), jnp.uint32)
    of_position = jax.vmap(jax.random.fold_in, (None, 0))(secret, jnp.arange(words.shape[1]))

    def digest(row: jax.Array) -> jax.Array:
        data = jax.random.key_data(jax.vmap(jax.random.fold_in)(of_position, row))
        return jax.lax.reduce(data, jnp.uint32(0), jax.lax.bitwise_xor, (0,))

    return jax.random.wrap_key_data(jax.vmap(digest)(words), impl=jax.random.key_impl(secret))
