"""Everything one seed of an experiment shares: records, who is in whose training set, the model, the keys."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.attack import Attack, Hidden, Knowledge, Updates
from privsec.core.data import Dataset, Examples, Splits
from privsec.core.errors import NotApplicable, did_you_mean
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.data.base import Source
from privsec.data.splits import split, standardized
from privsec.measures.blind import blind_auc
from privsec.nets.base import model_of
from privsec.runner.config import Experiment


@dataclass(frozen=True)
class World:
    """One seed's ground truth. The runner and the measures see it; attacks see the Knowledge it gives out."""

    experiment: Experiment
    seed: int
    dataset: Dataset
    splits: Splits

    @classmethod
    def of(cls, experiment: Experiment, dataset: Dataset, seed: int) -> World:
        """Draws the seed's splits and scales the records by public statistics.

        Raises:
            DataError: there are too few records for the population asked for.
        """
        population = experiment.population
        key = keys.derive(keys.root(seed), "splits")
        splits = split(dataset, population.size, population.models, key, by=population.by)
        public = np.concatenate([splits.population, splits.holdout])
        return cls(experiment, seed, standardized(dataset, public), splits)

    @property
    def root(self) -> jax.Array:
        """The seed's root key."""
        return keys.root(self.seed)

    @property
    def model(self) -> Model:
        """The architecture as functions."""
        return model_of(self.experiment.net, self.dataset.shape, self.dataset.num_classes)

    @property
    def member(self) -> np.ndarray:
        """The truth: bool [M, N], is candidate n in the training set of model m?"""
        return self.splits.include

    @cached_property
    def candidates(self) -> Examples:
        """The N records that models are trained on and attacked for."""
        return self.dataset.examples(self.splits.candidates)

    @cached_property
    def population(self) -> Examples:
        """The attacker's own records."""
        return self.dataset.examples(self.splits.population)

    @cached_property
    def holdout(self) -> Examples:
        """The defender's own records."""
        return self.dataset.examples(self.splits.holdout)

    @cached_property
    def public_sample(self) -> Examples:
        """The defender's own records in random order: a prefix of them is a random sample that no attacker has."""
        order = keys.generator(keys.derive(self.root, "public sample")).permutation(self.splits.holdout)
        return self.dataset.examples(order)

    @cached_property
    def box(self) -> tuple[jax.Array, jax.Array]:
        """Smallest and largest value of each feature: the known ones, or those among public records."""
        if self.dataset.box is not None:
            low, high = (np.float32(end) for end in self.dataset.box)
        else:
            public = np.concatenate([self.population.x, self.holdout.x])
            low, high = public.min(axis=0), public.max(axis=0)
        shape = self.dataset.shape
        return jnp.broadcast_to(low, shape), jnp.broadcast_to(high, shape)

    @cached_property
    def blind_auc(self) -> np.ndarray:
        """The null of membership inference: [M], the AUC of a classifier that never meets the model."""
        return blind_auc(np.asarray(self.candidates.x), np.asarray(self.candidates.y), self.member)

    def points(self, source: int | None = None) -> np.ndarray:
        """Rows of the population that are changed by attacks on single records: a random sample, of one class or all.

        Raises:
            NotApplicable: the population has no record of the class.
        """
        rows = self.splits.population
        if source is not None:
            rows = rows[self.dataset.y[rows] == source]
            if not len(rows):
                raise NotApplicable(f"the attacker's {len(self.splits.population)} records have none of class {source}")
        drawn = keys.generator(keys.derive(self.root, "points")).permutation(self.splits.population)
        return drawn[np.isin(drawn, rows)][: self.experiment.population.points]

    def task(self, source: Source) -> Task:
        """Another task's records: the attacker's half, and the half on which a program is judged."""
        return _task(source, self.seed)

    def secret(self, name: str, count: int) -> Secret:
        """`count` random candidates whose attribute `name` is hidden.

        Raises:
            NotApplicable: the data set has no such attribute.
        """
        if name not in self.dataset.attributes:
            have = ", ".join(self.dataset.attributes) or "none at all"
            hint = did_you_mean(name, self.dataset.attributes)
            raise NotApplicable(f"the data set has no attribute {name!r} to infer; it has {have}.{hint}")
        attribute = self.dataset.attributes[name]
        order = keys.generator(keys.derive(self.root, "hidden", name)).permutation(self.candidates.size)
        rows = np.sort(order[:count])
        x, y = (np.array(part) for part in self.candidates.take(rows))
        encoded = x[:, np.asarray(attribute.columns)]
        values = np.argmin(np.abs(encoded[:, None] - np.asarray(attribute.values)).sum(axis=-1), axis=1)
        x[:, np.asarray(attribute.columns)] = 0.0
        return Secret(Hidden(attribute, Examples(x, y)), values.astype(np.int32), rows)

    def knowledge(self, attack: Attack, bank: Target, updates: Updates | None = None) -> Knowledge:
        """What this attack gets to know: the parts it asks for; references without the target and its twin.

        Raises:
            NotApplicable: the data have no part that the attack asks for.
        """
        shares, asked = "references" in attack.requires, attack.requires
        population, points = self.population, None
        if "points" in asked:
            rows = self.points(attack.source)  # type: ignore[attr-defined]
            points = self.dataset.examples(rows)
            population = population.take(~np.isin(self.splits.population, rows))
        return Knowledge(
            num_classes=self.dataset.num_classes,
            candidates=self.candidates,
            population=population,
            references=bank if shares else None,
            included=self.member if shares else None,
            usable=self.splits.usable if shares else None,
            box=self.box,
            constraints=self.dataset.constraints,
            points=points,
            task=self.task(attack.task).train if "task" in asked else None,  # type: ignore[attr-defined]
            hidden=self.secret(attack.attribute, attack.records).hidden if "hidden" in asked else None,  # type: ignore[attr-defined]
            updates=updates,
            feature_names=self.dataset.feature_names,
        )


class Task(NamedTuple):
    """Another task: `train` is the attacker's, `test` is the truth; `num_classes` G and their names."""

    train: Examples
    test: Examples
    num_classes: int
    class_names: tuple[str, ...]


class Secret(NamedTuple):
    """What the attacker gets of records with a hidden attribute, and the truth: `values` int32 [K], `rows` [K]."""

    hidden: Hidden
    values: np.ndarray
    rows: np.ndarray


@functools.lru_cache(maxsize=8)
def _task(source: Source, seed: int) -> Task:
    dataset = source.load()
    order = keys.generator(keys.derive(keys.root(seed), "task")).permutation(dataset.size)
    half = dataset.size // 2
    train, test = (dataset.examples(np.sort(rows)) for rows in (order[:half], order[half:]))
    return Task(train, test, dataset.num_classes, dataset.class_names)
