"""What attacks on labels alone share: how to ask, a successful record to start from, and the way to the boundary.

Every one of B points asks about Q candidates at once: arrays [B, Q, ...features], one forward pass of B * Q records.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Key
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Points, wins
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.evidence import ANY
from privsec.core.target import Target
from privsec.ops.ascend import Norm
from privsec.ops.space import Space, distance

NOISES, RECORDS = 10, 10
"""How many random records, and how many of the attacker's own, are tried as a start, in this order."""
STOCK = 1000
"""How many of the attacker's own records are considered at all."""

SLICE = 32
"""Records of one forward pass on a CPU: few enough for a core's cache, enough to be rounded as in any larger batch."""


class DecisionAttack(Evasion):
    """Base of attacks that see labels only: they walk from a successful record towards the clean one.

    What comes back is the nearest adversarial record found within the queries, however far that is.
    """

    needs: ClassVar[Access] = Access.LABELS
    adapts: ClassVar[bool] = False
    bounded: ClassVar[bool] = False

    norm: Norm = "l2"
    """What the size of a change is measured in."""
    radius: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """The largest change that counts, in units of the features (images: 0 to 1)."""
    queries: int = Field(default=1000, ge=100)
    """The most queries spent on one point."""

    def prepared(
        self, target: Target, knowledge: Knowledge, points: Points, space: Space, key: jax.Array
    ) -> tuple[jax.Array, ...]:
        """Records to start from where no noise will do: `starts` [N, S, ...], `fits` bool [N, S].

        Those of the attacker's points that are nearest to each, of the goal's class, or of any but its own.
        """
        del target, key
        assert knowledge.points is not None
        labels, y, goal = (np.asarray(part) for part in (knowledge.points.y, points.y, points.goal))
        kept = np.flatnonzero(labels == self.goal if isinstance(self.goal, int) else labels >= 0)[:STOCK]
        records = jnp.asarray(knowledge.points.x, jnp.float32)[kept].reshape(len(kept), *points.x.shape[1:])
        records = np.asarray(space.inside(records))
        flat, own = records.reshape(len(kept), -1), np.asarray(points.x).reshape(len(y), -1)
        fits = np.where(goal[:, None] == ANY, labels[kept] != y[:, None], labels[kept] == goal[:, None])
        gaps = np.where(fits, np.sum(flat**2, axis=1) - 2 * own @ flat.T, np.inf)
        nearest = np.argsort(gaps, axis=1, kind="stable")[:, :RECORDS]
        return jnp.asarray(records[nearest]), jnp.asarray(np.take_along_axis(fits, nearest, axis=1))


class Start(NamedTuple):
    """Where the walks of B points begin.

    Attributes:
        x: a successful record, the clean one where none was found.
        walks: whether there is a way to go: a start was found, and the clean record is not itself a success.
        queries: spent so far, the clean record's among them.
    """

    x: Float[jax.Array, " B *features"]
    walks: Bool[jax.Array, " B"]
    queries: Float[jax.Array, " B"]


def modelless(function: Callable, *, static: tuple[str, ...] = ()) -> Callable:
    """`function`, pure and asking no model, compiled even where the attack round it runs as it stands."""
    jitted = jax.jit(function, static_argnames=static)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with jax.disable_jit(False):
            return jitted(*args)

    return call


def each(values: jax.Array, like: jax.Array) -> jax.Array:
    """`values` with axes of size 1 behind its own, so that it broadcasts against `like`."""
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))


