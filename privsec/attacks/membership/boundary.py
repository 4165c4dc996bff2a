"""The label-only attack: members lie farther from the decision boundary.

References:
    Choquette-Choo et al. 2021, "Label-only membership inference attacks", arXiv 2007.14321.
    Chen, Jordan, Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", arXiv 1904.02144.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.core import axis, keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target, compiled

BLOCK = 25
"""Directions asked about in one forward pass; bounds the memory."""
HALVINGS = 10
"""How often a step is halved in search of an adversarial point before it is given up."""


class Boundary(Attack):
    """The L2 distance to the decision boundary, from predicted labels alone; a misclassified record has distance 0.

    Records that the model labels otherwise serve as starting points, nearest first, and cost no further query.
    """

    name: Literal["boundary"] = "boundary"
    records: int = Field(default=256, ge=2)
    """Candidates attacked, drawn at random; the others get no score."""
    queries: int = Field(default=1000, ge=50)
    """The most queries spent on one candidate."""
    directions: int = Field(default=50, ge=BLOCK)
    """Random directions of the first gradient estimate; the t-th takes sqrt(t) times as many."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.LABELS
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates"})
    paper: ClassVar[str] = "Choquette-Choo et al. 2021, arXiv 2007.14321; Chen et al. 2020, arXiv 1904.02144"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        if knowledge.box is None:
            raise NotApplicable("the box of feature values is not known, and the attack walks inside it")
        candidates = shadows.candidates_of(knowledge)
        draw = keys.generator(keys.derive(key, "records"))
        rows = np.sort(draw.choice(candidates.size, min(self.records, candidates.size), replace=False))
        x, y = jnp.asarray(candidates.x)[rows], jnp.asarray(candidates.y)[rows]
        low, high = (jnp.broadcast_to(jnp.asarray(side, x.dtype), x.shape[1:]) for side in knowledge.box)
        plan = plan_of(self.queries, self.directions, math.prod(x.shape[1:]))

        def attack(t: int) -> Found:
            one = target if target.size is None else target[t]
            return jax.device_get(distances(one, x, y, low, high, keys.derive(key, "target", t), plan))

        targets = target.size or 1
        found = dict(axis.over_models(attack, range(targets)))
        scores = np.full((targets, candidates.size), np.nan)
        for t, of_target in found.items():
            scores[t, rows] = of_target.distance
        return MembershipScores(scores, float(np.mean([of_target.queries for of_target in found.values()])))


class Plan(NamedTuple):
    """How a budget is spent: `blocks[t]` blocks of directions in iteration t, `bisections` in each line search."""

    blocks: tuple[int, ...]
    bisections: int


class Found(NamedTuple):
    """For each of R records the distance to the boundary and the queries spent."""

    distance: Float[Array, " R"]
    queries: Int[Array, " R"]


def plan_of(queries: int, directions: int, features: int) -> Plan:
    """As many iterations as `queries` pay for in the worst case.

    >>> plan_of(queries=500, directions=50, features=64)
    Plan(blocks=(2, 3, 4, 4), bisections=9)
    """
    bisections = min(max(math.ceil(1.5 * math.log2(features)), 8), 24)  # down to d^(-3/2) of the segment
    spent, blocks = 1 + bisections, []
    while True:
        count = math.ceil(directions * math.sqrt(len(blocks) + 1) / BLOCK)
        spent += count * BLOCK + HALVINGS + bisections
        if spent > queries:
            return Plan(tuple(blocks), bisections)
        blocks.append(count)


