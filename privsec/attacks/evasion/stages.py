"""Attacks that go on a few steps at a time, so that points that are settled leave the chunks to the others."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from privsec.attacks.evasion.base import CHUNK, Evasion, Points, over_chunks
from privsec.core.target import Target
from privsec.ops.space import Space

SHORT = 5
"""Steps after which points leave at first."""
LONGER = 1.2
"""How many times as long each stage is as the one before: who is still there is harder to fool."""


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


def in_stages(
    attack: Evasion,
    target: Target,
    points: Points,
    space: Space,
    begin: Callable[..., Any],
    go_on: Callable[..., Any],
    settled: Callable[[Any], jax.Array],
    steps: int,
) -> Any:
    """Where N points of one model that is compiled stand at the end of an attack.

    Args:
        attack: whose the programs are.
        target: the model.
        points: N of them.
        space: where they may go.
        begin: (target, attack, points, space) -> state, a tuple of pytrees of arrays [N, ...].
        go_on: (target, attack, points, space, *state, first=, last=) -> state, from one step to another.
        settled: state -> bool [N], which points go on no further.
        steps: of the attack.
    """
    size = min(CHUNK, len(points.y))
    state = over_chunks(attack, target, points, space, program=begin, size=size)
    for first, last in itertools.pairwise(stages(steps)):
        going = np.flatnonzero(~np.asarray(settled(jax.tree.map(jnp.asarray, state))))
        if not len(going):
            break
        program = functools.partial(go_on, first=first, last=last)
        moved = over_chunks(attack, target, points, space, *state, program=program, size=size, among=going)
        for whole, part in zip(jax.tree.leaves(state), jax.tree.leaves(moved), strict=True):
            whole[going] = part
    return state
