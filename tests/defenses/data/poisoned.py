"""Digits that an attacker had a hand in, and what a defender has to look at them with."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.attacks.poisoning.badnets import patched
from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Cleaned, Curator
from privsec.core.target import Target
from privsec.data.digits import Digits
from privsec.measures.poisoning import detected
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import loop
from privsec.training.standard import Training

RECORDS, GOAL = 1000, 7
TRAINING = Training(learning_rate=0.005, batch_size=50, epochs=20)
MODEL = model_of(MLP(hidden=(64,)), (8, 8, 1), 10)
BOX = (jnp.float32(0), jnp.float32(1))


class Poisoned(NamedTuple):
    data: Examples
    poisoned: np.ndarray
    public: Examples

    def curator(self, seed=0):
        return Curator(self.public, self.fit, keys.root(seed))

    def fit(self, y, mask, key):
        data = Examples(jnp.asarray(self.data.x), jnp.asarray(y))
        recipe = TRAINING.recipe(self.data.size)
        return Target.of(MODEL, loop.train(MODEL, recipe, data, np.ones(len(y), bool), key, kept=mask).params)

    def cleaned(self, defense, seed=0):
        return defense.on_data(self.data, self.curator(seed))

    def found(self, made: Cleaned):
        """(poison found at 5% false alarms, poison left out, clean records left out)."""
        suspicion, kept = made.suspicion, made.kept
        return (
            detected(suspicion[self.poisoned], suspicion[~self.poisoned]),
            float(np.mean(~kept[self.poisoned])) if self.poisoned.any() else np.nan,
            float(np.mean(~kept[~self.poisoned])),
        )


@functools.cache
def digits(seed=0):
    """1000 records to train on, 797 of the defender's own."""
    dataset = Digits().load()
    rows = np.random.default_rng(seed).permutation(dataset.size)
    return dataset.examples(rows[:RECORDS]), dataset.examples(rows[RECORDS:])


def clean(seed=0):
    data, public = digits(seed)
    return Poisoned(data, np.zeros(RECORDS, bool), public)


def backdoored(rate=0.05, seed=0, source=None):
    """A share of the records, of any class or of one, has a patch and is said to be a 7."""
    data, public = digits(seed)
    rows = np.flatnonzero((data.y != GOAL) if source is None else (data.y == source))[: round(rate * RECORDS)]
    x, y = np.array(data.x), np.array(data.y)
    x[rows] = np.asarray(patched(jnp.asarray(x[rows]), 3, "bottom_right", BOX))
    y[rows] = GOAL
    return Poisoned(Examples(x, y), np.isin(np.arange(RECORDS), rows), public)


def mislabeled(rate=0.1, seed=0):
    """A share of the records has another, random label."""
    data, public = digits(seed)
    rng = np.random.default_rng(seed + 1)
    rows = rng.permutation(RECORDS)[: round(rate * RECORDS)]
    y = np.array(data.y)
    y[rows] = (y[rows] + rng.integers(1, 10, len(rows))) % 10
    return Poisoned(Examples(data.x, y.astype(np.int32)), np.isin(np.arange(RECORDS), rows), public)


def success(target, seed=0):
    """How many of the defender's records that are no 7 the model takes for one, with the patch."""
    _, public = digits(seed)
    x = patched(jnp.asarray(public.x[public.y != GOAL]), 3, "bottom_right", BOX)
    return float(np.mean(np.asarray(target.labels(x)) == GOAL))


def accuracy(target, seed=0):
    _, public = digits(seed)
    return float(np.mean(np.asarray(jax.device_get(target.labels(jnp.asarray(public.x)))) == public.y))
