"""What models are trained on once somebody had access to the records, and what a defender leaves of that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.attack import Poison
from privsec.core.data import Array, Examples
from privsec.core.defense import Cleaned, Curator, DataDefense
from privsec.core.errors import DataError, PrivsecError
from privsec.core.recipe import Model, Recipe
from privsec.core.target import Target
from privsec.training import loop

FEWEST = 0.1
"""A defender who keeps a smaller share of its records has made a mistake."""


class Mixture(NamedTuple):
    """The records of a population of models: N candidates and A of an attacker's.

    Attributes:
        data: N + A records, the candidates first.
        include: bool [M, N + A]: which of them each model is given.
        poisoned: bool [N + A]: which are the attacker's.
        counts: bool [N + A]: which are trained on; the others only take the place of one that is not.
    """

    data: Examples
    include: np.ndarray
    poisoned: np.ndarray
    counts: np.ndarray

    @property
    def untouched(self) -> bool:
        """Whether everything that a model is given counts."""
        return bool(self.counts.all())

    @property
    def records(self) -> int:
        """How many each model is given."""
        return int(self.include[0].sum())

    def changes(self, other: Mixture) -> np.ndarray:
        """How many records to insert, remove or relabel to make each model's training set in `other` this one.

        int64 [M]. A record that takes the place of one of other contents counts twice, what does not count is not
        there, and records that only stand elsewhere are no change.
        """
        flat = [np.asarray(part.data.x, np.float32).reshape(len(part.counts), -1) for part in (self, other)]
        x = np.ascontiguousarray(np.concatenate(flat))
        y = np.concatenate([np.asarray(part.data.y) for part in (self, other)])
        contents = x.view(np.dtype((np.void, x.dtype.itemsize * x.shape[1])))[:, 0]
        _, same = np.unique(contents, return_inverse=True)
        shape = (same.max(initial=0) + 1, y.max(initial=0) + 1)
        kinds = np.split(np.ravel_multi_index((same, y), shape), [len(self.counts)])
        found = []
        for rows in zip(self.include, other.include, strict=True):
            counted = [kind[row & part.counts] for kind, row, part in zip(kinds, rows, (self, other), strict=True)]
            more = np.subtract(*(np.bincount(kind, minlength=math.prod(shape)) for kind in counted)).reshape(shape)
            added, removed = np.maximum(more, 0).sum(axis=1), np.maximum(-more, 0).sum(axis=1)
            found.append(np.maximum(added, removed).sum())
        return np.array(found)

    def cleaned(self, m: int) -> Cleaned:
        """What model m is trained on where nobody looks at it before."""
        nothing = np.full(len(self.counts), np.nan)
        return Cleaned(np.asarray(self.data.y), self.include[m] & self.counts, nothing)


def mixed(candidates: Examples, include: np.ndarray, poison: Poison | None, records: int) -> Mixture:
    """The candidates with the poison among them: in the place of what it replaces, or beside it.

    Args:
        candidates: N records.
        include: bool [M, N]: who was to be trained on which.
        poison: of the attacker; None for nothing.
        records: how many each model has to get in the end.

    Raises:
        PrivsecError: the poison does not fit the candidates: an attack that is implemented wrongly.
    """
    count, clean = candidates.size, include
    if poison is None:
        return Mixture(candidates, clean, np.zeros(count, bool), np.ones(count, bool))
    replaces, pair = np.asarray(poison.replaces), np.asarray(poison.pair)
    if poison.x.shape[1:] != candidates.x.shape[1:] or replaces.max(initial=-1) >= count:
        raise PrivsecError("the poison is not of the candidates' shape, or replaces a candidate that does not exist")
    concerned = (pair < 0) | (pair == (np.arange(len(include)) // 2)[:, None])  # [M, A]
    given = concerned & np.where(replaces < 0, True, clean[:, np.maximum(replaces, 0)])
    kept = np.array(clean)
    for m in range(len(include)):
        kept[m, replaces[given[m] & (replaces >= 0)]] = False
    whole = np.concatenate([kept, given], axis=1)
    if np.any(whole.sum(axis=1) != records):
        raise PrivsecError(f"poisoned training sets have {sorted(set(whole.sum(axis=1)))} records, not {records}")
    x, y = (np.concatenate([np.asarray(a), np.asarray(b)]) for a, b in zip(candidates, poison[:2], strict=True))
    counts = np.concatenate([np.ones(count, bool), np.asarray(poison.counts, bool)])
    return Mixture(Examples(x, y.astype(np.int32)), whole, np.arange(len(y)) >= count, counts)


def cleaned(
    defenses: Sequence[DataDefense],
    model: Model,
    recipe: Recipe,
    mixture: Mixture,
    m: int,
    public: Examples,
    key: jax.Array,
) -> Cleaned:
    """What model m is trained on behind these defenses, one after the other; arrays over all N + A records.

    A record that is not the model's counts as not kept, and nothing is suspected of it.

    Raises:
        DataError: hardly anything is left, or a class lost its last record.
    """
    given = np.asarray(mixture.include[m])
    labels, kept, suspicion = (np.array(part) for part in mixture.cleaned(m))

    def fit(y: Array, mask: Array, own: jax.Array) -> Target:
        rows = np.flatnonzero(kept)
        wanted = np.zeros(len(given), bool)
        wanted[rows[np.asarray(mask, bool)]] = True
        relabelled = labels.copy()
        relabelled[rows] = y
        data = mixture.data._replace(y=jnp.asarray(relabelled))
        return Target.of(model, loop.train(model, recipe, data, given, own, public, kept=wanted).params)

    for position, defense in enumerate(defenses):
        rows = np.flatnonzero(kept)
        own = keys.derive(key, position, defense.digest)
        data = Examples(np.asarray(mixture.data.x)[rows], labels[rows])
        made = defense.on_data(data, Curator(public, fit, own))
        labels[rows], kept[rows] = made.y, made.kept
        seen = np.asarray(made.suspicion, np.float64)
        suspicion[rows] = np.where(np.isnan(seen), suspicion[rows], seen)
        _check(defense, labels, kept, given)
    return Cleaned(labels, kept, suspicion)


def _check(defense: DataDefense, labels: np.ndarray, kept: np.ndarray, given: np.ndarray) -> None:
    name = defense.name  # type: ignore[attr-defined]
    if kept.sum() < FEWEST * given.sum():
        raise DataError(f"{name} leaves {kept.sum()} of {given.sum()} records: lower its share")
    lost = np.setdiff1d(labels[given], labels[kept])
    if len(lost):
        raise DataError(f"{name} leaves no record of class {lost[0]}: lower its share")
