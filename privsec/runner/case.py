"""What the judges of a cell may look at: the truth, the target as it was attacked, and the means to run nulls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Array
from privsec.core.defense import Cleaned
from privsec.core.evidence import Evidence
from privsec.core.target import Target, compiled
from privsec.runner.mixture import Mixture
from privsec.runner.plan import Bank
from privsec.runner.world import World

CHUNK = 256
"""Records of one question."""


@dataclass(frozen=True)
class Case:
    """One cell with its evidence still to be judged.

    Attributes:
        attack: which one.
        target: the models as they were attacked.
        world: the seed's truth.
        knowledge: what the attack was told.
        key: the attack's; judges derive their own from it.
        evaluators: gives the seed's independent classifiers, trained when first asked for.
        attacked: runs the same attack on another Target or with other Knowledge, for nulls.
        bank: how the models were trained.
        tampered: of an attack before the training: gives the models that were spared it, and what the others got.
    """

    attack: Attack
    target: Target
    world: World
    knowledge: Knowledge
    key: jax.Array
    evaluators: Callable[[], Target]
    attacked: Callable[..., Evidence]
    bank: Bank
    tampered: Callable[[], Tampered] | None = None


class Tampered(NamedTuple):
    """What an attack before the training is judged beside.

    Attributes:
        control: the same models behind the same defenses, trained on clean records (or with the attack's `control`).
        mixture: the records that the target was trained on.
        spared: those that the control was trained on.
        cleaned: what a defender made of each model's training set, leaves [M, N + A]; None where nobody did.
    """

    control: Target
    mixture: Mixture
    spared: Mixture
    cleaned: Cleaned | None


class Judgement(NamedTuple):
    """What the truth says of one cell: measure -> values [T], facts for the report, arrays for its pictures."""

    per_target: dict[str, np.ndarray]
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


def labels(target: Target, x: Array, keys: jax.Array | None = None) -> np.ndarray:
    """The labels int32 [T, N] of T models on `x`: [N, ...], the same for all, or [T, N, ...], each model its own.

    `keys` [N] are fresh draws of models that answer at random.
    """
    return np.argmax(log_scores(target, x, keys), axis=-1).astype(np.int32)


def log_scores(target: Target, x: Array, keys: jax.Array | None = None) -> np.ndarray:
    """The answers [T, N, C] of T models on `x`: [N, ...] or [T, N, ...]; asked in chunks of one shape."""
    return _of_each(_answered, target, x, keys)


def votes(target: Target, x: Array) -> np.ndarray | None:
    """How many members of each of T models vote for each class, int32 [T, N, C]; `x` as in `labels`.

    None where no model claims that its votes are what answers, or a defense of the answers stands behind them.
    """
    return None if target.model.votes is None or target.outputs else _of_each(_voted, target, x, None)


def logits(target: Target, x: Array) -> np.ndarray:
    """The logits [T, N, C] of the bare models, whatever stands before them."""
    return _of_each(_bare, target, x, None)


def _of_each(ask: Callable[..., jax.Array], target: Target, x: Array, keys: jax.Array | None) -> np.ndarray:
    stack = target if target.size is not None else jax.tree.map(lambda leaf: leaf[None], target)
    own = np.ndim(x) > len(target.model.shape) + 1
    count = len(x) if own else stack.size or 0
    return np.stack([_in_chunks(ask, stack[t], x[t] if own else x, keys) for t in range(count)])


def _in_chunks(ask: Callable[..., jax.Array], target: Target, x: Array, keys: jax.Array | None) -> np.ndarray:
    x = np.asarray(x, np.float32)
    size, parts = min(CHUNK, len(x)), []
    for start in range(0, len(x), size):
        rows = np.arange(start, start + size)
        rows = np.minimum(rows, len(x) - 1) if target.traceable else rows[rows < len(x)]
        parts.append(np.asarray(ask(target, jnp.asarray(x[rows]), None if keys is None else keys[rows])))
    return np.concatenate(parts)[: len(x)]


@compiled
def _answered(target: Target, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    return target._answer(x, keys)


@compiled
def _voted(target: Target, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    del keys
    assert target.model.votes is not None
    return target.model.votes(target._params, x)


@compiled
def _bare(target: Target, x: jax.Array, keys: jax.Array | None) -> jax.Array:
    return target._logits(target._params, target._secret, x, keys)
