"""Attacks that go step by step: points that are settled leave, and the others fill up the chunks."""

from __future__ import annotations

import abc
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from privsec.attacks.evasion.base import CHUNK, Evasion, Found, Points, over_chunks
from privsec.attacks.evasion.best import Best
from privsec.core.target import Target, compiled
from privsec.ops.space import Space

SHORT = 5
"""Steps after which points leave at first."""
LONGER = 1.2
"""How many times as long each stage is as the one before: who is still there is harder to fool."""


class Staged(Evasion):
    """Base: where points stand after some steps is known, and from there they go on, in other company.

    A point's result is what it would be with all points together to the end.
    """

    @property
    @abc.abstractmethod
    def length(self) -> int:
        """Steps in all; 0 where nobody may leave before the end."""

    @abc.abstractmethod
    def begin(self, target: Target, points: Points, space: Space) -> tuple[Best, Any]:
        """What the clean records are worth, and where the points stand before the first step."""

    @abc.abstractmethod
    def go_on(
        self,
        best: Best,
        now: Any,
        target: Target,
        points: Points,
        space: Space,
        first: int | jax.Array,
        last: int | jax.Array,
    ) -> tuple[Best, Any]:
        """From step `first` to step `last`, or until all points are done."""

    def done(self, best: Best, now: Any) -> jax.Array:
        """Bool [B]: which points go on no further."""
        del now
        return best.settled

    def assault(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        """In stages, where the model is compiled: outside of JAX a point that is settled is asked about no more."""
        if not (self.length and target.traceable):
            return super().assault(target, points, space, *given)
        state = over_chunks(self, target, points, space, program=_begun, size=min(CHUNK, len(points.y)))
        for first, last in itertools.pairwise(stages(self.length)):
            going = np.flatnonzero(~np.asarray(self.done(*jax.tree.map(jnp.asarray, state))))
            if not len(going):
                break
            move_on(self, target, points, space, state, functools.partial(_gone_on, first=first, last=last), going)
        return state[0].found


def move_on(
    attack: Evasion,
    target: Target,
    points: Points,
    space: Space,
    state: tuple[Any, ...],
    program: Callable[..., Any],
    among: np.ndarray,
) -> None:
    """Writes into `state`, pytrees of host arrays [N, ...], where the points `among` are after `program`.

    `among` names at least one; the program is (target, attack, points, space, *state) -> leaves as those of `state`.
    """
    size = min(CHUNK, len(points.y))
    moved = over_chunks(attack, target, points, space, *state, program=program, size=size, among=among)
    for whole, part in zip(jax.tree.leaves(state), jax.tree.leaves(moved), strict=True):
        whole[among] = part


def stages(steps: int) -> list[int]:
    """The steps at which points may leave, from 0 to `steps`.

    >>> stages(40)
    [0, 5, 11, 18, 26, 40]
    """
    ends, length = [0], float(SHORT)
    while steps - ends[-1] >= 2 * length:  # so that the last one is not short
        ends.append(ends[-1] + int(length))
        length *= LONGER
    return [*ends, steps]


@functools.partial(compiled, static=("attack",))
def _begun(target: Target, attack: Staged, points: Points, space: Space) -> tuple[Best, Any]:
    return attack.begin(target, points, space)


@functools.partial(compiled, static=("attack",))
def _gone_on(
    target: Target,
    attack: Staged,
    points: Points,
    space: Space,
    best: Best,
    now: Any,
    *,
    first: int | jax.Array,
    last: int | jax.Array,
) -> tuple[Best, Any]:
    return attack.go_on(best, now, target, points, space, first, last)
