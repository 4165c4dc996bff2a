"""The gradient an evasion attack follows: of which loss, of which model, and over how many draws of its noise."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from privsec.attacks.evasion.base import Points
from privsec.core.evidence import ANY
from privsec.core.target import Target
from privsec.ops.margins import aimed, cross_entropy, dlr, margin, refusal_as_true

PointLoss = Callable[[jax.Array, Points], jax.Array]
"""(logits [B, C], points) -> [B]; one record's is independent of the others."""
LossName = Literal["ce", "margin", "dlr"]
LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def point_loss(name: LossName) -> PointLoss:
    """The named loss of `ops/margins.py`, higher the nearer a point is to what the attacker wants of it."""

    def loss(logits: jax.Array, points: Points) -> jax.Array:
        return aimed(LOSSES[name], logits, points.y, points.goal)

    return loss


def class_gap(logits: jax.Array, points: Points) -> jax.Array:
    """`z_goal - z_y`: for attacks that try one class after the other, as the goal of each point."""
    own, other = (jnp.take_along_axis(logits, of[:, None], axis=1)[:, 0] for of in (points.y, points.goal))
    return other - own


def loss_and_gradient(
    target: Target,
    x: Float[jax.Array, " B *features"],
    points: Points,
    loss: PointLoss,
    keys: Key[jax.Array, " B"] | None = None,
    draws: int = 1,
) -> tuple[Float[jax.Array, " B"], Float[jax.Array, " B *features"]]:
    """The loss at `x` and its gradient, on `target.adapted`: `E_t loss(f_t(x))` and `grad_x E_t loss(f_t(x))`.

    One forward pass of the whole batch, for models inside and outside of JAX. Where the model answers at random, the
    mean of `draws` fresh draws for each point stands for the expectation; elsewhere there is one evaluation, whatever
    `draws` is.

    Args:
        target: grants GRADIENTS.
        x: where; already inside the box. A clip inside what is differentiated would hide the gradient where it acts.
        points: which point each record of `x` comes from.
        loss: of the logits and the points; for a model that may refuse an answer, of logits in which refusing is as
            bad for the attacker as the true class (any goal), or as any other class (one goal).
        keys: one a point, new ones at each step of an attack (`step_keys`); those of the points where left out.
        draws: evaluations averaged where the model is random.

    References: Athalye et al. 2018, "Synthesizing robust adversarial examples", arXiv 1707.07397 (EOT); Athalye,
    Carlini & Wagner 2018, arXiv 1802.00420.
    """
    adapted, count = target.adapted, len(points.y)
    draws = draws if adapted.random else 1
    own = points.keys if keys is None else keys
    drawn = own
    if draws > 1:
        points = jax.tree.map(lambda part: jnp.repeat(part, draws, axis=0), points)
        drawn = jax.vmap(lambda key: jax.random.split(key, draws))(own).reshape(-1)

    def total(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = adapted.logits(jnp.repeat(x, draws, axis=0), drawn)
        each = loss(_attacked(adapted, logits, points), points).reshape(count, draws)
        value = jnp.mean(each, axis=1)
        return jnp.sum(value), value

    (_, value), gradient = jax.value_and_grad(total, has_aux=True)(x)
    return value, gradient


def evaluations(target: Target, draws: int = 1) -> int:
    """Gradients that one call of `loss_and_gradient` costs each point."""
    return draws if target.adapted.random else 1


def step_keys(points: Points, step: int | jax.Array) -> Key[jax.Array, " B"]:
    """Keys of one step of an attack: each point's own, with the step folded in."""
    return jax.vmap(functools.partial(jax.random.fold_in, data=step))(points.keys)


def _attacked(target: Target, logits: jax.Array, points: Points) -> jax.Array:
    """Logits in which "refused" is no way to win: the attacker has to beat it along with the true class."""
    if not target.model.rejects:
        return logits
    either = refusal_as_true(logits, points.y)
    # The column stays, for one shape, as a copy of the least likely class: finite, and never the highest.
    either = jnp.concatenate([either, jnp.min(either, axis=1, keepdims=True)], axis=1)
    return jnp.where((points.goal == ANY)[:, None], either, logits)
