"""What every evasion attack shares: whom it attacks, on which points, towards which class, and in which order."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from privsec.core import axis
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.core.evidence import ANY, Perturbed
from privsec.core.target import Target, compiled
from privsec.ops.ascend import Norm
from privsec.ops.space import Space

CHUNK = 64
"""Points of one compiled call: activations of so many images stay in a core's cache; chunks run one per core."""


class Points(NamedTuple):
    """B points under attack: `x` [B, ...features] (clean, inside the box), `y` and `goal` int32 [B], `keys` [B].

    In a run each point's features lie in a row, [B, F], those of images too, and a target takes them as they are: on a
    CPU their arithmetic takes a tenth of the time, for XLA's innermost loop would be over the channels alone.

    Every point has a key of its own, so what is drawn for it does not hang on which others are in its batch.
    """

    x: jax.Array
    y: jax.Array
    goal: jax.Array
    keys: jax.Array

    def take(self, rows: np.ndarray) -> Points:
        """The points at `rows`."""
        return Points(*(part[rows] for part in self))


class Found(NamedTuple):
    """What an attack found for B points: `x` [B, ...], and what it took: `queries` and `gradients` float32 [B].

    `x` is inside the box, valid, and the clean record where no adversarial one was found. A forward pass counts as one
    query; a gradient counts as one gradient and no query.
    """

    x: Array
    queries: Array
    gradients: Array


class Evasion(Attack):
    """Base: changes the attacker's points, one by one, until the model takes them for something else.

    A file adds one Spec with `perturb` (or `assault`, for attacks whose order of work hangs on what was found).
    """

    family: ClassVar[Family] = "evasion"
    requires: ClassVar[frozenset[Part]] = frozenset({"points"})
    adapts: ClassVar[bool] = True
    """Whether knowing the model's defense changes what the attack does, which takes gradients."""
    bounded: ClassVar[bool] = True
    """Whether changes stay within the radius; else they are as small as the attack can make them, whatever that is."""

    norm: Norm = "linf"
    """What the size of a change is measured in."""
    radius: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """The largest change that counts, in units of the features (images: 0 to 1)."""
    goal: int | Literal["any", "next", "random"] = "any"
    """The class a point is to be taken for: any but its own, this one, the one after its own, or a random other one."""
    source: int | None = Field(default=None, ge=0)
    """Attacks only points of this class; all where absent. A point that has the goal's class is never attacked."""
    points: int | None = Field(default=None, ge=1)
    """Attacks only the first so many of the points; all where absent."""
    targets: int = Field(default=2, ge=1)
    """How many models of a stack are attacked, the first ones."""

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Perturbed:
        """Attacks every point on each of the first `targets` models.

        Where the model's defense has an adapted face (`Target.adapted`) and the attack follows gradients, it is run
        twice: knowing of the defense (`x`) and not (`naive`).

        Args:
            target: one model or a stack.
            knowledge: its points are changed; its box (or else the range of the points) bounds them.
            key: each target and each point gets a key derived from it.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there are no points, none of the `source` class, or the `goal` does not exist.
        """
        rows, points, space = self._setup(knowledge, key)
        given = self.prepared(target, knowledge, points, space, key)
        stack = jax.tree.map(lambda leaf: leaf[None], target) if target.size is None else target[: self.targets]
        found, naive = [], []
        for t in range(stack.size or 0):
            one = stack[t]
            own = points._replace(keys=jax.vmap(jax.random.fold_in, (0, None))(points.keys, t))
            hides = self.adapts and Access.GRADIENTS in self.needs and one.model.adapted is not None
            found.append(self.assault(one, own, space, *given))
            naive.append(self.assault(one.unaware, own, space, *given).x if hides else None)
        assert knowledge.points is not None
        shape = np.shape(knowledge.points.x)[1:]

        def pictured(each: list[Array]) -> np.ndarray:
            return np.stack([np.reshape(x, (-1, *shape)) for x in each])

        return Perturbed(
            x=pictured([f.x for f in found]),
            y=np.asarray(points.y),
            goal=np.asarray(points.goal),
            rows=rows,
            queries=np.stack([np.asarray(f.queries) for f in found]),
            gradients=np.stack([np.asarray(f.gradients) for f in found]),
            naive=None if naive[0] is None else pictured(naive),
        )

    def prepared(
        self, target: Target, knowledge: Knowledge, points: Points, space: Space, key: jax.Array
    ) -> tuple[jax.Array, ...]:
        """What is worked out once for all targets, without asking them: arrays [N, ...] that `perturb` is given too."""
        del target, knowledge, points, space, key
        return ()

    def assault(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        """`perturb` on all points: in chunks of one shape, one chunk per core; on the host where that is asked."""
        return over_chunks(self, target, points, space, *given)

    @abc.abstractmethod
    def perturb(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        """The attack on B points of one model; compiled with the model where that is written in JAX.

        Loops are `jax.lax`'s, and every point's result is what it would be alone. Success means `succeeds`, at a point
        that went through `space.valid`. Gradients are those of `target.adapted`, decisions those of `target`.
        """

    def _setup(self, knowledge: Knowledge, key: jax.Array) -> tuple[np.ndarray, Points, Space]:
        """Which points, what is known of them, and where they may go."""
        given = knowledge.points
        if given is None or not given.size:
            raise NotApplicable(
                f"{self.title} changes records and was given none: give Knowledge(points=Examples(...))"
            )
        classes = knowledge.num_classes
        if isinstance(self.goal, int) and not 0 <= self.goal < classes:
            raise NotApplicable(
                f"{self.title}: the goal is class {self.goal}, and there are the classes 0 to {classes - 1}"
            )
        y = np.asarray(given.y)
        keep = np.ones(len(y), bool) if self.source is None else y == self.source
        keep &= y != self.goal if isinstance(self.goal, int) else True
        rows = np.flatnonzero(keep)[: self.points]
        if not len(rows):
            of = "other than the goal's" if self.source is None else f"of class {self.source}"
            raise NotApplicable(
                f"{self.title}: none of the {len(y)} points is {of}. Give more points, or attack others."
            )
        x, y = jnp.asarray(given.x, jnp.float32)[rows], jnp.asarray(y[rows], jnp.int32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(rows))
        ends = knowledge.box if knowledge.box is not None else (x.min(axis=0), x.max(axis=0))
        low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), x.shape[1:]).ravel() for end in ends)
        space = Space(low, high, knowledge.constraints)
        x = space.inside(x.reshape(len(rows), -1))
        return rows.astype(np.int32), Points(x, y, self._goals(y, classes, keys), keys), space

    def _goals(self, y: jax.Array, classes: int, keys: jax.Array) -> jax.Array:
        if self.goal == "any":
            return jnp.full(y.shape, ANY, jnp.int32)
        if self.goal == "next":
            return (y + 1) % classes
        if self.goal == "random":
            draw = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 1, max(classes, 2)))
            return (y + draw(keys)) % classes
        return jnp.full(y.shape, self.goal, jnp.int32)


