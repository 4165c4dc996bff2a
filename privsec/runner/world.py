"""Everything one seed of an experiment shares: records, who is in whose training set, the model, the keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Dataset, Examples, Splits
from privsec.core.recipe import Model
from privsec.core.target import Target
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
        splits = split(dataset, population.size, population.models, keys.derive(keys.root(seed), "splits"))
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

    def knowledge(self, attack: Attack, bank: Target) -> Knowledge:
        """What this attack gets to know: the parts it asks for; references without the target and its twin."""
        shares = "references" in attack.requires
        return Knowledge(
            num_classes=self.dataset.num_classes,
            candidates=self.candidates,
            population=self.population,
            references=bank if shares else None,
            included=self.member if shares else None,
            usable=self.splits.usable if shares else None,
            box=self.box,
        )