class Ask(NamedTuple):
    """How candidates for `points` are asked about: as the valid records nearest to them.

    Outside of JAX, where a query costs, no more is asked than what is `asked`; in JAX a mask is cheaper.
    """

    target: Target
    points: Points
    space: Space

    def __call__(self, candidates: jax.Array, asked: jax.Array) -> jax.Array:
        """Which of the candidates [B, Q, ...] that are `asked` about, bool [B, Q], succeed: bool [B, Q]."""
        count, many = asked.shape
        records = candidates.reshape(count * many, *candidates.shape[2:])
        if self.space.constraints is not None:
            records = self.space.valid(records, jnp.repeat(self.points.x, many, axis=0))
        if self.target.traceable:
            labels = self._labels(records)
        else:
            rows = np.flatnonzero(np.asarray(asked))
            labels = np.zeros(count * many, np.int32)
            labels[rows] = self.target.labels(np.asarray(records)[rows]) if len(rows) else 0
        aims = self.points._replace(y=self.points.y[:, None], goal=self.points.goal[:, None])
        return wins(jnp.asarray(labels).reshape(count, many), aims, self.target) & asked

    @property
    def in_slices(self) -> bool:
        """Whether a few records at a time are answered fastest: compiled for a CPU."""
        return self.target.traceable and jax.default_backend() == "cpu"

    def for_points(self, function: Callable[..., Any], *arrays: jax.Array) -> Any:
        """`function(ask, *arrays)`, with arrays [B, ...], for all points at once, or each alone where that is faster.

        What it returns has a leading [B], too.
        """
        if not self.in_slices:
            return function(self, *arrays)

        def alone(one: tuple[Points, tuple[jax.Array, ...]]) -> Any:
            points, parts = jax.tree.map(lambda leaf: leaf[None], one)
            return jax.tree.map(lambda leaf: leaf[0], function(self._replace(points=points), *parts))

        return jax.lax.map(alone, (self.points, arrays))

    def _labels(self, records: jax.Array) -> jax.Array:
        count = len(records)
        if not self.in_slices or count <= SLICE:
            return self.target.labels(records)
        rows = jnp.minimum(jnp.arange(-(-count // SLICE) * SLICE), count - 1).reshape(-1, SLICE)
        return jax.lax.map(lambda some: self.target.labels(records[some]), rows).reshape(-1)[:count]


@modelless
def streams(keys: Key[jax.Array, " B"]) -> tuple[Key[jax.Array, " B"], Key[jax.Array, " B"]]:
    """Two keys from each: for the start, and for the walk."""
    starting, walking = jax.vmap(jax.random.split, out_axes=1)(keys)
    return starting, walking


def start(ask: Ask, points: Points, space: Space, keys: Key[jax.Array, " B"], *given: jax.Array) -> Start:
    """A successful record for each point: random noise inside the box, or else one of those `given`.

    Noise is tried where any wrong class will do. What is given is what `DecisionAttack.prepared` returned.
    """

    def attempts(
        count: int, candidate: Callable[[jax.Array | int], tuple[jax.Array, jax.Array]], state: tuple
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        def attempt(state: tuple) -> tuple:
            k, (at, found, spent) = state
            trial, worth = candidate(k)
            asked = worth & ~found
            won = ask(trial[:, None], asked[:, None])[:, 0]
            return k + 1, (jnp.where(each(won, at), trial, at), found | won, spent + asked)

        def searching(state: tuple) -> jax.Array:
            k, (_, found, _) = state
            return (k < count) & ~jnp.all(found)

        return jax.lax.while_loop(searching, attempt, (jnp.int32(0), state))[1]

    count = len(points.y)
    fooled = ask(points.x[:, None], jnp.ones((count, 1), bool))[:, 0]
    anything = points.goal == ANY
    state = (points.x, fooled, jnp.ones(count))
    state = attempts(NOISES, lambda k: (_noise(space, points.x, keys, k), anything), state)
    if given:
        starts, fits = given
        state = attempts(starts.shape[1], lambda k: (starts[:, k], fits[:, k]), state)
    at, found, spent = state
    return Start(at, found & ~fooled, spent)


@modelless
def _noise(space: Space, like: jax.Array, keys: jax.Array, k: jax.Array | int) -> jax.Array:
    """A random record for each key, uniform in the box."""
    draw = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, k), like.shape[1:]))
    return jnp.asarray(space.low) + (space.high - space.low) * draw(keys)


def to_boundary(
    ask: Ask,
    x: Float[jax.Array, " B *features"],
    far: Float[jax.Array, " B *features"],
    norm: Norm,
    halvings: int,
    asked: Bool[jax.Array, " B"],
) -> Float[jax.Array, " B *features"]:
    """The successful end of the last bracket between `x` and the successful `far`, after so many halvings.

    The way goes along the line for L2, and over the points of the cube round `x` nearest to `far` for linf.
    """

    def halve(_: jax.Array | int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        outer, inner = bracket
        middle = 0.5 * (outer + inner)
        beyond = ask(_on_the_way(x, far, middle, norm)[:, None], asked[:, None])[:, 0]
        return jnp.where(beyond, middle, outer), jnp.where(beyond, inner, middle)

    share, _ = jax.lax.fori_loop(0, halvings, halve, (jnp.ones(len(x)), jnp.zeros(len(x))))
    return jnp.where(each(asked, x), _on_the_way(x, far, share, norm), far)


@functools.partial(modelless, static=("norm",))
def _on_the_way(x: jax.Array, far: jax.Array, share: jax.Array, norm: Norm) -> jax.Array:
    delta = far - x
    if norm == "l2":
        return x + each(share, x) * delta
    limit = each(share * distance(far, x, norm), x)
    return x + jnp.clip(delta, -limit, limit)


@functools.partial(modelless, static=("norm",))
def nearer(
    at: Float[jax.Array, " B *features"],
    best: Float[jax.Array, " B *features"],
    x: Float[jax.Array, " B *features"],
    space: Space,
    norm: Norm,
) -> Float[jax.Array, " B *features"]:
    """For each point, `best` or the valid record that `at` stands for, whichever is nearer to `x`."""
    at = space.valid(at, x)
    return jnp.where(each(distance(at, x, norm) < distance(best, x, norm), x), at, best)
