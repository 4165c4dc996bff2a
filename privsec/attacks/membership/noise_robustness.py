"""The noise-robustness attack: a member keeps its label under noise that moves a non-member across the boundary.

References:
    Choquette-Choo et al. 2021, "Label-only membership inference attacks", arXiv 2007.14321.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.core import axis, keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target, compiled
from privsec.measures.roc import auc

SIGMAS = tuple(2.0 ** (half / 2) for half in range(-10, 4))
"""The noise that `sigma: auto` chooses from."""
COPIES = 16
"""Noisy copies of each record that are asked about while the noise is chosen."""
KEPT = 0.8
"""Without references: the share of right labels that the attacker's own records are to keep under the noise."""
OWN_RECORDS = 128
"""How many of those are asked about, at most."""


class NoiseRobustness(Attack):
    """The share of noisy copies of a record that are still classified right, from predicted labels alone.

    Equal shares stay equal: the record itself is one of the copies, and nothing else a label tells would order them.
    """

    name: Literal["noise_robustness"] = "noise_robustness"
    queries: int = Field(default=100, ge=2)
    """Answers asked for each candidate: one to the record itself, the others to noisy copies."""
    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Standard deviation of Gaussian noise, in units of the features, cut off at the box. A binary feature flips where
    the noise carries it past the middle: with probability Phi(-1 / (2 sigma)). `auto` takes the noise with which the
    references are attacked best; without references, one that the population's labels survive often, but not always."""
    records: int = Field(default=256, ge=2)
    """Candidates attacked, drawn at random; the others get no score."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.LABELS
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Choquette-Choo et al. 2021, arXiv 2007.14321"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        candidates, space = shadows.candidates_of(knowledge), space_of(knowledge)
        rows, attacked = drawn(candidates, self.records, keys.derive(key, "records"))
        targets = target.size or 1
        if self.sigma == "auto":
            search = keys.derive(key, "sigma")
            if knowledge.references is None:
                own = drawn(shadows.population_of(knowledge), OWN_RECORDS, keys.derive(search, "records"))[1]
                sigmas = surviving_sigmas(target, own, space, search)
            else:
                included, usable = shadows.check_references(target, knowledge)
                sigmas = best_sigmas(knowledge.references, attacked, included[:, rows], usable, space, search)
        else:
            sigmas = np.array([self.sigma])

        def attack(t: int) -> Float[np.ndarray, " R"]:
            one, sigma = one_of(target, t), float(np.broadcast_to(sigmas, targets)[t])
            kept = labels_kept(one, *attacked, space, sigma, keys.derive(key, "target", t), copies=self.queries - 1)
            return jax.device_get((kept + (one.labels(attacked.x) == attacked.y)) / self.queries)

        scores = np.full((targets, candidates.size), np.nan)
        for t, share in axis.over_models(attack, range(targets)):
            scores[t, rows] = share
        return MembershipScores(scores, float(self.queries))


def one_of(target: Target, t: int) -> Target:
    """Model t of a stack, or the one model."""
    return target if target.size is None else target[t]


class Space(NamedTuple):
    """Where records live: the box of each feature, and which features are binary (at one end of it or at the other)."""

    low: Float[jax.Array, " *features"]
    high: Float[jax.Array, " *features"]
    binary: Bool[np.ndarray, " *features"]


def space_of(knowledge: Knowledge) -> Space:
    """The box and the binary features; a feature that never changes is taken for a continuous one.

    Raises:
        NotApplicable: the box is not known.
    """
    if knowledge.box is None:
        raise NotApplicable("the box of feature values is not known, and noisy copies must stay inside it")
    x = np.asarray(shadows.candidates_of(knowledge).x)
    low, high = (np.broadcast_to(np.asarray(side, x.dtype), x.shape[1:]) for side in knowledge.box)
    at_low, at_high = x == low, x == high
    binary = (at_low | at_high).all(axis=0) & at_low.any(axis=0) & at_high.any(axis=0)
    return Space(jnp.asarray(low), jnp.asarray(high), binary)


def drawn(examples: Examples, count: int, key: jax.Array) -> tuple[Int[np.ndarray, " R"], Examples]:
    """Rows of at most `count` records drawn at random, in order, and the records."""
    rows = np.sort(keys.generator(key).choice(examples.size, min(count, examples.size), replace=False))
    return rows, Examples(jnp.asarray(np.asarray(examples.x)[rows]), jnp.asarray(np.asarray(examples.y)[rows]))


def noisy(
    x: Float[jax.Array, " R *features"], space: Space, sigma: float | Float[jax.Array, ""], key: jax.Array
) -> Float[jax.Array, " R *features"]:
    """The records with Gaussian noise, clipped to the box; a binary feature goes to the end that is then nearer."""
    moved = x + sigma * jax.random.normal(key, x.shape)
    nearer = jnp.where(moved > 0.5 * (space.low + space.high), space.high, space.low)
    return jnp.where(space.binary, nearer, jnp.clip(moved, space.low, space.high))


@functools.partial(compiled, static=("copies",))
def labels_kept(
    target: Target,
    x: Float[jax.Array, " R *features"],
    y: Int[jax.Array, " R"],
    space: Space,
    sigma: float | Float[jax.Array, ""],
    key: jax.Array,
    *,
    copies: int,
) -> Int[jax.Array, " R"]:
    """Of `copies` noisy copies of each record, how many the target labels right.

    Args:
        target: one model that answers labels.
        x: the records.
        y: their own labels.
        space: the box, and which features are binary.
        sigma: standard deviation of the noise.
        key: for the noise.
        copies: of each record (static).
    """

    def ask(copy: jax.Array | int, kept: jax.Array) -> jax.Array:
        return kept + (target.labels(noisy(x, space, sigma, jax.random.fold_in(key, copy))) == y)

    return jax.lax.fori_loop(0, copies, ask, jnp.zeros(len(x), jnp.int32))


def best_sigmas(
    references: Target,
    records: Examples,
    included: Bool[np.ndarray, "M R"],
    usable: Bool[np.ndarray, "#T M"],
    space: Space,
    key: jax.Array,
) -> Float64[np.ndarray, " #T"]:
    """The noise with which each target's attacker tells members of usable references best, by the mean AUC.

    Args:
        references: M models whose members are known.
        records: R records.
        included: which of them each reference was trained on.
        usable: which references count for which target; one row, and then one answer, where all may use the same.
        space: the box, and which features are binary.
        key: for the noise.
    """

    def quality(m: int) -> list[float]:
        member = included[m]
        if member.all() or not member.any():
            return [0.5] * len(SIGMAS)
        return [auc(shares, member) for shares in _shares(one_of(references, m), records, space, key)]

    found = dict(axis.over_models(quality, np.flatnonzero(usable.any(axis=0)).tolist()))
    qualities = np.array([found.get(m, [0.0] * len(SIGMAS)) for m in range(len(included))])
    return np.array(SIGMAS)[np.argmax(usable.astype(np.float64) @ qualities, axis=1)]


def surviving_sigmas(target: Target, records: Examples, space: Space, key: jax.Array) -> Float64[np.ndarray, " T"]:
    """The noise under which, of the labels that each target gives `records` rightly, about a share `KEPT` survives."""

    def nearest(t: int) -> float:
        one = one_of(target, t)
        right = np.asarray(one.labels(records.x) == records.y)
        if not right.any():
            return SIGMAS[0]
        kept = [shares[right].mean() for shares in _shares(one, records, space, key)]
        return SIGMAS[int(np.argmin(np.abs(np.array(kept) - KEPT)))]

    found = dict(axis.over_models(nearest, range(target.size or 1)))
    return np.array([found[t] for t in sorted(found)])


def _shares(target: Target, records: Examples, space: Space, key: jax.Array) -> Iterator[Float64[np.ndarray, " R"]]:
    """The share of each record's noisy copies that keep its label, for each of `SIGMAS`, from the same draws."""
    for sigma in SIGMAS:
        yield np.asarray(labels_kept(target, *records, space, sigma, key, copies=COPIES)) / COPIES
