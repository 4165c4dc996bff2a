"""A vote over noisy copies of the input, with a radius in which it provably does not change."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Array
from privsec.core.defense import ModelDefense
from privsec.core.recipe import Model, Params

CHUNK = 128
"""Records certified side by side."""
NOTHING = -1e30
"""The logarithm of a mean of nothing yet."""
Ask = Callable[[jax.Array, jax.Array], jax.Array]
"""(noisy records [B, ...], number of the copy) -> logits [B, C]."""


class RandomizedSmoothing(ModelDefense):
    """Answers with the vote of the model on noisy copies of the input, and certifies L2 balls in which it stands.

    Asked, it draws fresh noise and answers log (votes + 1/2) over the draws. A vote has no gradient; the attacker who
    knows of it follows the mean of the model's probabilities over noisy copies (expectation over transformation).

    The certificate is that of the ideal vote over all noise: with probability 1 - `alpha` its label is the same within
    sigma Phi^-1(p), p the lower confidence bound of the label's share. The answer's few draws may miss that label where
    the vote is close. Noisy copies are not clipped to the data's box, or the proof would not hold. The model should
    have been trained on such noise.

    References: Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918; Salman et al. 2019, arXiv 1906.04584 (the attack on
    the mean of probabilities).
    """

    name: Literal["randomized_smoothing"] = "randomized_smoothing"
    paper = "Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918"
    sigma: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    """Standard deviation of the noise, in units of the features; 0 for no smoothing."""
    draws: int = Field(default=32, ge=1)
    """Noisy copies an answer is a vote of; each costs one pass through the model."""
    guesses: int = Field(default=100, ge=1)
    """Noisy copies that pick the label to certify."""
    samples: int = Field(default=1000, ge=1)
    """Fresh noisy copies that the label's share is estimated from."""
    alpha: float = Field(default=0.001, gt=0, lt=0.5)
    """Probability with which a record's certificate may be wrong."""

    def on_model(self, model: Model) -> Model:
        return model if self.sigma == 0 else _smoothed(self, model)


def radii(counts: Int[np.ndarray, " B"], samples: int, alpha: float, sigma: float) -> Float[np.ndarray, " B"]:
    """Certified L2 radii of labels that `counts` of `samples` draws voted for; 0 where nothing is certified.

    sigma Phi^-1(p) with p = Beta(alpha; k, n - k + 1), the lower confidence bound of k in n, where p > 1/2.

    >>> radii(np.array([990, 400]), 1000, 0.001, 1.0).round(4).tolist()
    [1.978, 0.0]
    """
    from scipy.special import betaincinv, ndtri

    k = np.asarray(counts, np.float64)
    share = np.where(k > 0, betaincinv(np.maximum(k, 1), samples - k + 1, alpha), 0.0)
    return np.where(share > 0.5, sigma * ndtri(np.maximum(share, 0.5)), 0.0)


@functools.lru_cache(maxsize=64)
def _smoothed(defense: RandomizedSmoothing, model: Model) -> Model:
    def certify(params: Params, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        labels, counts = [], []
        for start in range(0, len(x), CHUNK):
            rows = x[start : start + CHUNK]
            pick, count = (keys.derive(key, what, start) for what in ("pick", "count"))
            guess = np.argmax(votes(model, params, rows, pick, defense.sigma, defense.guesses), axis=-1)
            found = np.asarray(votes(model, params, rows, count, defense.sigma, defense.samples))
            labels.append(guess)
            counts.append(found[np.arange(len(rows)), guess])
        radius = radii(np.concatenate(counts), defense.samples, defense.alpha, defense.sigma)
        stated = np.where(radius > 0, np.concatenate(labels), -1)
        return jnp.asarray(stated, jnp.int32), jnp.asarray(radius, jnp.float32)

    followed = _over_noise(model.adapted or model, defense, vote=False)
    return replace(_over_noise(model, defense, vote=True), adapted=followed, certify=certify)


def _over_noise(model: Model, defense: RandomizedSmoothing, vote: bool) -> Model:
    """The logarithm of the share of noisy copies that vote for each class, or of its mean probability over them."""
    draws, classes = defense.draws, model.num_classes

    def log_shares(x: jax.Array, noise: Callable[[jax.Array], jax.Array], ask: Ask) -> jax.Array:
        def add(i: jax.Array, total: jax.Array) -> jax.Array:
            logits = ask(x + defense.sigma * noise(i), i)
            if vote:
                return total + jax.nn.one_hot(jnp.argmax(logits, axis=-1), classes)
            return jnp.logaddexp(total, jax.nn.log_softmax(logits))

        # Activations are made again on the way back: those of all copies together might not fit.
        add = add if vote or model.meter else jax.checkpoint(add)
        total = _repeated(model, draws, add, jnp.full((len(x), classes), 0.0 if vote else NOTHING))
        return jnp.log((total + 0.5) / (draws + 0.5 * classes)) if vote else total - jnp.log(draws)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        def noise(i: jax.Array) -> jax.Array:
            return jax.random.normal(jax.random.fold_in(keys.root(0), i), model.shape)

        return log_shares(x, noise, lambda noisy, _: model.apply(params, noisy))

    def draw(params: Params, x: jax.Array, own: jax.Array) -> jax.Array:
        def of_copy(i: jax.Array, part: int) -> jax.Array:
            return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, i), part))(own)

        def noise(i: jax.Array) -> jax.Array:
            return jax.vmap(lambda key: jax.random.normal(key, model.shape))(of_copy(i, 0))

        return log_shares(x, noise, lambda noisy, i: _asked(model, params, noisy, of_copy(i, 1)))

    return replace(model, apply=apply, draw=draw, tapped=None, layers=(), adapted=None, certify=None, votes=None)


def votes(
    model: Model, params: Params, x: Float[Array, " B *features"], key: jax.Array, sigma: float, draws: int
) -> Int[jax.Array, "B C"]:
    """How many of `draws` noisy copies of each record `model` takes for each class."""
    return (_counted if model.meter else _counted_at_once)(model, params, jnp.asarray(x), key, sigma, draws)


def _counted(
    model: Model, params: Params, x: jax.Array, key: jax.Array, sigma: float | jax.Array, draws: int | jax.Array
) -> jax.Array:
    def add(i: jax.Array, total: jax.Array) -> jax.Array:
        noise_key, draw_key = jax.random.split(jax.random.fold_in(key, i))
        noisy = x + sigma * jax.random.normal(noise_key, x.shape)
        label = jnp.argmax(_asked(model, params, noisy, jax.random.split(draw_key, len(x))), axis=-1)
        return total + jax.nn.one_hot(label, model.num_classes, dtype=jnp.int32)

    return _repeated(model, draws, add, jnp.zeros((len(x), model.num_classes), jnp.int32))


_counted_at_once = jax.jit(_counted, static_argnums=0)


def _asked(model: Model, params: Params, x: jax.Array, own: jax.Array) -> jax.Array:
    return model.apply(params, x) if model.draw is None else model.draw(params, x, own)


def _repeated(
    model: Model, count: int | jax.Array, step: Callable[[jax.Array, jax.Array], jax.Array], start: jax.Array
) -> jax.Array:
    """`step` so many times over; one by one in Python where the model answers outside of JAX."""
    if model.meter is None:
        return jax.lax.fori_loop(0, count, step, start)
    with jax.disable_jit():
        return jax.lax.fori_loop(0, count, step, start)
