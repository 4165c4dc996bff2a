"""The boundary attack: a random walk along the decision boundary, ever nearer to the clean record.

References: Brendel, Rauber & Bethge 2018, "Decision-based adversarial attacks", ICLR, https://arxiv.org/abs/1712.04248.
"""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Key
from pydantic import Field

from privsec.attacks.evasion import decisions
from privsec.attacks.evasion.base import Found, Points
from privsec.attacks.evasion.decisions import each, nearer
from privsec.core.target import Target
from privsec.ops.ascend import steepest
from privsec.ops.space import Space, distance

HALVINGS = 12
"""Steps of the line search from the starting record to the boundary."""
ON_SPHERE, NEARER = 0.5, 0.25
"""The shares of successes that the two step sizes are steered to."""
RATE = 0.3
"""How strongly one answer moves the logarithm of a step size."""


class BoundaryAttack(decisions.DecisionAttack):
    """Walks along the decision boundary at random, from labels alone: a step to the side, then one towards the record.

    At distance r from the clean record x: a random step of length `a r` on the sphere of radius r round x, and where
    that succeeds a step of length `b r` towards x, taken where that succeeds as well. Both sizes adapt to each point:
    `log a` grows by `RATE (success - 1/2)` with each answer, `log b` by `RATE (success - 1/4)`, so that half of the
    first and a quarter of the second succeed.

    References: Brendel et al. 2018, arXiv 1712.04248, section 2.
    """

    name: Literal["boundary_attack"] = "boundary_attack"
    paper: ClassVar[str] = "Brendel, Rauber & Bethge 2018, https://arxiv.org/abs/1712.04248"

    norm: Literal["l2"] = "l2"
    """What the size of a change is measured in; the walk is on spheres."""
    queries: int = Field(default=5000, ge=100)
    """The most queries spent on one point."""
    side_step: float = Field(default=0.1, gt=0, lt=1)
    """First length of a step to the side, as a share of the distance."""
    near_step: float = Field(default=0.1, gt=0, lt=1)
    """First length of a step towards the clean record, as a share of the distance."""

    def perturb(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        ask, x = decisions.Ask(target, points, space), points.x
        starting, walking = decisions.streams(points.keys)
        begun = decisions.start(ask, points, space, starting, *given)
        at = decisions.to_boundary(ask, x, begun.x, "l2", HALVINGS, begun.walks)
        spent = begun.queries + HALVINGS * begun.walks

        def affords(spent: jax.Array) -> jax.Array:
            return begun.walks & (spent + 2 <= self.queries)

        def unfinished(state: tuple) -> jax.Array:
            return jnp.any(affords(state[-1]))

        def iterate(state: tuple) -> tuple:
            t, at, best, side, near, spent = state
            active, beside = affords(spent), space.inside(on_sphere(at, x, side, walking, t))
            kept = ask(beside[:, None], active[:, None])[:, 0]
            closer = beside + each(near, x) * (x - beside)
            moved = ask(closer[:, None], kept[:, None])[:, 0]
            side = jnp.where(active, adapted(side, kept, ON_SPHERE), side)
            near = jnp.where(kept, adapted(near, moved, NEARER), near)
            at = jnp.where(each(moved, x), closer, at)
            return t + 1, at, nearer(at, best, x, space, "l2"), side, near, spent + active + kept

        best = nearer(at, space.valid(begun.x, x), x, space, "l2")
        side, near = (jnp.full(len(x), size) for size in (self.side_step, self.near_step))
        _, _, best, _, _, spent = jax.lax.while_loop(unfinished, iterate, (jnp.int32(0), at, best, side, near, spent))
        return Found(jnp.where(each(begun.walks, x), best, x), spent, jnp.zeros(len(x)))


@functools.partial(decisions.modelless, static=("wanted",))
def adapted(size: Float[jax.Array, " B"], success: jax.Array, wanted: float) -> Float[jax.Array, " B"]:
    """A step size after one more answer: larger after a success, smaller after a failure, at rest at `wanted`."""
    return jnp.clip(size * jnp.exp(RATE * (success - wanted)), 1e-6, 0.99)


@decisions.modelless
def on_sphere(
    at: Float[jax.Array, " B *features"],
    x: Float[jax.Array, " B *features"],
    side: Float[jax.Array, " B"],
    keys: Key[jax.Array, " B"],
    t: Int[jax.Array, ""],
) -> Float[jax.Array, " B *features"]:
    """A random point beside `at`, as far from `x` as that is: a step of `side` distances at right angles, put back."""
    unit, away = steepest(at - x, "l2"), distance(at, x, "l2")
    noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, t), at.shape[1:]))(keys)
    noise -= each(jnp.sum((noise * unit).reshape(len(at), -1), axis=1), noise) * unit
    beside = unit + each(side, noise) * steepest(noise, "l2")
    return x + each(away / jnp.sqrt(1 + side**2), beside) * beside
