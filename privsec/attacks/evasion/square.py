"""Square Attack: random search over squares, from scores alone.

Reference: Andriushchenko, Croce, Flammarion & Hein 2020, "Square Attack: a query-efficient black-box adversarial attack
via random search", ECCV, arXiv 1912.00049.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Key
from pydantic import Field

from privsec.attacks.evasion.base import Points, wins
from privsec.attacks.evasion.best import Best, offer, untouched
from privsec.attacks.evasion.component import Component
from privsec.attacks.evasion.gradients import step_keys
from privsec.attacks.evasion.stages import Staged
from privsec.core.access import Access
from privsec.core.target import Target
from privsec.ops.ascend import Norm
from privsec.ops.margins import aimed, margin, refusal_as_true
from privsec.ops.space import Space

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10,000, after which the changed share of the record is halved."""
SMALL = 1e-12
CANCELED = 1e-5
"""A sum of two unit vectors below this length is rounding: they are opposite."""


class Square(Component, Staged):
    """Random squares of the record are set to the edge of the ball, and kept where the margin falls: no gradient.

    `x' = P(x + d)`, d = +-radius on a square of side `round(sqrt(p H W))` for each channel, kept if
    `max_{i != y} z_i - z_y` rises; for L2, energy is moved from one window to another.

    A record that is no picture has no squares: there a random share p of its features is drawn, each with a sign of its
    own. Unlike in the authors' program a square may touch the last row and column. On a model that answers at random
    the search ends at the first wrong answer, which fresh ones then have to confirm.

    References: Andriushchenko et al. 2020, arXiv 1912.00049.
    """

    name: Literal["square"] = "square"
    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Andriushchenko, Croce, Flammarion & Hein 2020, arXiv 1912.00049"

    queries: int = Field(default=5000, ge=1)
    """Proposals, a query each; three more are spent on the clean record, the start and the end."""
    share: float = Field(default=0.8, gt=0, le=1)
    """The share p of the record that the first squares cover."""
    rescale: bool = False
    """Stretches the schedule of p, written for 10,000 queries, to `queries`; AutoAttack does not."""

    def improved(self, best: Best, target: Target, points: Points, space: Space) -> Best:
        return self.go_on(best, self._start(best, target, points, space), target, points, space, 0, self.length)[0]

    @property
    def length(self) -> int:
        return self.queries + 1

    def begin(self, target: Target, points: Points, space: Space) -> tuple[Best, _Search]:
        best = untouched(self, target, points, space)
        return best, self._start(best, target, points, space)

    def done(self, best: Best, now: _Search) -> jax.Array:
        del best  # on a model that answers at random it may not be settled
        return now.done

    def _start(self, best: Best, target: Target, points: Points, space: Space) -> _Search:
        keys, clean, norm = step_keys(points, 2 * self.queries + 3), points.x, self.norm
        change = self.radius * jax.vmap(lambda key: first_change(key, target.model.shape, norm))(keys)
        start = space.within(clean + change.reshape(clean.shape), clean, self.radius, norm)
        none = jnp.zeros_like(best.share)
        return _Search(start, jnp.full_like(none, -jnp.inf), best.settled, none)

    def go_on(
        self,
        best: Best,
        now: _Search,
        target: Target,
        points: Points,
        space: Space,
        first: int | jax.Array,
        last: int | jax.Array,
    ) -> tuple[Best, _Search]:
        """Who is done then, or has made all proposals, is offered to `best`."""
        norm, radius, clean, shape = self.norm, self.radius, points.x, target.model.shape
        sides = jnp.asarray([1, *side_schedule(shape, self.queries, self.share, self.rescale, norm)])

        def ask(x: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
            """How near the possible record next to each x comes to what is wanted, and whether it is that."""
            z = target.log_scores(space.reachable(x, clean, radius, norm), keys)
            passed = refusal_as_true(z, points.y) if target.model.rejects else z
            return aimed(margin, passed, points.y, points.goal), wins(jnp.argmax(z, axis=1), points, target)

        def unfinished(state: tuple[jax.Array, _Search]) -> jax.Array:
            step, now = state
            return (step < last) & ~jnp.all(now.done)

        def advance(state: tuple[jax.Array, _Search]) -> tuple[jax.Array, _Search]:
            step, (at, height, done, asked) = state
            side, keys, fresh = sides[step], step_keys(points, 2 * step), step_keys(points, 2 * step + 1)
            if norm == "linf":
                signs = jax.vmap(lambda key: square(key, side, shape))(keys).reshape(clean.shape)
                x = jnp.where(signs != 0, clean + radius * signs, at)
            else:
                change = (at - clean).reshape(-1, *shape)
                change = jax.vmap(lambda key, change: energy_moved(key, change, side, radius))(keys, change)
                x = clean + change.reshape(clean.shape)
            x = jnp.where(step == 0, at, space.within(x, clean, radius, norm))
            new_height, won = ask(x, fresh)
            better = ~done & ((new_height > height) | won)
            at = jnp.where(better.reshape(-1, *[1] * (clean.ndim - 1)), x, at)
            return step + 1, _Search(at, jnp.where(better, new_height, height), done | won, asked + ~done)

        _, now = jax.lax.while_loop(unfinished, advance, (jnp.asarray(first), now))
        active = (now.done | (last > self.queries)) & ~best.settled
        best = best._replace(queries=best.queries + jnp.where(active, now.asked, 0))
        keys = step_keys(points, 2 * self.queries + 2)
        return offer(best, target, points, space, now.at, keys, norm, radius=radius, active=active)[0], now


class _Search(NamedTuple):
    """Where the searches for B points stand.

    Attributes:
        at: the best record so far, [B, ...].
        height: how near it comes to what is wanted.
        done: whether a record won, or none is looked for.
        asked: queries, not yet charged.
    """

    at: jax.Array
    height: jax.Array
    done: jax.Array
    asked: jax.Array


def side_schedule(shape: tuple[int, ...], queries: int, share: float, rescale: bool, norm: Norm) -> np.ndarray:
    """The side of the square at each query, int [queries]; of a flat record, how many features are drawn.

    >>> side_schedule((28, 28, 1), 10000, 0.8, False, "linf")[[0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]]
    array([25, 18, 13,  9,  6,  4,  3,  2,  2,  1])
    """
    query = np.arange(queries)
    query = query * 10000 // queries if rescale else query
    share_left = share / 2.0 ** np.searchsorted(HALVINGS, query)
    if len(shape) != 3:
        return np.clip(np.round(share_left * np.prod(shape)), 1, None).astype(int)
    side = np.round(np.sqrt(share_left * shape[0] * shape[1])).astype(int)
    if norm == "linf":
        return np.clip(side, 1, min(shape[:2]))
    return np.minimum(np.maximum(side, 3) | 1, min(shape[:2]))  # odd, so that a window has a center


def square(key: Key[jax.Array, ""], side: int | Int[jax.Array, ""], shape: tuple[int, ...]) -> Float[jax.Array, ...]:
    """+-1 on a square anywhere in the picture, one sign a channel, 0 elsewhere; flat: on random features."""
    place, sign = jax.random.split(key)
    if len(shape) != 3:
        return _subset(place, side, shape) * jax.random.rademacher(sign, shape, jnp.float32)
    i, j = _corner(place, side, shape)
    inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
    return inside[..., None] * jax.random.rademacher(sign, (shape[2],), jnp.float32)


def energy_moved(
    key: Key[jax.Array, ""],
    change: Float[jax.Array, "*features"],
    side: int | Int[jax.Array, ""],
    radius: float,
) -> Float[jax.Array, "*features"]:
    """A change of L2 size `radius`: what one window held is spent on another, on what that held plus a new bump.

    Window 2 is emptied. Window 1 gets direction `old / |old| +- bump` (`+- bump` where the two cancel out) and, in each
    channel, the energy of both windows and an equal share of what was missing to the radius.
    """
    shape = change.shape
    first, second, sign = jax.random.split(key, 3)
    fresh = _window(first, side, shape)
    into, out_of = fresh != 0, _window(second, side, shape) != 0
    channels = shape[2] if len(shape) == 3 else 1
    delta, fresh, into, out_of = (part.reshape(-1, channels) for part in (change, fresh, into, out_of))
    fresh *= jax.random.rademacher(sign, (channels,), jnp.float32)
    both = _unit(jnp.where(into, delta, 0.0), 0) + fresh
    direction = _unit(jnp.where(jnp.linalg.norm(both, axis=0) > CANCELED, both, fresh), 0)
    missing = jnp.maximum(radius**2 - jnp.sum(delta**2), 0.0) / channels
    energy = missing + jnp.sum(jnp.where(into | out_of, delta, 0.0) ** 2, axis=0)
    delta = jnp.where(into, direction * jnp.sqrt(energy), jnp.where(out_of, 0.0, delta))
    return radius * _unit(delta, None).reshape(shape)


def first_change(key: Key[jax.Array, ""], shape: tuple[int, ...], norm: Norm) -> Float[jax.Array, ...]:
    """Where the search starts, of size 1: vertical stripes of random sign; for L2 five by five bumps; flat: signs."""
    if len(shape) != 3:
        signs = jax.random.rademacher(key, shape, jnp.float32)
        return signs if norm == "linf" else _unit(signs, None)
    height, width, channels = shape
    if norm == "linf":
        stripes = jax.random.rademacher(key, (1, width, channels), jnp.float32)
        return jnp.broadcast_to(stripes, shape)
    side = max(min(height, width) // 5, 1)
    i, j = (np.arange(length) - max(length - 5 * side, 0) // 2 for length in (height, width))
    rows, columns = i[:, None] // side + 1, j // side + 1  # the border, which no whole tile covers, is tile 0
    turn, sign = jax.random.split(key)
    tiles = (int(rows.max()) + 1, int(columns.max()) + 1)
    turned = jax.random.bernoulli(turn, shape=tiles)[rows, columns]
    signs = jax.random.rademacher(sign, (*tiles, channels), jnp.float32)[rows, columns]
    one = _bump(np.arange(side)[:, None], np.arange(side)[None], side)[i[:, None] % side, j % side]
    other = _bump(np.arange(side)[:, None], np.arange(side)[None], side).T[i[:, None] % side, j % side]
    return _unit(jnp.where(turned, other, one)[..., None] * signs, None)


def _window(key: jax.Array, side: int | jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A bump of unit size in each channel on a random square, 0 elsewhere; flat: random signs on random features."""
    place, turn = jax.random.split(key)
    if len(shape) != 3:
        return _unit(_subset(place, side, shape) * jax.random.rademacher(turn, shape, jnp.float32), None)
    i, j = _corner(place, side, shape)
    turned = jax.random.bernoulli(turn)
    bump = _bump(jnp.where(turned, j, i), jnp.where(turned, i, j), side)
    return jnp.broadcast_to(bump[..., None], shape)


def _bump(i: jax.Array | np.ndarray, j: jax.Array | np.ndarray, side: int | jax.Array) -> jax.Array:
    """Two pyramids of opposite sign, the upper and the lower half of a square; of unit size, above 0 then below.

    At distance m (the larger coordinate's) from its half's center each is the sum of 1 / (k + 1)^2 from k = m on.
    """
    half = side // 2
    inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
    upper = i < half
    center = jnp.where(upper, half // 2, half + (side - half) // 2)
    away = jnp.maximum(jnp.abs(i - center), jnp.abs(j - side // 2))
    heights = jnp.asarray(np.cumsum(1.0 / np.arange(1, 1 + max(inside.shape) + 1) ** 2), jnp.float32)
    below = jnp.concatenate([jnp.zeros(1), heights])
    value = jnp.where(inside, below[half + 1] - below[jnp.clip(away, 0, half)], 0.0)
    halves = _unit(jnp.where(upper, value, 0.0), None) - _unit(jnp.where(upper, 0.0, value), None)
    return _unit(halves, None)


def _corner(key: jax.Array, side: int | jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Row and column of each pixel as seen from the corner of a square, anywhere it fits."""
    down, right = (
        jax.random.randint(one, (), 0, length - side + 1)
        for one, length in zip(jax.random.split(key), shape[:2], strict=True)
    )
    rows, columns = jnp.arange(shape[0])[:, None] - down, jnp.arange(shape[1])[None] - right
    return jnp.broadcast_to(rows, shape[:2]), jnp.broadcast_to(columns, shape[:2])


def _subset(key: jax.Array, size: int | jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`size` features, any as likely as any other."""
    draw = jax.random.uniform(key, shape)
    return draw <= jnp.sort(draw.ravel())[size - 1]


def _unit(x: jax.Array, axis: int | None) -> jax.Array:
    """x at L2 size 1 along `axis` (None: all of it); zero stays zero."""
    return x / (jnp.sqrt(jnp.sum(x**2, axis=axis, keepdims=True)) + SMALL)