@functools.partial(compiled, static=("plan",))
def distances(
    target: Target,
    x: Float[jax.Array, " R *features"],
    y: Int[jax.Array, " R"],
    low: Float[jax.Array, " *features"],
    high: Float[jax.Array, " *features"],
    key: jax.Array,
    plan: Plan,
) -> Found:
    """HopSkipJump (L2) for R records of one target at once.

    Args:
        target: one model that answers labels.
        x: the records.
        y: their own labels.
        low: smallest value of each feature.
        high: largest value.
        key: for the directions.
        plan: the budget (static).

    Returns:
        Distances, 0 where the model is wrong, the box's diagonal where no record is labelled otherwise, and
        the exact number of queries.
    """
    shape, count = x.shape[1:], len(x)
    x, low, high = jnp.reshape(x, (count, -1)), jnp.ravel(low), jnp.ravel(high)
    features = x.shape[1]

    def wrong(points: Float[jax.Array, " R *block D"]) -> Bool[jax.Array, " R *block"]:
        """Which of the points, one or several a record, the target labels otherwise than the record."""
        labels = target.labels(points.reshape(-1, *shape)).reshape(points.shape[:-1])
        return labels != y.reshape(-1, *[1] * (points.ndim - 2))

    def to_boundary(point: Float[jax.Array, "R D"]) -> Float[jax.Array, "R D"]:
        """The wrong end of the last bracket, between x and a wrong `point`."""

        def halve(_: jax.Array | int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            right, left = bracket
            middle = 0.5 * (right + left)
            beyond = wrong(x + middle[:, None] * (point - x))
            return jnp.where(beyond, middle, right), jnp.where(beyond, left, middle)

        share, _ = jax.lax.fori_loop(0, plan.bisections, halve, (jnp.ones(count), jnp.zeros(count)))
        return x + share[:, None] * (point - x)

    def gradient(
        at: Float[jax.Array, "R D"], radius: Float[jax.Array, " R"], blocks: Int[jax.Array, ""], key: jax.Array
    ) -> Float[jax.Array, "R D"]:
        """Unit vectors toward the wrong side: the mean of (phi - mean phi) u over random directions u."""

        def ask(block: jax.Array | int, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            # All records share the directions: each estimate is as good, and drawing them would cost more than asking.
            u = jax.random.normal(jax.random.fold_in(key, block), (BLOCK, features))
            u = u / jnp.linalg.norm(u, axis=-1, keepdims=True)
            points = jnp.clip(at[:, None] + radius[:, None, None] * u, low, high)
            u = (points - at[:, None]) / jnp.maximum(radius, 1e-12)[:, None, None]
            phi = jnp.where(wrong(points), 1.0, -1.0)
            return sums[0] + jnp.einsum("rb,rbd->rd", phi, u), sums[1] + u.sum(1), sums[2] + phi.sum(1)

        zero = jnp.zeros((count, features))
        signed, plain, phi = jax.lax.fori_loop(0, blocks, ask, (zero, zero, jnp.zeros(count)))
        mean = (phi / (blocks * BLOCK))[:, None]
        toward = jnp.where(jnp.abs(mean) == 1.0, signed, signed - mean * plain)  # one-sided: only the sum tells
        return toward / jnp.maximum(jnp.linalg.norm(toward, axis=-1, keepdims=True), 1e-12)

    def jump(
        at: Float[jax.Array, "R D"], toward: Float[jax.Array, "R D"], step: Float[jax.Array, " R"]
    ) -> tuple[Float[jax.Array, "R D"], Int[jax.Array, " R"]]:
        """A wrong point at `step` from `at`, halved where needed (else `at` itself), and the queries spent."""

        def attempt(_: jax.Array | int, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            point, step, searching, spent = state
            trial = jnp.clip(at + step[:, None] * toward, low, high)
            landed = wrong(trial) & searching
            return jnp.where(landed[:, None], trial, point), step / 2, searching & ~landed, spent + searching

        state = (at, step, jnp.ones(count, bool), jnp.zeros(count, jnp.int32))
        point, _, _, spent = jax.lax.fori_loop(0, HALVINGS, attempt, state)
        return point, spent

    def iterate(state: tuple[jax.Array, ...], planned: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, ...], None]:
        at, best, spent = state
        t, blocks = planned
        distance = jnp.linalg.norm(at - x, axis=-1)
        radius = jnp.where(t == 1, 0.1 * jnp.max(high - low), distance / features)
        toward = gradient(at, radius, blocks, jax.random.fold_in(key, t))
        point, tried = jump(at, toward, distance / jnp.sqrt(t))
        at = to_boundary(point)
        best = jnp.minimum(best, jnp.linalg.norm(at - x, axis=-1))
        return (at, best, spent + blocks * BLOCK + tried + plan.bisections), None

    predicted = target.labels(x.reshape(-1, *shape))
    starts = predicted[None, :] != y[:, None]
    gaps = jnp.sum(x**2, 1)[:, None] + jnp.sum(x**2, 1)[None, :] - 2 * x @ x.T
    at = to_boundary(x[jnp.argmin(jnp.where(starts, gaps, jnp.inf), axis=1)])
    state = (at, jnp.linalg.norm(at - x, axis=-1), jnp.full(count, 1 + plan.bisections, jnp.int32))
    planned = (jnp.arange(1, len(plan.blocks) + 1), jnp.array(plan.blocks, jnp.int32))
    (_, best, spent), _ = jax.lax.scan(iterate, state, planned)
    right, startable = predicted == y, starts.any(axis=1)
    best = jnp.where(startable, best, jnp.linalg.norm(high - low))
    return Found(jnp.where(right, best, 0.0), jnp.where(right & startable, spent, 1))