def over_chunks(
    attack: Evasion,
    target: Target,
    points: Points,
    space: Space,
    *given: Any,
    program: Callable[..., Any] | None = None,
    size: int = CHUNK,
    among: np.ndarray | None = None,
) -> Any:
    """`attack.perturb` on any number of points of one model, in chunks of one shape, one chunk per core.

    Args:
        attack: whose `perturb`.
        target: one model.
        points: N of them.
        space: where they may go.
        given: pytrees of arrays [N, ...] that the program is given too.
        program: (target, attack, points, space, *given) -> a pytree of arrays [N, ...], in place of `perturb`.
        size: points of a chunk; fewer points than that are a chunk of their own shape, except for `program`.
        among: int [A], which of the points; all where None.

    Returns:
        As `program`, or `perturb`: leaves [A, ...].
    """
    among = np.arange(len(points.y)) if among is None else among
    # Rows of NumPy's arrays are taken at once, those of JAX's one operation after the other.
    host = jax.tree.map(np.asarray, points._replace(keys=jax.random.key_data(points.keys)))
    made = functools.partial(jax.random.wrap_key_data, impl=jax.random.key_impl(points.keys))
    count, call = len(among), _perturbed if program is None else program
    size = min(size, count) if program is None else size
    starts = range(0, count, size)

    def of_chunk(i: int) -> Any:
        rows = among[target.rows_of_chunk(starts[i], size, count)]
        mine = host.take(rows)
        mine = mine._replace(keys=made(mine.keys))
        own = jax.tree.map(lambda part: part[rows], given)
        if not target.traceable:  # what is compiled takes NumPy's arrays as they are
            mine, own = jax.tree.map(jnp.asarray, (mine, own))
        return jax.device_get(call(target, attack, mine, space, *own))

    parts = (
        dict(axis.over_models(of_chunk, range(len(starts))))
        if target.traceable
        else {i: of_chunk(i) for i in range(len(starts))}
    )
    return jax.tree.map(lambda *each: np.concatenate(each)[:count], *(parts[i] for i in sorted(parts)))


@functools.partial(compiled, static=("attack",))
def _perturbed(target: Target, attack: Evasion, points: Points, space: Space, *given: jax.Array) -> Found:
    return attack.perturb(target, points, space, *given)


def succeeds(target: Target, x: jax.Array, points: Points, keys: jax.Array | None = None) -> jax.Array:
    """Bool [B]: the model's label is the goal, or for any goal neither the point's class nor "refused"."""
    return wins(target.labels(x, keys), points, target)


def wins(labels: jax.Array, points: Points, target: Target) -> jax.Array:
    """Bool [B]: whether these answers are what the attacker wants."""
    refused = labels == (target.model.num_classes - 1 if target.model.rejects else ANY)
    return jnp.where(points.goal == ANY, (labels != points.y) & ~refused, labels == points.goal)
