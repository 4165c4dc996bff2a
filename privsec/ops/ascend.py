"""Following a gradient in input space: steps, projections, projected ascent, and descent that keeps its best point.

Order matters: a point is projected first and the gradient is taken at the projected point. A clip inside the function
that is differentiated has gradient zero wherever it acts, and a model then looks robust that is not (Athalye et al.
2018, arXiv 1802.00420).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

Norm = Literal["linf", "l2"]
Box = tuple[jax.Array, jax.Array]
"""Smallest and largest value of each feature; broadcasts to one record."""


def _norms(x: Float[jax.Array, " B *features"]) -> Float[jax.Array, " B *ones"]:
    """L2 norm of each record; it broadcasts against x."""
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)), keepdims=True))


def steepest(gradient: Float[jax.Array, " B *features"], norm: Norm) -> Float[jax.Array, " B *features"]:
    """The step of unit `norm` that raises a linear function most: sign(g), or g / ||g||_2; zero where g is zero."""
    if norm == "linf":
        return jnp.sign(gradient)
    length = _norms(gradient)
    return gradient / jnp.where(length > 0, length, 1.0)


def project_ball(
    x: Float[jax.Array, " B *features"],
    center: Float[jax.Array, " B *features"],
    radius: float | Float[jax.Array, ...],
    norm: Norm,
) -> Float[jax.Array, " B *features"]:
    """The nearest point to each record of `x` within `radius`, a number or [B, 1, ...], of that of `center`."""
    delta = x - center
    if norm == "linf":
        return center + jnp.clip(delta, -radius, radius)
    length = _norms(delta)
    return center + delta * jnp.minimum(1.0, radius / jnp.where(length > 0, length, 1.0))


def project_box(x: Float[jax.Array, " *shape"], box: Box | None) -> Float[jax.Array, " *shape"]:
    """The nearest point inside the box; `x` itself where there is none."""
    return x if box is None else jnp.clip(x, *box)


def pgd(
    loss: Callable[[Float[jax.Array, " B *features"]], Float[jax.Array, " B"]],
    x: Float[jax.Array, " B *features"],
    key: jax.Array,
    radius: float | Float[jax.Array, ""],
    steps: int,
    step_size: float | Float[jax.Array, ""] | None = None,
    norm: Norm = "linf",
    box: Box | None = None,
    random_start: bool = True,
) -> Float[jax.Array, " B *features"]:
    """Projected gradient ascent: points within `radius` of `x`, and inside the box, where `loss` is high.

    x_{t+1} = P(x_t + a * steepest(grad loss(x_t))), P = onto the ball, then onto the box. One step from `x` itself with
    `step_size = radius` is the fast gradient sign method. For L2 the two projections in turn end inside both
    sets, as the box contains the center, though not always at the nearest point.

    Args:
        loss: one record's is independent of the others.
        x: inside the box.
        key: for the random start.
        radius: of the ball, in units of x.
        steps: gradient evaluations; zero gives the random start.
        step_size: `2.5 * radius / steps` where None.
        norm: of the ball and of the steps.
        box: of the data; None for no bounds.
        random_start: from a point drawn uniformly in the cube of half-width `radius`, then projected; else from `x`.

    Returns:
        The last iterate, in the ball and in the box; it carries no gradient.

    References: Madry et al. 2018, arXiv 1706.06083.
    """
    size = 2.5 * radius / max(steps, 1) if step_size is None else step_size
    gradient = jax.grad(lambda points: jnp.sum(loss(points)))

    def project(points: jax.Array) -> jax.Array:
        return project_box(project_ball(points, x, radius, norm), box)

    def step(_: jax.Array, points: jax.Array) -> jax.Array:
        return project(points + size * steepest(gradient(points), norm))

    noise = jax.random.uniform(key, x.shape, x.dtype, -radius, radius)
    start = project(x + noise) if random_start else x
    return jax.lax.stop_gradient(jax.lax.fori_loop(0, steps, step, start))


class Descent(NamedTuple):
    """Where a descent found the lowest cost.

    Attributes:
        x: the best of all points visited.
        cost: the cost there.
        steps: evaluations spent on each prompt until it stopped.
    """

    x: Float[jax.Array, " K *features"]
    cost: Float[jax.Array, " K"]
    steps: Int[jax.Array, " K"]


def descend(
    evaluate: Callable[[jax.Array, jax.Array], tuple[Float[jax.Array, " K"], Float[jax.Array, " K *features"]]],
    start: Float[jax.Array, " K *features"],
    key: jax.Array,
    optimizer: optax.GradientTransformation,
    steps: int,
    box: Box | None = None,
    enough: float = -jnp.inf,
    patience: int | None = None,
) -> Descent:
    """Minimizes K costs side by side and returns the best point each one visited, not the last.

    A prompt stops when its cost is at most `enough`, or when `patience` evaluations in a row did not lower it; the
    others go on, and its result is the same as if it had been alone.

    Args:
        evaluate: (x, key) -> (cost, gradient) at points inside the box; the gradient may be an estimate. A cost that is
            not finite is never the best.
        start: projected onto the box before anything is evaluated.
        key: a new one is derived from it for every evaluation.
        optimizer: elementwise, so that prompts stay independent.
        steps: the most evaluations a prompt may take, >= 1.
        box: of the data; None for no bounds.
        enough: cost at which a prompt stops.
        patience: evaluations without a lower cost after which a prompt stops; None for never.
    """
    patience = steps if patience is None else patience
    first = project_box(start, box)

    def unfinished(state: tuple) -> jax.Array:
        step, *_, active = state
        return (step < steps) & jnp.any(active)

    def advance(state: tuple) -> tuple:
        step, x, memory, best, stale, active = state
        cost, gradient = evaluate(x, jax.random.fold_in(key, step))
        better = active & (cost < best.cost)
        keep = better.reshape(-1, *[1] * (x.ndim - 1))
        best = Descent(jnp.where(keep, x, best.x), jnp.where(better, cost, best.cost), best.steps + active)
        stale = jnp.where(better, 0, stale + 1)
        active &= (best.cost > enough) & (stale < patience)
        update, memory = optimizer.update(gradient, memory, x)
        return step + 1, project_box(x + update, box), memory, best, stale, active

    count = start.shape[0]
    zeros = jnp.zeros(count, jnp.int32)
    nothing = Descent(first, jnp.full(count, jnp.inf, first.dtype), zeros)
    state = (0, first, optimizer.init(first), nothing, zeros, jnp.ones(count, bool))
    return jax.lax.while_loop(unfinished, advance, state)[3]
