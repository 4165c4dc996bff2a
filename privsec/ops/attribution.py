"""Which features of a record move a model's score: saliency, integrated gradients and SmoothGrad.

Pure functions of a `score`, and one face for any Target that grants gradients. Models outside of JAX are followed by
their own library's gradients, one record's gradient at a time being one query.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from privsec.core.data import Array
from privsec.core.target import Target, compiled

Score = Callable[[jax.Array], jax.Array]
"""[B, ...features] -> [B]; one record's is independent of the others."""
Method = Literal["saliency", "integrated_gradients", "smooth_grad"]


def slope(score: Score, x: Float[jax.Array, " B *features"]) -> Float[jax.Array, " B *features"]:
    """The gradient of each record's score by its own features."""
    return jax.grad(lambda records: jnp.sum(score(records)))(x)


def saliency(score: Score, x: Float[jax.Array, " B *features"]) -> Float[jax.Array, " B *features"]:
    """How strongly each feature moves the score, either way: `|d score / d x_i|`.

    >>> saliency(lambda x: x @ jnp.array([3.0, -2.0, 0.0]), jnp.ones((1, 3))).tolist()
    [[3.0, 2.0, 0.0]]

    References: Simonyan, Vedaldi & Zisserman 2014, arXiv 1312.6034.
    """
    return jnp.abs(slope(score, x))


def integrated_gradients(
    score: Score,
    x: Float[jax.Array, " B *features"],
    baseline: Float[jax.Array, " *shape"] | float = 0.0,
    steps: int = 50,
) -> Float[jax.Array, " B *features"]:
    """What each feature adds to the score on the straight way from `baseline` to `x`.

    `(x_i - b_i) * integral_0^1 d score / d x_i (b + a (x - b)) da`, by the midpoint rule. Complete: the features' parts
    sum to `score(x) - score(baseline)`, exactly for piecewise quadratic scores without kinks on the way, else up to an
    error that shrinks with the steps.

    Args:
        score: differentiable.
        x: the records.
        baseline: what "nothing there" looks like; broadcasts to x.
        steps: gradients per record, >= 1.

    >>> square = lambda x: jnp.sum(x**2, axis=1)
    >>> integrated_gradients(square, jnp.array([[1.0, 2.0]]), steps=4).tolist()
    [[1.0, 4.0]]

    References: Sundararajan, Taly & Yan 2017, arXiv 1703.01365.
    """
    way = x - baseline

    def add(step: jax.Array | int, total: jax.Array) -> jax.Array:
        return total + slope(score, x - way * (1 - (step + 0.5) / steps))

    return way * jax.lax.fori_loop(0, steps, add, jnp.zeros_like(x)) / steps


def smooth_grad(
    score: Score,
    x: Float[jax.Array, " B *features"],
    key: Key[jax.Array, ""],
    sigma: float | Float[jax.Array, " *shape"] = 0.15,
    draws: int = 50,
) -> Float[jax.Array, " B *features"]:
    """The mean gradient round each record: `E grad score(x + sigma n)`, n ~ N(0, I); signed.

    Args:
        score: differentiable.
        x: the records.
        key: for the noise.
        sigma: its standard deviation, in units of the features; broadcasts to x.
        draws: gradients per record, >= 1.

    >>> smooth_grad(lambda x: x @ jnp.array([3.0, -2.0]), jnp.ones((1, 2)), jax.random.key(0)).tolist()
    [[3.0, -2.0]]

    References: Smilkov et al. 2017, arXiv 1706.03825.
    """

    def add(draw: jax.Array | int, total: jax.Array) -> jax.Array:
        with jax.disable_jit(False):  # step by step, where a model outside of JAX is asked, drawing costs most
            noise = jax.random.normal(jax.random.fold_in(key, draw), x.shape, x.dtype)
        return total + slope(score, x + sigma * noise)

    return jax.lax.fori_loop(0, draws, add, jnp.zeros_like(x)) / draws


def attribution(
    target: Target,
    x: Array,
    y: Array,
    method: Method = "saliency",
    *,
    baseline: Array | float = 0.0,
    sigma: float = 0.15,
    steps: int = 50,
    key: jax.Array | None = None,
) -> jax.Array:
    """Which features speak for class `y` of each record: of the logit z_y of any Target that grants gradients.

    Where the model hides its gradient, that of `Target.adapted` is taken.

    Args:
        target: one model, or a stack of T.
        x: [B, ...features].
        y: int [B], the class that is explained.
        method: saliency (>= 0), integrated gradients or SmoothGrad (signed).
        baseline: of integrated gradients.
        sigma: of SmoothGrad.
        steps: gradients per record, of both.
        key: for SmoothGrad's noise; a fixed one where left out.

    Returns:
        [B, ...features], for a stack [T, B, ...features].

    Raises:
        AccessError: the target does not grant gradients.
    """
    if target.size is not None:
        options = {"baseline": baseline, "sigma": sigma, "steps": steps, "key": key}
        return jnp.stack([attribution(target[t], x, y, method, **options) for t in range(target.size)])
    records, classes = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.int32)
    key = jax.random.key(0) if key is None else key
    return _of_logit(target.adapted, records, classes, jnp.asarray(baseline, jnp.float32), sigma, key, method, steps)


@functools.partial(compiled, static=("method", "steps"))
def _of_logit(
    target: Target,
    x: jax.Array,
    y: jax.Array,
    baseline: jax.Array,
    sigma: float | jax.Array,
    key: jax.Array,
    method: Method,
    steps: int,
) -> jax.Array:
    def score(records: jax.Array) -> jax.Array:
        return jnp.take_along_axis(target.logits(records), y[:, None], axis=1)[:, 0]

    if method == "saliency":
        return saliency(score, x)
    if method == "integrated_gradients":
        return integrated_gradients(score, x, baseline, steps)
    return smooth_grad(score, x, key, sigma, steps)
