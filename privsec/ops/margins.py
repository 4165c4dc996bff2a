"""How wrong a classifier's answer is, as a number to ascend: cross-entropy, margin, and the difference of logits ratio.

Every function takes logits [B, C] and returns [B]; **higher is more wrong** for labels `y`, and for a goal, closer to
it. Records are independent of each other, and every one is differentiable in the logits.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

TINY = 1e-12
"""Added to the ratio's denominator, which is 0 where all logits are equal."""


def _of_class(logits: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]


def cross_entropy(logits: Float[jax.Array, "B C"], y: Int[jax.Array, " B"]) -> Float[jax.Array, " B"]:
    """`-log softmax(z)_y`, in nats: >= 0, and of vanishing gradient once the model is sure and right.

    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(3).tolist()  # log 4
    [1.3860000371932983]
    """
    return jax.nn.logsumexp(logits, axis=1) - _of_class(logits, y)


def margin(logits: Float[jax.Array, "B C"], y: Int[jax.Array, " B"]) -> Float[jax.Array, " B"]:
    """`max_{i != y} z_i - z_y`: above 0 where the label is wrong, below 0 where it is right.

    It is invariant to a shift of the logits and grows with their scale. Log probabilities may stand for logits.

    >>> margin(jnp.array([[2.0, 1.0, 0.5], [2.0, 1.0, 0.5]]), jnp.array([0, 1])).tolist()
    [-1.0, 1.0]
    """
    own = jnp.arange(logits.shape[1]) == y[:, None]
    return jnp.max(jnp.where(own, -jnp.inf, logits), axis=1) - _of_class(logits, y)


def dlr(logits: Float[jax.Array, "B C"], y: Int[jax.Array, " B"]) -> Float[jax.Array, " B"]:
    """Difference of logits ratio: `(max_{i != y} z_i - z_y) / (z_(1) - z_(3))`, z_(k) the k-th highest logit.

    Invariant to shift and scale, so a temperature does not hide the gradient; from -1 (right and sure) upwards. For two
    classes there is no third logit, and any invariant ratio is a constant without gradient: there it is the margin.

    >>> dlr(jnp.array([[2.0, 1.0, 0.5, -1.0, 0.0]]), jnp.array([1])).round(4).tolist()
    [0.666700005531311]

    References: Croce & Hein 2020, arXiv 2003.01690, equation 6 (with their sign, this is the loss to maximize).
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    ordered = jnp.sort(logits, axis=1)
    return margin(logits, y) / (ordered[:, -1] - ordered[:, -3] + TINY)


def dlr_targeted(
    logits: Float[jax.Array, "B C"], y: Int[jax.Array, " B"], goal: Int[jax.Array, " B"]
) -> Float[jax.Array, " B"]:
    """Targeted ratio: `(z_goal - z_y) / (z_(1) - (z_(3) + z_(4)) / 2)`, which pulls the goal above the true class.

    Above 0 the true class has lost, but the label is the goal only if the goal beats the other classes too.
    Invariant to shift and scale. For three classes the denominator is the standard deviation of the logits, for two it
    is 1, as in `dlr`.

    >>> dlr_targeted(jnp.array([[2.0, 1.0, 0.5, -1.0, 0.0]]), jnp.array([0]), jnp.array([2])).round(4).tolist()
    [-0.8570999503135681]

    References: Croce & Hein 2020, arXiv 2003.01690, equation 7.
    """
    gain = _of_class(logits, goal) - _of_class(logits, y)
    if logits.shape[1] < 3:
        return gain
    if logits.shape[1] == 3:
        return gain / jnp.sqrt(jnp.var(logits, axis=1) + TINY)
    ordered = jnp.sort(logits, axis=1)
    return gain / (ordered[:, -1] - (ordered[:, -3] + ordered[:, -4]) / 2 + TINY)


Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""A loss of logits [B, C] and classes [B]: `cross_entropy`, `margin` or `dlr`."""


def aimed(
    loss: Loss, logits: Float[jax.Array, "B C"], y: Int[jax.Array, " B"], goal: Int[jax.Array, " B"]
) -> Float[jax.Array, " B"]:
    """`loss(z, y)` where `goal` is negative (any wrong class will do), and `-loss(z, goal)` where it names a class.

    With the margin, above 0 means that the attack has won in either case.

    >>> logits = jnp.array([[2.0, 1.0, 0.5], [2.0, 1.0, 0.5]])
    >>> aimed(margin, logits, jnp.array([0, 0]), jnp.array([-1, 2])).tolist()
    [-1.0, -1.5]
    """
    free = goal < 0
    value = loss(logits, jnp.where(free, y, goal))
    return jnp.where(free, value, -value)


def refusal_as_true(logits: Float[jax.Array, "B C"], y: Int[jax.Array, " B"]) -> Float[jax.Array, "B C-1"]:
    """Logits of a model whose last class is "refused", less that class: being refused is as bad as being recognized.

    `z_y` becomes `max(z_y, z_refused)`, so a margin above 0 means a wrong class that passes as a real one.

    >>> refusal_as_true(jnp.array([[2.0, 1.0, 5.0]]), jnp.array([0])).tolist()
    [[5.0, 1.0]]
    """
    kept = logits[:, :-1]
    own = jnp.arange(kept.shape[1]) == y[:, None]
    return jnp.where(own, jnp.maximum(kept, logits[:, -1:]), kept)
