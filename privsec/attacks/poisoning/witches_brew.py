"""Rightly labeled records that pull a model's parameters the way one wrong label would.

References: Geiping, Fowl, Huang, Czaja, Taylor, Moeller & Goldstein 2021, "Witches' Brew: industrial scale data
poisoning via gradient matching", ICLR, arXiv 2009.02276.
"""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int
from pydantic import Field

from privsec.attacks.poisoning.targeted import Aim, Targeted, on_device
from privsec.core.data import Array, Examples
from privsec.core.recipe import Model, Params
from privsec.core.target import Target, compiled
from privsec.ops.ascend import Box

DECAYS = (3 / 8, 5 / 8, 7 / 8)
"""After which shares of the steps they become ten times as short."""
TINY = 1e-12


class WitchesBrew(Targeted):
    """Small changes to records of the goal's class, whose gradient is then that of the target with the goal's label.

    `min 1 - cos(grad L(x_t, goal), sum_i grad L(x_i + d_i, y_i))`, |d_i| <= radius, by Adam on the gradient's sign.

    References: Geiping et al. 2021, arXiv 2009.02276.
    """

    name: Literal["witches_brew"] = "witches_brew"
    paper: ClassVar[str] = "Geiping et al. 2021, arXiv 2009.02276"

    radius: float = Field(default=16 / 255, gt=0, le=1)
    """How far a feature may be changed, as a share of the box's width."""
    steps: int = Field(default=250, ge=1)
    """Steps of Adam."""
    step: float = Field(default=0.1, gt=0)
    """tau: the length of a step at first, as a share of the box's width."""
    restarts: int = Field(default=2, ge=1)
    """From how many random changes it begins; the best match is planted."""

    def craft(self, surrogates: Target, base: Examples, aim: Aim, box: Box, key: jax.Array) -> Array:
        """The records with the changes that match best."""
        return _brewed(surrogates, self, *on_device(base, aim), box, key)


def mismatch(
    model: Model,
    params: Params,
    x: Float[jax.Array, " B *features"],
    y: Int[jax.Array, " B"],
    wanted: Params,
) -> Float[jax.Array, ""]:
    """`1 - cos(wanted, grad_params sum_i L(x_i, y_i))`, over all parameters as one vector."""
    found = jax.grad(lambda at: loss(model, at, x, y))(params)
    dot, ours, theirs = (_dot(*pair) for pair in ((found, wanted), (found, found), (wanted, wanted)))
    return 1 - dot / jnp.sqrt(jnp.maximum(ours * theirs, TINY))


def loss(
    model: Model, params: Params, x: Float[jax.Array, " B *features"], y: Int[jax.Array, " B"]
) -> Float[jax.Array, ""]:
    """The mean cross-entropy."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y))


def _dot(one: Params, other: Params) -> jax.Array:
    parts = jax.tree.map(lambda a, b: jnp.sum(a * b), one, other)
    return jax.tree.reduce(jnp.add, parts)


@functools.partial(compiled, static=("spec",))
def _brewed(
    surrogates: Target, spec: WitchesBrew, x: jax.Array, y: jax.Array, aim: Aim, box: Box, key: jax.Array
) -> jax.Array:
    model, params, (low, high) = surrogates.model, surrogates.params, box
    record, goal = jnp.asarray(aim.x)[None], jnp.asarray(aim.goal)[None]
    wanted = jax.vmap(jax.grad(lambda at: loss(model, at, record, goal)))(params)
    width = high - low
    schedule = {round(share * spec.steps): 0.1 for share in DECAYS}
    adam = optax.adam(optax.piecewise_constant_schedule(spec.step, schedule))

    def objective(change: jax.Array) -> jax.Array:
        each = jax.vmap(lambda at, to: mismatch(model, at, x + change * width, y, to))
        return jnp.mean(each(params, wanted))

    def inside(change: jax.Array) -> jax.Array:
        change = jnp.clip(change, -spec.radius, spec.radius)
        return (jnp.clip(x + change * width, low, high) - x) / jnp.where(width > 0, width, 1.0)

    def step(_: int | jax.Array, state: tuple) -> tuple:
        change, memory = state
        updates, memory = adam.update(jnp.sign(jax.grad(objective)(change)), memory)
        return inside(change + updates), memory

    def attempt(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = inside(jax.random.uniform(key, x.shape, minval=-spec.radius, maxval=spec.radius))
        change, _ = jax.lax.fori_loop(0, spec.steps, step, (start, adam.init(start)))
        return change, objective(change)

    changes, left = jax.lax.map(attempt, jax.random.split(key, spec.restarts))
    return jnp.clip(x + changes[jnp.argmin(left)] * width, low, high)
