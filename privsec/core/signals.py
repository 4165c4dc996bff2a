"""What an attacker writes down about one answer: scalars of the scores and the record's label."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int

from privsec.core.access import Access
from privsec.core.data import Array

TOP = 10
"""How many of the sorted scores the `top_scores` signal keeps (fewer when there are fewer classes)."""

FEW = 32
"""Up to so many classes are sorted by comparing all pairs of scores: a third of the time of XLA's sort on a CPU."""


class Signal(NamedTuple):
    """A statistic of an answer: the access it takes, and (log-scores [B, C], y [B]) -> [B] or [B, K]."""

    needs: Access
    compute: Callable[[jax.Array, jax.Array], jax.Array]


def correct(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float32[jax.Array, " B"]:
    """1.0 where the predicted label is the record's label."""
    return (jnp.argmax(log_scores, axis=-1) == y).astype(jnp.float32)


def log_confidence(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float[jax.Array, " B"]:
    """The log-score of the label, log p_y: the negative of the cross-entropy loss.

    From the margin: next to 0, log p_y itself has lost its digits to the rounding of the log-scores.
    """
    return -jax.nn.softplus(-margin(log_scores, y))


def margin(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float[jax.Array, " B"]:
    """The logit of p_y, as z_y - logsumexp_{c != y} z_c: exact where log p - log(1 - p) has lost its digits.

    References: Carlini et al. 2022, arXiv 2112.03570, section VI-A.
    """
    others = jnp.where(jax.nn.one_hot(y, log_scores.shape[-1], dtype=bool), -jnp.inf, log_scores)
    of_label = jnp.take_along_axis(log_scores, y[:, None], axis=-1)[:, 0]
    return of_label - jax.nn.logsumexp(others, axis=-1)


def score_gap(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float[jax.Array, " B"]:
    """z_y - max_{c != y} z_c: how far the label's logit is above the best of the others (below, where negative).

    References: Bertran et al. 2023, arXiv 2307.03694, section 3.
    """
    others = jnp.where(jax.nn.one_hot(y, log_scores.shape[-1], dtype=bool), -jnp.inf, log_scores)
    return jnp.take_along_axis(log_scores, y[:, None], axis=-1)[:, 0] - jnp.max(others, axis=-1)


def entropy(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float[jax.Array, " B"]:
    """-sum_c p_c log p_c in nats; it does not look at the label."""
    del y
    return -jnp.sum(jnp.exp(log_scores) * log_scores, axis=-1)


def modified_entropy(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float[jax.Array, " B"]:
    """-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c): low only for an answer both sure and right.

    References: Song & Mittal 2021, arXiv 2003.10595, equation 8.
    """
    scores, classes = jnp.exp(log_scores), log_scores.shape[-1]
    of_label = jax.nn.one_hot(y, classes, dtype=bool)
    # Only the largest score can be so near to 1 that 1 - p loses its digits: there it is the sum of the others.
    largest = jax.nn.one_hot(jnp.argmax(log_scores, axis=-1), classes, dtype=bool)
    without_largest = jax.nn.logsumexp(jnp.where(largest, -jnp.inf, log_scores), axis=-1, keepdims=True)
    log_rest = jnp.where(largest, without_largest, jnp.log1p(-jnp.minimum(scores, 0.5)))
    terms = jnp.where(of_label, jnp.exp(log_rest) * log_scores, scores * log_rest)
    return -jnp.sum(terms, axis=-1)


def top_scores(log_scores: Float[Array, "B C"], y: Int[Array, " B"]) -> Float[jax.Array, "B K"]:
    """The largest log-scores in descending order; K = min(C, TOP)."""
    del y
    classes = log_scores.shape[-1]
    if classes > FEW:
        return jax.lax.top_k(log_scores, TOP)[0]
    one, other, at = log_scores[..., None], log_scores[..., None, :], jnp.arange(classes)
    ahead = (other > one) | ((other == one) & (at < at[:, None]))
    rank = jnp.sum(ahead, axis=-1)[..., None]
    return jnp.sum(jnp.where(rank == at[: min(classes, TOP)], one, 0.0), axis=-2)


SIGNALS: dict[str, Signal] = {
    "correct": Signal(Access.LABELS, correct),
    "log_confidence": Signal(Access.SCORES, log_confidence),
    "margin": Signal(Access.SCORES, margin),
    "score_gap": Signal(Access.SCORES, score_gap),
    "entropy": Signal(Access.SCORES, entropy),
    "modified_entropy": Signal(Access.SCORES, modified_entropy),
    "top_scores": Signal(Access.SCORES, top_scores),
}
"""Every signal by name."""

SCALARS = tuple(name for name in SIGNALS if name != "top_scores")
"""The signals of one number a record, which one forward pass records together."""
